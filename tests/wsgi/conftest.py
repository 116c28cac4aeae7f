"""The fixtures of all tests of this folder."""

from tests.served_client import client, errors, server

__all__ = ["client", "errors", "server"]
