"""docs/reference/options.md has every option and variable of the code; its examples are real."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from scripts.public_api import get_documented

from tests.docs.page import ROOT, get_blocks, get_names, get_rows, get_text, paste
from tests.docs.pasted import run
from whisperr import Whisperr
from whisperr._integrations.client import SettingsReader, get_setting_name
from whisperr._options import FLAGS_OF_ENVIRONMENT, OPTIONS

if TYPE_CHECKING:
    from pathlib import Path

PAGE = get_text("docs/reference/options.md")
ROWS = get_rows("docs/reference/options.md", "Options")
# A quoted name of a variable: the client reads it from the environment.
READ = re.compile(r"\"(WHISPERR_[A-Z_]+)\"")


def test_the_table_is_the_one_of_the_code() -> None:
    command = [sys.executable, "scripts/options_table.py", "--check"]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == 0
    assert [get_names(row[0])[0] for row in ROWS] == [option.name for option in OPTIONS]


def test_the_table_has_every_variable_that_the_client_reads() -> None:
    shown = {name for row in ROWS for name in get_names(row[2])}
    files = [ROOT / "src/whisperr" / name for name in ("_options.py", "_secret.py")]
    texts = [path.read_text(encoding="utf-8") for path in files]
    read = {name for text in texts for name in READ.findall(text)}
    read |= {f"WHISPERR_{name.upper()}" for name in FLAGS_OF_ENVIRONMENT}
    assert shown == read


def test_the_words_of_the_flags_are_those_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    (paragraph,) = [text for text in PAGE.split("\n\n") if "turn their option on" in text]
    flags = [name for name in get_names(paragraph) if name.startswith("WHISPERR_")]
    assert flags == [f"WHISPERR_{name.upper()}" for name in FLAGS_OF_ENVIRONMENT]
    words = [
        name
        for name in get_names(" ".join(paragraph.split()).split("Their values are")[1])
        if name != "ValueError"
    ]
    for number, word in enumerate(words):
        monkeypatch.setenv("WHISPERR_DISABLED", word.upper())
        assert Whisperr("wrk_test", disabled=False).enabled is (number >= len(words) // 2)
    assert len(words) == 8
    monkeypatch.setenv("WHISPERR_DISABLED", "")
    assert Whisperr("wrk_test").enabled
    monkeypatch.setenv("WHISPERR_DISABLED", "perhaps")
    with pytest.raises(ValueError, match="WHISPERR_DISABLED"):
        Whisperr("wrk_test")


def test_a_setting_may_be_text() -> None:
    texts = {"WHISPERR_FLUSH_AT": "20", "WHISPERR_DISABLED": "off"}
    assert SettingsReader(texts.get).read() == {"flush_at": 20, "disabled": False}


def test_every_option_is_in_the_help_of_the_client() -> None:
    described = get_documented(inspect.getdoc(Whisperr) or "")
    assert described == list(inspect.signature(Whisperr).parameters)
    assert set(described) == {option.name for option in OPTIONS}


def test_every_option_that_is_advised_exists() -> None:
    rows = get_rows("docs/reference/options.md", "Which options you may want")
    advised = {name.partition("=")[0] for row in rows for name in get_names(row[1])}
    assert len(advised) >= 10
    assert advised <= {option.name for option in OPTIONS}


def test_the_message_of_a_wrong_value_is_the_real_one() -> None:
    (shown,) = get_blocks("docs/reference/options.md", "text")
    with pytest.raises(ValueError, match="flush_at") as caught:
        Whisperr("wrk_test", flush_at=0)
    assert f"{caught.value}\n" == shown


def test_the_code_runs_and_its_settings_are_known(tmp_path: Path) -> None:
    run(tmp_path, paste("docs/reference/options.md"), WHISPERR_API_KEY="wrk_test")
    names: dict[str, Any] = {}
    exec(
        compile(get_blocks("docs/reference/options.md", "python")[1], "settings.py", "exec"), names
    )
    settings = {name for name in names if name.startswith("WHISPERR_")}
    assert len(settings) == 2
    assert settings <= {get_setting_name(option) for option in OPTIONS}
