"""The fields of a record, as the formatters of structured logging see them."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from whisperr._process.logger import log, logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVERYTHING: dict[str, Any] = {
    "type": "dropped",
    "reason": "rejected",
    "count": 2,
    "status": 400,
    "host": "collect.example:443",
}
FIELDS = {f"whisperr_{name}": value for name, value in EVERYTHING.items()}
TEXT = "whisperr: 100 % gone"


@pytest.fixture
def written() -> Iterator[tuple[logging.Handler, io.StringIO]]:
    """Yield a handler of the logger `whisperr`, and the text that it writes."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    logger().addHandler(handler)
    yield handler, text
    logger().removeHandler(handler)


@pytest.mark.parametrize(
    "given",
    [EVERYTHING, {}, *({name: value} for name, value in EVERYTHING.items())],
    ids=lambda given: " ".join(given) or "none",
)
def test_a_record_has_the_fields_that_are_known_and_no_others(
    given: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    log("warning", "%d %% gone", 100, **given)
    (record,) = caplog.records
    found = {name: value for name, value in vars(record).items() if name.startswith("whisperr")}
    assert found == {f"whisperr_{name}": value for name, value in given.items()}
    assert record.getMessage() == TEXT


def test_a_zero_is_a_known_value(caplog: pytest.LogCaptureFixture) -> None:
    log("warning", "none", count=0)
    assert caplog.records[0].whisperr_count == 0  # type: ignore[attr-defined]


def test_a_format_of_logging_itself_has_the_fields(
    written: tuple[logging.Handler, io.StringIO],
) -> None:
    handler, text = written
    line = "%(whisperr_type)s %(whisperr_count)s %(message)s"
    unknown = {"whisperr_type": "-", "whisperr_count": 0}
    handler.setFormatter(logging.Formatter(line, defaults=unknown))
    log("warning", "known", **EVERYTHING)
    log("warning", "unknown")
    assert text.getvalue().splitlines() == [
        "dropped 2 whisperr: known",
        "- 0 whisperr: unknown",
    ]


def test_python_json_logger_writes_the_fields(
    written: tuple[logging.Handler, io.StringIO],
) -> None:
    formatter = pytest.importorskip("pythonjsonlogger.json").JsonFormatter
    handler, text = written
    handler.setFormatter(formatter("%(levelname)s %(message)s"))
    log("warning", "%d %% gone", 100, **EVERYTHING)
    log("error", "unknown")
    assert [json.loads(line) for line in text.getvalue().splitlines()] == [
        {"levelname": "WARNING", "message": TEXT, **FIELDS},
        {"levelname": "ERROR", "message": "whisperr: unknown"},
    ]


def test_structlog_writes_the_fields(written: tuple[logging.Handler, io.StringIO]) -> None:
    structlog = pytest.importorskip("structlog")
    handler, text = written
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    log("warning", "%d %% gone", 100, **EVERYTHING)
    log("error", "unknown")
    assert [json.loads(line) for line in text.getvalue().splitlines()] == [
        {"event": TEXT, "level": "warning", **FIELDS},
        {"event": "whisperr: unknown", "level": "error"},
    ]


@pytest.fixture
def factory() -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that lets the record factory of the program set attributes."""
    original = logging.getLogRecordFactory()

    def use(attributes: dict[str, Any]) -> None:
        def make(*args: Any, **named: Any) -> logging.LogRecord:
            record = original(*args, **named)
            vars(record).update(attributes)
            return record

        logging.setLogRecordFactory(make)

    yield use
    logging.setLogRecordFactory(original)


@pytest.mark.parametrize("field", FIELDS)
def test_a_record_whose_field_is_taken_is_logged_without_fields(
    factory: Callable[[dict[str, Any]], None], field: str, caplog: pytest.LogCaptureFixture
) -> None:
    factory({field: "of the program"})
    log("warning", "%d %% gone", 100, **EVERYTHING)
    (record,) = caplog.records
    assert record.getMessage() == TEXT
    found = {name: value for name, value in vars(record).items() if name.startswith("whisperr_")}
    assert found == {field: "of the program"}


def test_a_handler_that_raises_a_key_error_sees_no_second_record() -> None:
    seen: list[str] = []

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())
            raise KeyError("whisperr_type")

    handler = Broken()
    logger().addHandler(handler)
    try:
        log("warning", "seen", **EVERYTHING)
    finally:
        logger().removeHandler(handler)
    assert seen == ["whisperr: seen"]


def test_a_record_factory_that_sets_common_names_hides_no_record(
    factory: Callable[[dict[str, Any]], None], caplog: pytest.LogCaptureFixture
) -> None:
    factory({"type": "web", "host": "web-1", "status": "ok", "count": 7, "reason": "none"})
    log("warning", "seen", **EVERYTHING)
    (record,) = caplog.records
    assert vars(record).items() >= FIELDS.items()
    assert vars(record)["host"] == "web-1"
