"""The local server in a terminal: `whisperr dev`, `whisperr tail`, `whisperr demo`."""
