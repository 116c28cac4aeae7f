"""The WSGI application under waitress."""

from __future__ import annotations

import logging

from shop_wsgi import application
from waitress import serve

logging.basicConfig(level=logging.INFO)
serve(application, listen="127.0.0.1:0")
