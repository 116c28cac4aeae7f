"""Turns a request into an answer over one kept-alive connection."""
