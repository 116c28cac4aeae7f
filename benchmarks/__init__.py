"""Measure whisperr beside what one would use instead: `make bench`, or `python -m benchmarks`."""
