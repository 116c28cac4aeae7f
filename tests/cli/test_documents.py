"""The JSON values of a file of provider events: each shape, in blocks of any size, and errors."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperr._cli import documents
from whisperr._cli.content import ContentError
from whisperr._cli.documents import Document, read_documents

VALUES = st.dictionaries(
    st.text(max_size=5), st.integers() | st.text(max_size=9) | st.lists(st.integers(), max_size=3)
)


class Slow(io.BytesIO):
    """A stream that returns a few bytes at a time, as a pipe may."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self._size = size

    def read(self, _size: int | None = -1, /) -> bytes:
        return super().read(self._size)


def read(text: str, size: int = 1 << 20) -> list[Document]:
    return list(read_documents(Slow(text.encode("utf-8", "surrogatepass"), size)))


def values(text: str, size: int = 1 << 20) -> list[Any]:
    found = read(text, size)
    assert [one.problem for one in found if one.problem] == []
    return [one.value for one in found]


@given(
    items=st.lists(VALUES, max_size=6),
    indent=st.sampled_from([None, 2]),
    is_array=st.booleans(),
    size=st.integers(1, 40),
)
def test_every_shape_gives_the_same_values_in_blocks_of_any_size(
    items: list[dict[str, Any]], indent: int | None, is_array: bool, size: int
) -> None:
    text = "\n".join(json.dumps(one, indent=indent, ensure_ascii=False) for one in items)
    if is_array:
        text = json.dumps(items, indent=indent, ensure_ascii=False)
    assert values(text, size) == items


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\t", []),
        ('\ufeff{"a": 1}', [{"a": 1}]),
        ('{"a": 1}{"a": 2}', [{"a": 1}, {"a": 2}]),
        ('[{"a": 1}]\n[{"a": 2}]', [{"a": 1}, {"a": 2}]),
        ("12345", [12345]),
    ],
)
def test_values_may_follow_each_other_in_any_way(text: str, expected: list[Any]) -> None:
    assert values(text) == expected
    assert values(text, 1) == expected


def test_a_line_that_is_not_json_does_not_affect_the_others() -> None:
    lines = ['{"a": 1}', "Ready!", '{"a": 2', '{"a": "2', '{"a": 3}', "{,}", '{"a": 4}']
    found = read("\n".join(lines), 3)
    assert [one.value for one in found if not one.problem] == [{"a": 1}, {"a": 3}, {"a": 4}]
    problems = [one.problem for one in found if one.problem]
    assert problems[0] == "line 2: not JSON: Expecting value"
    assert [one.partition(":")[0] for one in problems] == ["line 2", "line 3", "line 4", "line 6"]


def test_a_last_line_that_is_cut_off_is_a_problem_of_that_line() -> None:
    *_, last = read('{"a": 1}\n{"a": 2')
    assert last.problem is not None
    assert last.problem.startswith("line 2: not JSON: ")


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_an_indented_value_that_is_cut_off_is_an_error_with_its_line(size: int) -> None:
    text = json.dumps({"data": [{"a": 1}]}, indent=2)
    with pytest.raises(ContentError, match=r"line 5: not JSON: .*; is the file cut off\?"):
        read(f"{{}}\n{text[:22]}", size)


def test_an_array_that_is_not_closed_is_an_error() -> None:
    with pytest.raises(ContentError, match="the array is not closed"):
        read('[{"a": 1},')


def test_a_text_that_is_not_utf_8_is_an_error() -> None:
    with pytest.raises(ContentError, match="not UTF-8 after line 1"):
        list(read_documents(io.BytesIO(b'{"a": "\xe9t\xe9"}')))


@pytest.mark.parametrize("text", ['"{}"', '{{\n"a": "{}"}}'])
def test_a_value_that_is_too_long_is_an_error(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(documents, "MAX_CHARS", 100_000)
    with pytest.raises(ContentError, match=r"line 1: a value with more than 100,000 characters"):
        read(text.format("x" * 300_000), 50_000)


@pytest.mark.parametrize("odd", ["[" * 100_000, "1" * 5_000, '{"a":' * 100_000])
def test_a_line_that_python_cannot_read_is_a_problem(odd: str) -> None:
    first, wrong, last = read(f'{{"a": 1}}\n{{"b": {odd}\n{{"a": 2}}\n')
    assert (first.value, last.value) == ({"a": 1}, {"a": 2})
    assert wrong.problem is not None
    assert wrong.problem.startswith("line 2: not JSON: ")
