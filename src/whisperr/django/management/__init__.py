"""Commands of the optional app."""
