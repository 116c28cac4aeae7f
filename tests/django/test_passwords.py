"""The debug page of Django shows settings and the variables of frames; no password of a buffer."""

from __future__ import annotations

import sys

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.views.debug import ExceptionReporter

from whisperr import Whisperr
from whisperr.buffers import RedisBuffer
from whisperr.django.conf import new_client

SECRET = "hunter" + str(2)  # the page shows lines of code as well


def get_page() -> str:
    page: str = ExceptionReporter(None, *sys.exc_info()).get_traceback_html()
    return page


def make_with_url() -> None:
    Whisperr("wrk_test", buffer=f"redis://:{SECRET}@host:port")


@pytest.mark.parametrize(
    "url", ["redis://:{}@host:port", "redis://:a?{}@host", "postgres://:{}@host"]
)
def test_a_wrong_url_in_the_settings_is_not_shown(url: str) -> None:
    # The settings themselves are on the page: the system check whisperr.W009 warns of that.
    with override_settings(WHISPERR_BUFFER=url.format(SECRET)):
        try:
            new_client()
        except ImproperlyConfigured:
            frames = ExceptionReporter(None, *sys.exc_info()).get_traceback_frames()
            assert SECRET not in str([frame["vars"] for frame in frames])
            return
    pytest.fail("accepted")


def test_a_wrong_argument_is_not_shown() -> None:
    try:
        make_with_url()
    except ValueError:
        assert SECRET not in get_page()
        return
    pytest.fail("accepted")


def test_a_buffer_object_in_the_settings_shows_no_password() -> None:
    buffer = RedisBuffer(f"redis://:{SECRET}@host")
    with override_settings(WHISPERR_BUFFER=buffer):
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            page = get_page()
    assert "RedisBuffer" in page
    assert SECRET not in page
