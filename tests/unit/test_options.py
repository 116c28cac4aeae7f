"""Every option: its default, which values are refused, and with which text."""

from __future__ import annotations

import inspect
import math
import re
import ssl
import warnings
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import settings

from tests.unit.test_address import NOT_A_URL, SECRET
from whisperr import Whisperr
from whisperr._address import refuse_url
from whisperr._options import FLAGS_OF_ENVIRONMENT, OPTIONS, OUTBOX, Config
from whisperr._queue.memory import MemoryQueue
from whisperr._secret import Secret

SAME_EACH_TIME = settings(derandomize=True, database=None, deadline=None)
DEFAULTS = {option.name: option.default for option in OPTIONS}
ALLOWED = {option.name: option.allowed for option in OPTIONS}

WHOLE: tuple[Any, ...] = (
    *(0, -1, 2.5, True, None, math.inf, math.nan, Decimal(5)),
    *("", " ", "0", "-1", "2.5", "five", "inf", "nan", "1e999", b"5"),
)
SECONDS: tuple[Any, ...] = (
    *(0, -1.0, True, None, math.inf, math.nan),
    *("", "0", "-1", "soon", "inf", "nan", "10 s", b"5"),
)
FLAG: tuple[Any, ...] = (2, -1, 0.5, math.nan, "maybe", "2", "None", b"1", [], {}, object())
OBJECT: tuple[Any, ...] = (5, "text", object(), [])
REFUSED: dict[str, tuple[Any, ...]] = {
    "flush_at": WHOLE,
    "flush_interval": SECONDS,
    "max_queue_size": WHOLE,
    "max_batch_size": WHOLE,
    "max_retries": (-1, 1.5, True, "-1", "many", None),
    "request_timeout": SECONDS,
    "disabled": FLAG,
    "debug": FLAG,
    "on_error": OBJECT,
    "app_version": (5, 1.0, b"1.0", object()),
    "test_mode": FLAG,
    "strict": FLAG,
    "before_send": OBJECT,
    "default_properties": OBJECT,
    "max_queue_bytes": (*WHOLE, 1023),
    "buffer": OBJECT,
    "ssl_context": OBJECT,
    "transport": OBJECT,
}
NUMBERS = ("flush_at", "max_queue_size", "max_batch_size", "max_retries")
SECONDS_OPTIONS = ("flush_interval", "request_timeout")


class Sender:
    """A transport for configurations: nothing is ever sent through it."""

    def send(self, request: object, timeout: float) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def config(**options: Any) -> Config:
    given = {**DEFAULTS, "api_key": "wrk_1", **options}
    return Config({**given, "api_key": Secret(given["api_key"])})


class TestTable:
    def test_the_constructor_has_the_options_in_order_with_their_defaults(self) -> None:
        parameters = inspect.signature(Whisperr).parameters.values()
        assert [(parameter.name, parameter.default) for parameter in parameters] == [
            (option.name, option.default) for option in OPTIONS
        ]

    def test_only_the_key_is_a_positional_argument(self) -> None:
        first, *others = inspect.signature(Whisperr).parameters.values()
        assert first.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        assert {one.kind for one in others} == {inspect.Parameter.KEYWORD_ONLY}

    def test_the_documented_options_come_first_and_keep_their_defaults(self) -> None:
        assert list(DEFAULTS.items())[:11] == [
            ("api_key", None),
            ("base_url", "https://api.whisperr.net"),
            ("flush_at", 20),
            ("flush_interval", 10.0),
            ("max_queue_size", 10_000),
            ("max_batch_size", 500),
            ("max_retries", 6),
            ("request_timeout", 10.0),
            ("disabled", False),
            ("debug", False),
            ("on_error", None),
        ]

    def test_every_option_has_a_meaning_and_its_allowed_values(self) -> None:
        assert all(option.meaning and option.allowed for option in OPTIONS)
        assert len(DEFAULTS) == len(OPTIONS)

    def test_a_configuration_has_every_option_under_its_name(self) -> None:
        assert set(config()._fields()) == {*DEFAULTS, "key"} - {"api_key"}

    def test_by_default_it_holds_the_defaults(self) -> None:
        held = config()._fields()
        del held["key"]
        assert held == {name: value for name, value in DEFAULTS.items() if name != "api_key"}

    @pytest.mark.parametrize("name", [*DEFAULTS, "key", "other"])
    def test_a_configuration_cannot_be_changed(self, name: str) -> None:
        with pytest.raises(AttributeError, match=f"Config.{name} cannot be changed"):
            setattr(config(), name, None)

    def test_replace_returns_a_copy_with_other_values(self) -> None:
        before = config(flush_at=5)
        after = before.replace(strict=True, flush_at=7)
        assert (after.strict, after.flush_at, after.key) == (True, 7, before.key)
        assert before == config(flush_at=5).replace(key=before.key)

    def test_replace_refuses_an_unknown_name(self) -> None:
        with pytest.raises(AttributeError, match="flush_att"):
            config().replace(flush_att=7)


