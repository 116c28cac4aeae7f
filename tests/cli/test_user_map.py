"""The file of `--user-map`: which user a customer of a provider is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from whisperr._cli.command import UsageError
from whisperr._cli.user_map import read_user_map

if TYPE_CHECKING:
    from pathlib import Path


def read(folder: Path, text: str | bytes) -> dict[str, str]:
    path = folder / "users"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_user_map(str(path))


@pytest.mark.parametrize(
    "text",
    [
        "customer_id,external_user_id\ncus_1,user_1\ncus_2,2\n",
        "cus_1,user_1\ncus_2,2",
        "\ufeffcustomer_id;external_user_id\r\ncus_1;user_1\r\n\r\ncus_2; 2\r\n",
        "email\texternal_user_id\tcustomer_id\na@b\tuser_1\tcus_1\n\t2\tcus_2\n",
        '"cus_1","user_1"\n"cus_2","2"\ncus_3,\n,user_4\n',
        '{"cus_1": "user_1", "cus_2": 2}',
        '\n {"cus_1": "user_1",\n "cus_2": 2, "cus_3": ""}\n',
        "cus_1,user_1\ncus_2,2\ncus_1,user_1\n",
    ],
)
def test_each_shape_gives_the_users(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text)
    assert {name: found.get(name) for name in ("cus_1", "cus_2")} == {
        "cus_1": "user_1",
        "cus_2": "2",
    }
    assert set(found) <= {"cus_1", "cus_2"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "it has no customer; write CSV with the columns customer_id and external_user_id"),
        ("{}", "it has no customer; "),
        ("a,b,c\n1,2,3\n", "line 1: it has 3 columns; write CSV"),
        ("cus_1\n", "line 1: it has 1 columns; write CSV"),
        ("cus_1,user_1\ncus_2\n", "line 2: it has 1 columns; write CSV"),
        ("cus_1,user_1\ncus_1,user_2\n", "'cus_1' has two users: 'user_1' and 'user_2'"),
        ('cus_1,"user', "line 1: not CSV: "),
        ('["cus_1"]', "the JSON is not an object; write CSV"),
        ('{"cus_1": {"id": 1}}', "the user of 'cus_1' must be a string or an integer"),
        ('{"cus_1": true}', "the user of 'cus_1' must be a string or an integer"),
        ('{"cus_1"', "not JSON: "),
        (b"cus_1,\xff", "not UTF-8 at byte 6"),
    ],
)
def test_another_content_is_an_error_that_says_what_to_write(
    tmp_path: Path, text: str | bytes, expected: str
) -> None:
    with pytest.raises(UsageError, match=rf"^--user-map \S+users: {re.escape(expected)}"):
        read(tmp_path, text)


def test_a_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory; write CSV with"):
        read_user_map(str(tmp_path / "none.csv"))
