"""The Django app that keeps the state of each subscription; it is optional, and has one table."""
