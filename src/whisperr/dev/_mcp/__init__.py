"""The Model Context Protocol: how a coding assistant reads and steers the local server."""
