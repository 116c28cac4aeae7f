"""The store of a relay: a table of an application's own database."""
