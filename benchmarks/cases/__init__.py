"""One file per case: what it measures in a fresh process, and how its figures are called."""
