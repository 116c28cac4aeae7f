"""The local server over HTTP: the service, its API, its stream, its page."""