class TestChecks:
    @pytest.mark.parametrize(
        ("name", "value"), [(name, value) for name, values in REFUSED.items() for value in values]
    )
    def test_the_error_for_a_wrong_value_names_it_and_what_is_allowed(
        self, name: str, value: object
    ) -> None:
        text = re.escape(f"{name}={value!r}: must be {ALLOWED[name]}")
        with pytest.raises(ValueError, match=f"^{text}$"):
            config(**{name: value})

    def test_every_option_has_a_wrong_value_in_these_tests(self) -> None:
        assert {*REFUSED, "api_key", "base_url"} == set(DEFAULTS)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("flush_at", 1),
            ("flush_interval", 1),
            ("flush_interval", 0.01),
            ("max_queue_size", 1),
            ("max_retries", 0),
            ("request_timeout", 86_400),
            ("disabled", True),
            ("on_error", print),
            ("before_send", dict),
            ("default_properties", {}),
            ("default_properties", dict),
            ("app_version", ""),
            ("max_queue_bytes", 1024),
            ("buffer", MemoryQueue(1, 1024)),
            ("ssl_context", ssl.create_default_context()),
            ("transport", Sender()),
        ],
    )
    def test_a_value_at_the_limit_is_accepted(self, name: str, value: object) -> None:
        assert getattr(config(**{name: value}), name) == value

    @pytest.mark.parametrize(
        ("name", "value", "used"),
        [
            *[(name, value, 7) for name in NUMBERS for value in ("7", " 7\n", "7.0", 7.0, "+7")],
            ("max_queue_bytes", "1_048_576", 1_048_576),
            ("flush_interval", "2.5", 2.5),
            ("request_timeout", " 30", 30.0),
        ],
    )
    def test_a_number_may_be_written_as_text(self, name: str, value: object, used: object) -> None:
        found = getattr(config(**{name: value}), name)
        assert (found, isinstance(found, int)) == (used, name not in SECONDS_OPTIONS)

    @pytest.mark.parametrize("name", ["disabled", "debug", "test_mode", "strict"])
    @pytest.mark.parametrize(
        ("value", "used"),
        [
            *[(value, True) for value in (True, 1, 1.0, "1", "true", "True", "YES", " on\n")],
            *[(value, False) for value in (False, 0, 0.0, "0", "false", "False", "no", "OFF")],
            *[(value, False) for value in (None, "", " ")],
        ],
    )
    def test_a_flag_may_be_a_number_or_a_word(self, name: str, value: object, used: bool) -> None:
        assert getattr(config(**{name: value}), name) is used

    @pytest.mark.parametrize(
        ("value", "shown"),
        [("x" * 5_000, "'" + "x" * 99 + "\u2026"), ("\x1b[2J\n", r"'\x1b[2J\n'")],
    )
    def test_a_wrong_value_is_shown_escaped_and_shortened(self, value: str, shown: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(f'debug={shown}: must be')}"):
            config(debug=value)

    @pytest.mark.parametrize("name", ["send_batch", "send_identify"])
    def test_the_error_for_a_transport_of_the_old_kind_says_what_to_write(self, name: str) -> None:
        old = type("Fake", (), {name: lambda *_: "ok"})()
        fix = r"send and close; only .* whisperr\.protocols\.Transport; .* MemoryTransport$"
        with pytest.raises(ValueError, match=fix):
            Whisperr("wrk_1", transport=old)

    @pytest.mark.parametrize(("given_size", "used"), [(1, 1), (499, 499), (500, 500), (9_999, 500)])
    def test_a_batch_is_never_larger_than_the_server_takes(
        self, given_size: int, used: int
    ) -> None:
        assert config(max_batch_size=given_size).max_batch_size == used

    def test_the_constructor_of_the_client_refuses_a_wrong_value(self) -> None:
        with pytest.raises(ValueError, match=r"^flush_at=0: must be a whole number from 1$"):
            Whisperr("wrk_1", flush_at=0)


