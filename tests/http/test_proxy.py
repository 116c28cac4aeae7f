"""The environment variables for proxies mean the same as for `urllib.request`."""

from __future__ import annotations

import os
import urllib.request
from unittest.mock import patch

from hypothesis import example, given
from hypothesis import strategies as st

from whisperr._http.proxy import get_proxy

NAMES = ["http_proxy", "HTTP_PROXY", "Http_Proxy", "HTTP_proxy", "https_proxy", "HTTPS_PROXY"]
NAMES += ["all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY", "REQUEST_METHOD", "_proxy", "proxy"]
VALUES = ["", "http://proxy.invalid", "proxy.invalid:3128", "*", "* ", ".", ",", " ", ":80"]
VALUES += ["service.invalid", " .invalid, x", "SERVICE.invalid:80", "..invalid", "ce.invalid"]
ENVIRONMENTS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=6)


def get_expected(scheme: str, host: str, port: int) -> str | None:
    if urllib.request.proxy_bypass_environment(f"{host}:{port}"):  # type: ignore[attr-defined]  # not in the stubs
        return None
    proxies = urllib.request.getproxies_environment()
    return proxies.get(scheme) or proxies.get("all")


@given(
    ENVIRONMENTS,
    st.sampled_from(["http", "https"]),
    st.sampled_from(["service.invalid", "a.", "b", "fd00::1", "x.y.invalid"]),
    st.sampled_from([80, 8443]),
)
@example({"HTTP_PROXY": "upper", "http_proxy": ""}, "http", "b", 80)
@example({"Http_Proxy": "mixed", "HTTP_PROXY": ""}, "http", "b", 80)
@example({"HTTP_PROXY": "visitor", "REQUEST_METHOD": "GET", "ALL_PROXY": "x"}, "http", "b", 80)
@example({"http_proxy": "operator", "REQUEST_METHOD": "GET"}, "http", "b", 80)
@example({"https_proxy": "p", "no_proxy": "b:80"}, "https", "a.b", 80)
@example({"https_proxy": "p", "no_proxy": "::1"}, "https", "fd00::1", 80)
def test_the_proxy_is_the_one_that_python_finds(
    environment: dict[str, str], scheme: str, host: str, port: int
) -> None:
    with patch.dict(os.environ, environment, clear=True):
        assert get_proxy(scheme, host, port) == get_expected(scheme, host, port)
