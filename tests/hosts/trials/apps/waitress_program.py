"""A program that serves a WSGI application with waitress."""

from __future__ import annotations

import os

from waitress import serve

from tests.hosts.trials.apps.wsgi import application

# The page's lines stand here.
serve(application, listen=f"127.0.0.1:{os.environ['PORT']}")
