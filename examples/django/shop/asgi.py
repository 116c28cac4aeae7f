"""The shop for ASGI servers; the wrapper delivers queued events before uvicorn ends."""

import os

from django.core.asgi import get_asgi_application

from whisperr.asgi import flush_on_shutdown

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

application = flush_on_shutdown(get_asgi_application())
