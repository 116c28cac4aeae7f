"""One file per package: how to import it, start it, track an event, and flush.

Imported in the measured process: nothing at module level but `benchmarks`. Options are the
package's own defaults, except the address and a queue that holds what the case puts into it.
"""
