"""Compares this package with the published 0.2.1, by running the same programs under both."""
