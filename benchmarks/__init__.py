"""Measures whisperr and its alternatives: `make bench`, or `python -m benchmarks`."""
