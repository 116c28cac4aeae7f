"""Sends churn signals from any backend to the Whisperr ingestion API.

Example::

    from whisperr import Whisperr

    whisperr = Whisperr()  # reads WHISPERR_API_KEY
    whisperr.track("user_8842", "payment_failed", {"amount_cents": 4900})

`Whisperr` is the client. `help(Whisperr)` describes its options and methods. Modules for other
tasks:

- Frameworks: `whisperr.django`, `whisperr.asgi`, `whisperr.fastapi`, `whisperr.wsgi`,
  `whisperr.flask`, `whisperr.aiohttp`, `whisperr.celery`, `whisperr.aws_lambda`,
  `whisperr.azure_functions`, `whisperr.google_functions`.
- Monitoring: `whisperr.opentelemetry`, `whisperr.prometheus`.
- Durable delivery: `whisperr.buffers`, `whisperr.sqlalchemy`, `whisperr.protocols`.
- Values: `whisperr.billing`, `whisperr.channel`, `whisperr.errors`, `whisperr.events`.
- Private data: `whisperr.privacy`.
- Development and tests: `whisperr.dev`, `whisperr.testing`, `whisperr.pytest_plugin`.

Importing the package loads little of the standard library and nothing else. `socket`, `ssl` and
`logging` are loaded when they are first needed.
"""

from __future__ import annotations

from ._client import Whisperr
from ._contract import SDK_NAME, Answer, Request
from ._delivery.accounting import Stats
from ._events.scope import scope
from ._version import __version__
from .errors import InvalidEvent, WhisperrError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .billing import BillingEvent
    from .channel import Channel
    from .events import Event
    from .protocols import Buffer, Transport

__all__ = [
    "SDK_NAME",
    "Answer",
    "BillingEvent",
    "Buffer",
    "Channel",
    "Event",
    "InvalidEvent",
    "Request",
    "Stats",
    "Transport",
    "Whisperr",
    "WhisperrError",
    "__version__",
    "scope",
]

# Imported when first asked for. `typing`, which these modules import, would be a third of the
# import time of the package.
_LATER = {
    "BillingEvent": "billing",
    "Buffer": "protocols",
    "Channel": "channel",
    "Event": "events",
    "Transport": "protocols",
}


# Modules of whisperr 0.2, where `import whisperr` was enough to use them.
_MODULES = ("billing", "client", "transport")


def __getattr__(name: str) -> object:
    if name not in _LATER and name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if name in _MODULES:
        try:
            return import_module(f".{name}", __name__)
        except ImportError as error:  # it is gone; the text says what to write
            raise AttributeError(str(error)) from None
    value: object = getattr(import_module(f".{_LATER[name]}", __name__), name)
    globals()[name] = value
    return value
