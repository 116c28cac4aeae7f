"""The portable part of the suite: each folder is in it, or has the reason why not."""

from __future__ import annotations

from tests.portable import FOLDERS, LINUX_ONLY, TESTS


def test_every_folder_is_portable_or_has_a_reason() -> None:
    folders = {path.parent.name for path in TESTS.glob("*/test_*.py")}
    assert folders == {*FOLDERS, *LINUX_ONLY}
    assert not {*FOLDERS} & {*LINUX_ONLY}
