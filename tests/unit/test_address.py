"""The address of the service: its parts, and what an error says about what is no address."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperr._address import ALLOWED_URL, parse_url, refuse_url

SAME_EACH_TIME = settings(derandomize=True, database=None, deadline=None)
SECRET = "s3cr3t"
NOT_A_URL = (
    "",
    "api.whisperr.net",
    "//api.whisperr.net",
    "ftp://api.whisperr.net",
    "https://",
    "https:///v1",
    "https://user@api.whisperr.net",
    f"https://user:{SECRET}@api.whisperr.net",
    "https://api.whisperr.net:",
    "https://api.whisperr.net:65536",
    "https://api.whisperr.net:123456",
    "https://api.whisperr.net:\u0663",
    "https://api.whisperr.net?x=1",
    "https://api.whisperr.net/?x=1",
    "https://api.whisperr.net/#part",
    "https://api.whisperr.net/a b",
    "https://api.whisperr.net\n",
    "https://api.whisperr.net/\r\nX-Other: 1",
    " https://api.whisperr.net",
    "https://[::1",
    "https://\u00e4.example",
    "https://\u212aelvin.example",  # whose lower case is ASCII
)


class TestParts:
    @pytest.mark.parametrize(
        ("url", "parts"),
        [
            ("https://api.whisperr.net", ("https", "api.whisperr.net", 443, "")),
            ("https://api.whisperr.net/", ("https", "api.whisperr.net", 443, "")),
            ("http://localhost", ("http", "localhost", 80, "")),
            ("http://127.0.0.1:8080", ("http", "127.0.0.1", 8080, "")),
            ("http://[::1]:81/a/b/", ("http", "::1", 81, "/a/b")),
            ("HTTP://LocalHost:81/A", ("http", "localhost", 81, "/A")),
            ("https://h_1.example:65535/x", ("https", "h_1.example", 65_535, "/x")),
            *[(url, None) for url in NOT_A_URL],
        ],
    )
    def test_a_url_has_four_parts_or_is_invalid(
        self, url: str, parts: tuple[str, str, int, str] | None
    ) -> None:
        assert parse_url(url) == parts

    @SAME_EACH_TIME
    @given(st.from_regex(r"https?://[\s\S]{0,12}(:\d{0,6})?(/[\s\S]*)?", fullmatch=True))
    def test_no_part_can_end_a_line_of_a_request(self, url: str) -> None:
        _, host, port, path = parse_url(url) or ("", "", 0, "")
        assert 0 <= port < 65_536
        assert (host + path).isascii()
        assert not re.search(r"[\s\x00-\x20\x7f?#@]", host)
        assert not re.search(r"[\s\x00-\x20\x7f?#]", path)


class TestRefusal:
    @pytest.mark.parametrize(
        ("url", "shown", "meant"),
        [
            ("localhost", "localhost", "http://localhost"),
            ("127.0.0.1:8722", "127.0.0.1:8722", "http://127.0.0.1:8722"),
            ("[::1]:8722", "[::1]:8722", "http://[::1]:8722"),
            ("api.whisperr.net", "api.whisperr.net", "https://api.whisperr.net"),
            ("api.whisperr.net/", "api.whisperr.net…", "https://api.whisperr.net"),
            ("gateway:8080/s3cr3t", "gateway:8080…", "https://gateway:8080/…"),
            ("htps://api.whisperr.net", "htps://api.whisperr.net", "https://api.whisperr.net"),
            ("HTPP://localhost:1/s3cr3t", "HTPP://localhost:1…", "http://localhost:1/…"),
            ("https://api.whisperr.net\n", "https://api.whisperr.net…", "https://api.whisperr.net"),
            ('"http://localhost:1"', "http://localhost:1…", "http://localhost:1"),
            ("ftp://api.whisperr.net", "ftp://api.whisperr.net", None),
            ("https://api.whisperr.net:65536", "https://api.whisperr.net:65536", None),
            ("https://api.whisperr.net:s3cr3t", "https://api.whisperr.net…", None),
            ("https://api.whisperr.net?key=s3cr3t", "https://api.whisperr.net…", None),
            ("http://api.whisperr.net/s3cr3t x", "http://api.whisperr.net…", None),
            ("", "", None),
        ],
    )
    def test_scheme_host_and_port_are_shown_and_what_is_probably_meant(
        self, url: str, shown: str, meant: str | None
    ) -> None:
        hint = f"; did you mean '{meant}'?" if meant else ""
        assert refuse_url(url) == f"'{shown}': must be {ALLOWED_URL}{hint}"

    @pytest.mark.parametrize(
        "url",
        [
            "https://ada:s3cr3t@api.whisperr.net",
            "https://ada:s3/cr3t@api.whisperr.net",
            "ada:s3cr3t@api.whisperr.net",
            "s3cr3t",
            "wrk_s3cr3t",
            "wrk_s3.cr3t",
            "https://wpk_s3cr3t",
            "https://s3cr3t\u00e4",
            "s3cr3t://localhost",
            f"{'s' * 40}://localhost",
        ],
    )
    def test_of_what_may_be_a_password_or_a_key_only_the_length_is_shown(self, url: str) -> None:
        assert refuse_url(url) == f"(a str of {len(url)} characters): must be {ALLOWED_URL}"

    @SAME_EACH_TIME
    @given(st.text())
    def test_an_error_is_one_line(self, text: str) -> None:
        assert refuse_url(text).isprintable()
        assert len(refuse_url("http://" + text)) < len(text) * 2 + 300
