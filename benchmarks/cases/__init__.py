"""One file per case: what it measures in a fresh process, and the names of its figures."""