class TestFlagsOfTheEnvironment:
    @pytest.mark.parametrize("name", FLAGS_OF_ENVIRONMENT)
    @pytest.mark.parametrize("given_value", [True, False])
    @pytest.mark.parametrize(
        ("written", "used"),
        [
            *[(text, True) for text in ("1", "true", "TRUE", "Yes", "on", " 1 ")],
            *[(text, None) for text in ("0", "false", "False", "NO", "off", "", " ")],
        ],
    )
    def test_a_variable_switches_an_option_on_and_never_off(
        self,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        written: str,
        used: bool | None,
        given_value: bool,
    ) -> None:
        monkeypatch.setenv(f"WHISPERR_{name.upper()}", written)
        assert getattr(config(**{name: given_value}), name) is (used or given_value)

    @pytest.mark.parametrize("name", FLAGS_OF_ENVIRONMENT)
    @pytest.mark.parametrize(
        ("written", "shown"),
        [
            ("maybe", "'maybe'"),
            ("2", "'2'"),
            ("truee", "'truee'"),
            ("\x1b[2J", r"'\x1b[2J'"),
            ("x" * 5_000, "'" + "x" * 99 + "\u2026"),
        ],
    )
    def test_the_error_for_a_wrong_variable_names_it_and_the_words(
        self, monkeypatch: pytest.MonkeyPatch, name: str, written: str, shown: str
    ) -> None:
        variable = f"WHISPERR_{name.upper()}"
        monkeypatch.setenv(variable, written)
        text = f"{variable}={shown}: must be 1, true, yes, on, 0, false, no or off"
        with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
            config()

    def test_a_client_that_the_environment_disables_needs_no_key(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WHISPERR_DISABLED", "1")
        client = Whisperr()
        assert not client.enabled
        assert client.track("u", "e") is None
        assert client.stats().state == "disabled"

    def test_the_documented_options_name_their_variables(self) -> None:
        named = {o.name for o in OPTIONS if f"`WHISPERR_{o.name.upper()}`" in o.meaning}
        assert named == {"api_key", "base_url", "buffer", *FLAGS_OF_ENVIRONMENT}


class TestKey:
    @pytest.mark.parametrize("key", [None, "", " "])
    def test_the_error_for_a_missing_key_names_all_ways_out_in_one_line(
        self, key: str | None
    ) -> None:
        with pytest.raises(ValueError, match="api_key") as caught:
            config(api_key=key)
        text = str(caught.value)
        ways = ("api_key=", "set WHISPERR_API_KEY", '"whisperr dev -- COMMAND"', "disabled=True")
        assert all(way in text for way in (*ways, "WHISPERR_DISABLED=1", "dashboard"))
        assert text.isprintable()
        assert text.startswith("api_key: none given" if key is None else "api_key: is empty")

    @pytest.mark.parametrize("key", ["", " ", "\n"])
    def test_a_blank_key_counts_as_missing(self, key: str) -> None:
        with pytest.raises(ValueError, match=r"^api_key: is empty; create a server key"):
            config(api_key=key)

    def test_the_key_of_the_environment_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_env\n")
        assert config(api_key=None).key.reveal() == "wrk_env"

    def test_a_wrong_key_of_the_environment_is_named_by_its_variable(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk 1")
        with pytest.raises(ValueError, match=r"^WHISPERR_API_KEY: must not .+; copy it again$"):
            config(api_key=None)
        with pytest.raises(ValueError, match=r"^api_key: must not contain"):
            config(api_key="wrk 2")

    def test_a_given_key_wins_over_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WHISPERR_API_KEY", "wrk_env")
        assert config(api_key="wrk_given").key.reveal() == "wrk_given"

    def test_white_space_around_the_key_is_removed(self) -> None:
        assert config(api_key=" wrk_1\r\n").key.reveal() == "wrk_1"

    @pytest.mark.parametrize(
        "key",
        [
            f"wrk_{SECRET} 1",
            f"wrk_{SECRET}\r\nX-Other: 1",
            f"wrk_{SECRET}\x00",
            f"wrk_{SECRET}\x7f",
            f"wrk_{SECRET}\u00df",
            f"wrk_{SECRET}".encode(),
            [SECRET],
        ],
    )
    def test_the_error_for_a_wrong_key_does_not_contain_it(self, key: object) -> None:
        with pytest.raises(ValueError, match=r"^api_key") as caught:
            config(api_key=key)
        assert SECRET not in str(caught.value)

    def test_a_disabled_client_needs_no_key_and_keeps_none(self) -> None:
        assert config(api_key=None, disabled=True).key.reveal() == ""
        assert config(api_key="wpk_1", disabled=True).key.reveal() == ""

    def test_code_that_prints_variables_does_not_print_the_key(self) -> None:
        one = config(api_key=f"wrk_{SECRET}")
        printed = f"{one.key} {one.key!r} {one._fields()} {one!r}"
        assert SECRET not in printed
        client = Whisperr(f"wrk_{SECRET}", transport=Sender())
        assert SECRET not in f"{client!r} {client} {vars(client)}"

    def test_the_warning_about_a_publishable_key_points_at_the_caller(self) -> None:
        with pytest.warns(UserWarning, match="publishable key") as caught:
            Whisperr(f"wpk_{SECRET}", transport=Sender())
        assert [warning.filename for warning in caught] == [__file__]
        assert SECRET not in str(caught[0].message)


class TestBuffer:
    def test_a_url_stays_a_url(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert config(buffer="sqlite:////tmp/a.db").buffer == "sqlite:////tmp/a.db"
        monkeypatch.setenv("WHISPERR_BUFFER", "sqlite:////tmp/b.db")
        assert config().buffer == "sqlite:////tmp/b.db"
        assert config(buffer="sqlite:////tmp/a.db").buffer == "sqlite:////tmp/a.db"

    def test_an_empty_variable_means_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WHISPERR_BUFFER", "")
        assert config().buffer is None

    @pytest.mark.parametrize("from_environment", [False, True])
    def test_the_outbox_is_refused_with_the_way_to_use_it(
        self, monkeypatch: pytest.MonkeyPatch, from_environment: bool
    ) -> None:
        if from_environment:
            monkeypatch.setenv("WHISPERR_BUFFER", OUTBOX)
        with pytest.raises(
            ValueError, match=r"^buffer: 'django' is .* whisperr\.django\.get_client"
        ):
            config(buffer=None if from_environment else OUTBOX)

    def test_the_error_for_what_may_have_a_password_does_not_contain_it(self) -> None:
        with pytest.raises(ValueError, match=r"^buffer=str: must be a URL such as") as caught:
            config(buffer=f"redis:ada:{SECRET}@localhost")
        assert SECRET not in str(caught.value)

    def test_a_password_in_a_url_is_not_printed(self) -> None:
        one = config(buffer=f"redis://ada:{SECRET}@localhost")
        assert SECRET not in f"{one} {one!r}"

    @pytest.mark.parametrize("url", ["https://host/", f"rediss://:{SECRET}@/x"])
    def test_the_constructor_of_the_client_refuses_a_wrong_url(
        self, monkeypatch: pytest.MonkeyPatch, url: str
    ) -> None:
        monkeypatch.setenv("WHISPERR_BUFFER", url)
        with pytest.raises(ValueError, match=r"must be") as caught:
            Whisperr("wrk_1", transport=Sender())
        assert SECRET not in str(caught.value)


class TestBaseUrl:
    def test_the_environment_replaces_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WHISPERR_BASE_URL", "http://localhost:8080/")
        assert config().base_url == "http://localhost:8080"

    def test_a_given_url_wins_over_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WHISPERR_BASE_URL", "http://localhost:8080")
        assert config(base_url="https://eu.example/v/").base_url == "https://eu.example/v"

    def test_none_and_an_empty_variable_mean_the_default(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WHISPERR_BASE_URL", "")
        assert config(base_url=None).base_url == "https://api.whisperr.net"

    @pytest.mark.parametrize(
        ("url", "used"),
        [
            ("HTTP://localhost:8080/", "http://localhost:8080"),
            ("HTTPS://eu.example/V1/", "https://eu.example/V1"),
            ("hTtPs://EU.example", "https://EU.example"),
        ],
    )
    @pytest.mark.parametrize("from_environment", [False, True])
    def test_the_scheme_may_be_in_any_case(
        self, monkeypatch: pytest.MonkeyPatch, url: str, used: str, from_environment: bool
    ) -> None:
        if from_environment:
            monkeypatch.setenv("WHISPERR_BASE_URL", url)
        assert config(**{} if from_environment else {"base_url": url}).base_url == used

    @pytest.mark.parametrize("url", NOT_A_URL)
    def test_the_error_for_a_wrong_url_is_that_of_an_address(self, url: str) -> None:
        with pytest.raises(ValueError, match=r"^base_url=") as caught:
            config(base_url=url)
        assert str(caught.value) == f"base_url={refuse_url(url)}"

    @pytest.mark.parametrize("url", [5, b"https://ada:s3cr3t@api.whisperr.net"])
    def test_of_a_url_that_is_no_text_only_the_type_is_shown(self, url: object) -> None:
        text = re.escape(f"base_url={type(url).__name__}: must be {ALLOWED['base_url']}")
        with pytest.raises(ValueError, match=f"^{text}$"):
            config(base_url=url)

    @pytest.mark.parametrize("url", NOT_A_URL[1:])
    def test_the_variable_is_checked_too(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WHISPERR_BASE_URL", url)
        with pytest.raises(ValueError, match=r"^WHISPERR_BASE_URL=") as caught:
            config()
        assert str(caught.value) == f"WHISPERR_BASE_URL={refuse_url(url)}"

    @pytest.mark.parametrize("host", ["example.com", "10.0.0.1", "localhost.example", "[::2]:80"])
    def test_the_warning_about_http_to_another_host_points_at_the_caller(self, host: str) -> None:
        with pytest.warns(UserWarning, match="unencrypted; use https://") as caught:
            Whisperr("wrk_1", base_url=f"http://{host}", transport=Sender())
        assert [warning.filename for warning in caught] == [__file__]

    @pytest.mark.parametrize(
        "url",
        [
            *("http://localhost", "http://127.0.0.1:8080", "http://[::1]:80", "https://other"),
            "http://LOCALHOST",
        ],
    )
    def test_https_and_loopback_do_not_warn(self, url: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert config(base_url=url).base_url == url
