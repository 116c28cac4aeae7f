"""The records of an import: lines, items of an array, rows; each costs itself only."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperr._cli.content import ContentError
from whisperr._cli.records import (
    MAX_RECORD_BYTES,
    ArrayReader,
    Record,
    is_array,
    looks_like_csv,
    read_lines,
    read_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self._rest, self._size = data, size

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        piece = self._rest[: min(self._size, len(target))]
        self._rest = self._rest[len(piece) :]
        target[: len(piece)] = piece
        return len(piece)


def read_items(data: bytes, size: int = 1_000_000) -> Iterator[Record]:
    stream: Any = Trickle(data, size)  # `read` of a raw stream returns what there is
    return ArrayReader().read(stream, stream.read(size))


def read_cells(text: str) -> list[tuple[int, tuple[str, ...] | str]]:
    rows = read_rows(io.BytesIO(text.encode()))
    return [(row.number, row.problem or row.cells or ()) for row in rows]


class TestLines:
    def test_lines_have_their_numbers(self) -> None:
        records = read_lines(io.BytesIO(b"a\n\nccc\nd"))
        assert [(one.number, one.data) for one in records] == [
            (1, b"a\n"),
            (2, b"\n"),
            (3, b"ccc\n"),
            (4, b"d"),
        ]

    @pytest.mark.parametrize("size", [MAX_RECORD_BYTES + 1, 3 * MAX_RECORD_BYTES + 1])
    @pytest.mark.parametrize("end", [b"\nnext\n", b""])
    def test_a_line_that_is_too_long_is_a_problem_and_the_next_is_read(
        self, size: int, end: bytes
    ) -> None:
        first, *rest = read_lines(io.BytesIO(b"x" * size + end))
        assert "longer than 1048576 bytes" in str(first.problem)
        assert len(first.data) <= MAX_RECORD_BYTES + 1
        assert [(line.number, line.data) for line in rest] == ([(2, b"next\n")] if end else [])

    @pytest.mark.parametrize("end", [b"\n", b""])
    def test_a_line_of_the_largest_size_is_read(self, end: bytes) -> None:
        data = b"x" * (MAX_RECORD_BYTES - len(end)) + end
        assert list(read_lines(io.BytesIO(data))) == [Record(1, data)]


class TestArrays:
    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (b"[1]", (True, b"[1]", 0)),
            (b"\xef\xbb\xbf [\n{}]", (True, b"\xef\xbb\xbf [\n", 0)),
            (b"\n \n[", (True, b"[", 2)),
            (b'\n{"a": [1]}\n[', (False, b'{"a": [1]}\n', 1)),
            (b"", (False, b"", 0)),
        ],
    )
    def test_json_is_an_array_when_it_begins_with_a_bracket(
        self, data: bytes, expected: tuple[bool, bytes, int]
    ) -> None:
        assert is_array(io.BytesIO(data)) == expected

    @given(
        items=st.lists(
            st.recursive(
                st.none() | st.integers() | st.text('"\\[]{},ü a', max_size=8),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.text('"\\[{', max_size=3), inner, max_size=3)
                ),
                max_leaves=8,
            ),
            max_size=6,
        ),
        indent=st.sampled_from([None, 2]),
        size=st.integers(1, 40),
    )
    def test_every_item_is_found_wherever_a_block_ends(
        self, items: list[Any], indent: int | None, size: int
    ) -> None:
        data = json.dumps(items, indent=indent, ensure_ascii=False).encode()
        records = list(read_items(data, size))
        assert [json.loads(one.data) for one in records] == items
        assert [one.number for one in records] == list(range(1, len(items) + 1))

    def test_one_array_may_follow_another(self) -> None:
        records = read_items(b" [1,\n2] \n[3][]\n")
        assert [(one.number, one.data.strip()) for one in records] == [
            (1, b"1"),
            (2, b"2"),
            (3, b"3"),
        ]

    def test_an_item_that_is_too_long_is_a_problem_and_the_next_is_read(self) -> None:
        data = b'["' + b"x" * (3 * MAX_RECORD_BYTES) + b'", 2]'
        first, second = read_items(data, 50_000)
        assert "longer than" in str(first.problem)
        assert len(first.data) <= MAX_RECORD_BYTES + 1
        assert (second.number, second.data.strip()) == (2, b"2")

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (b'[{"a": 1}, {"b": 2', "the array is not closed"),
            (b"[1", "the array is not closed"),
            (b'[1] {"a": 1}', "after an array comes something other than an array"),
        ],
    )
    def test_what_is_left_of_a_wrong_array_comes_before_the_error(
        self, data: bytes, text: str
    ) -> None:
        records = read_items(data)
        found: list[bytes] = []
        with pytest.raises(ContentError, match=text):
            found.extend(one.data for one in records)
        assert found == (
            [] if data == b"[1" else [data[1 : data.index(b"]" if b"]" in data else b",")]]
        )


class TestRows:
    @given(
        rows=st.lists(
            st.lists(st.text('ab",;\t\nü ', max_size=6), min_size=2, max_size=3), max_size=6
        ),
        separator=st.sampled_from(",;\t"),
    )
    def test_what_csv_writes_is_read(self, rows: list[list[str]], separator: str) -> None:
        target = io.StringIO(newline="")
        header = ["one", "two"]
        csv.writer(target, delimiter=separator).writerows([header, *rows])
        cells = [cells for _, cells in read_cells(target.getvalue())]
        assert cells == [tuple(row) for row in [header, *rows]]

    def test_a_row_has_the_number_of_its_first_line(self) -> None:
        text = '\ufeffa,b\n\n1,"x\ny\n"\n2,z\n'
        assert read_cells(text) == [(1, ("a", "b")), (3, ("1", "x\ny\n")), (6, ("2", "z"))]

    def test_the_separator_is_the_one_of_the_header(self) -> None:
        assert read_cells('\n"a,b,c";d\n1,5;2\n') == [(2, ("a,b,c", "d")), (3, ("1,5", "2"))]

    @pytest.mark.parametrize(
        ("row", "problem"),
        [
            ('1,"x', "a quotation mark is not closed"),
            ('"1"x,2', "not CSV: "),
            ("x" * (MAX_RECORD_BYTES + 1), "longer than"),
        ],
    )
    def test_a_wrong_row_costs_its_own_line_only(self, row: str, problem: str) -> None:
        first, second, *rest = read_cells(f"a,b\n{row}\n3,4\n5,6\n")
        assert first == (1, ("a", "b"))
        assert second[0] == 2
        assert str(second[1]).startswith(problem)
        assert rest == [(3, ("3", "4")), (4, ("5", "6"))]

    def test_a_row_that_is_not_utf_8_costs_its_own_line_only(self) -> None:
        rows = list(read_rows(io.BytesIO(b'a,b\n1,"\n\xff"\n3,4\n')))
        assert [(row.number, bool(row.problem)) for row in rows] == [
            (1, False),
            (2, True),
            (3, True),
            (4, False),
        ]
        assert rows[2].problem == "not UTF-8 at byte 0"

    def test_a_quotation_mark_that_is_not_closed_does_not_read_the_whole_file(self) -> None:
        lines = iter([b"a,b\n", b'"1,2\n', *[b"3,4\n"] * 1_000_000])
        read: list[bytes] = []

        class Endless(io.BytesIO):
            def readline(self, size: int | None = -1, /) -> bytes:
                read.append(next(lines))
                return read[-1]

        rows = read_rows(Endless())
        assert next(rows).cells == ("a", "b")
        assert next(rows).problem == "a quotation mark is not closed"
        assert next(rows).cells == ("3", "4")
        assert len(read) < 20_000

    @pytest.mark.parametrize(
        ("header", "expected"),
        [
            (b"\xef\xbb\xbfa,b\n", True),
            (b"a;b", True),
            (b'{"a": 1, "b"', False),
            (b"\x7fELF,\x02", False),
        ],
    )
    def test_a_header_is_recognised(self, header: bytes, expected: bool) -> None:
        assert looks_like_csv(header) is expected
