"""Encoded events wait here, in order and within bounds: in memory, in SQLite, in Redis."""
