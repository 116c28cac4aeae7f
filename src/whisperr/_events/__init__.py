"""Turns a call into bytes: checks the arguments, adds a time and an id, and encodes the event."""
