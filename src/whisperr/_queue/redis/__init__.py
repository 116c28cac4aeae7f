"""The Redis store: streams that a fleet shares."""
