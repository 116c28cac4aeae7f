"""Turns a call into bytes: checks it, adds its time and its id, encodes it."""
