"""The log: files with the events that a process accepted and has not stored yet."""
