"""The proxy that the environment names for an address, and what it is to be told."""

from __future__ import annotations

import os

from whisperr._process.imports import first_use
from whisperr._url import LOOPBACK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from urllib.parse import SplitResult

_PROXY_NAMES = frozenset({"http_proxy", "https_proxy", "all_proxy"})


def get_proxy(scheme: str, host: str, port: int) -> str | None:
    """Return the proxy that the environment names for a place; none for this machine itself."""
    if host in LOOPBACK or _PROXY_NAMES.isdisjoint(name.lower() for name in os.environ):
        return None
    with first_use():
        from urllib import request
    if request.proxy_bypass_environment(f"{host}:{port}"):  # type: ignore[attr-defined]  # not in the stubs
        return None
    proxies = request.getproxies_environment()
    return proxies.get(scheme) or proxies.get("all")


def parse_proxy(proxy: str) -> SplitResult:
    with first_use():
        from urllib.parse import urlsplit
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def proxy_credentials(proxy: str) -> dict[str, str]:
    parts = parse_proxy(proxy)
    if not parts.username:
        return {}
    with first_use():
        from base64 import b64encode
        from urllib.parse import unquote
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {b64encode(pair).decode('ascii')}"}
