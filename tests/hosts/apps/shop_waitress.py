"""The WSGI application under waitress."""

from __future__ import annotations

import logging

from waitress import serve

from tests.hosts.apps.shop_wsgi import application

logging.basicConfig(level=logging.INFO)
serve(application, listen="127.0.0.1:0")
