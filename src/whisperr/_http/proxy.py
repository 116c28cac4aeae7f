"""Finds the proxy that the environment names for an address, and its credentials."""

from __future__ import annotations

import os

from whisperr._options import LOOPBACK
from whisperr._process.imports import first_use

TYPE_CHECKING = False
if TYPE_CHECKING:
    from urllib.parse import SplitResult

_VARIABLES = frozenset({"http_proxy", "https_proxy", "all_proxy"})


def get_proxy(scheme: str, host: str, port: int) -> str | None:
    """Return the URL of the proxy for an address; None for a direct connection.

    The loopback addresses never use a proxy.
    """
    if host in LOOPBACK or _VARIABLES.isdisjoint(name.lower() for name in os.environ):
        return None
    with first_use():
        from urllib import request
    if request.proxy_bypass_environment(f"{host}:{port}"):  # type: ignore[attr-defined]  # not in the stubs
        return None
    proxies = request.getproxies_environment()
    return proxies.get(scheme) or proxies.get("all")


def parse_proxy(proxy: str) -> SplitResult:
    """Return the parts of the URL of a proxy; a URL without a scheme is one of http."""
    with first_use():
        from urllib.parse import urlsplit
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def get_credentials(proxy: str) -> dict[str, str]:
    """Return the header that authenticates the client to a proxy; empty without a user."""
    parts = parse_proxy(proxy)
    if not parts.username:
        return {}
    with first_use():
        from base64 import b64encode
        from urllib.parse import unquote
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {b64encode(pair).decode('ascii')}"}
