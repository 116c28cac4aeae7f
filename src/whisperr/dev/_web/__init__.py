"""The local server over HTTP: the service, its API, stream and page."""
