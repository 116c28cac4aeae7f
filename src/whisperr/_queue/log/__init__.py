"""The log: what one process accepted and has not stored yet, in files that outlive it."""
