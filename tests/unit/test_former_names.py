"""Names that programs for whisperr 0.2 use: they work, or the error says what to write instead."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import whisperr

GONE = {
    "client": "write `from whisperr import Whisperr`",
    "transport": r"whisperr\.protocols\.Transport; tests use whisperr\.testing\.capture",
}


def test_the_public_names_of_then_are_public() -> None:
    assert {"BillingEvent", "SDK_NAME", "Whisperr", "WhisperrError"} <= set(whisperr.__all__)
    assert whisperr.SDK_NAME == "whisperr-python"


@pytest.mark.parametrize("name", GONE)
def test_importing_a_module_that_is_gone_says_what_to_write(name: str) -> None:
    with pytest.raises(ImportError, match=GONE[name]):
        importlib.import_module(f"whisperr.{name}")
    with pytest.raises(ImportError, match=GONE[name]):
        exec(f"from whisperr import {name}", {})


@pytest.mark.parametrize("name", GONE)
def test_a_module_that_is_gone_is_no_attribute_and_the_error_says_what_to_write(name: str) -> None:
    assert not hasattr(whisperr, name)
    with pytest.raises(AttributeError, match=GONE[name]):
        getattr(whisperr, name)


@pytest.mark.parametrize(
    "expression", ["billing.BillingEvent.TRIAL_STARTED", "errors.WhisperrError", "_version"]
)
def test_importing_the_package_is_enough_to_reach_its_modules(expression: str) -> None:
    code = f"import whisperr; whisperr.{expression}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_any_other_attribute_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'whisperr' has no attribute 'tracker'$"):
        getattr(whisperr, "tracker")  # noqa: B009  # mypy refuses the plain form
