"""The site as real servers load it: `wsgi` and `asgi`."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.django.settings")

from django.core.asgi import get_asgi_application  # after the variable
from django.core.wsgi import get_wsgi_application  # likewise

from whisperr.asgi import flush_on_shutdown  # likewise

wsgi = get_wsgi_application()
asgi = flush_on_shutdown(get_asgi_application())
