"""The check of a release finds what is wrong in the version, the packages and the page."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from email.message import Message
from typing import TYPE_CHECKING

import pytest
from scripts import public_api, release_check

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TREE = {"README.md", "src/whisperr/__init__.py", "src/whisperr/py.typed", "tests/test_a.py"}
WHEEL = "whisperr-1.2.0-py3-none-any.whl"
INFO = "whisperr-1.2.0.dist-info"


def make_tree(root: Path, changelog: str, version: str = "1.2.0") -> Path:
    """Write what the check of the version reads."""
    package = root / "src" / "whisperr"
    package.mkdir(parents=True)
    (package / "_version.py").write_text(f'__version__ = "{version}"\n')
    (root / "CHANGELOG.md").write_text(changelog)
    return root


def make_wheel(folder: Path, names: Iterable[str]) -> Path:
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        for name in [*names, *(f"{INFO}/{name}" for name in release_check.DIST_INFO)]:
            archive.writestr(name, f"Name: whisperr\nVersion: 1.2.0\n\n# {name}\n")
    return folder / WHEEL


def make_sdist(folder: Path, names: Iterable[str]) -> Path:
    path = folder / "whisperr-1.2.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(f"whisperr-1.2.0/{name}"), io.BytesIO())
    return path


class TestVersion:
    READY = "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-12-01\n\n- A.\n"

    def test_a_version_with_its_date_and_tag_is_ready(self, tmp_path: Path) -> None:
        assert release_check.get_version_problems(make_tree(tmp_path, self.READY), "v1.2.0") == []

    def test_without_a_tag_the_date_may_be_missing(self, tmp_path: Path) -> None:
        text = self.READY.replace(" - 2026-12-01", "")
        assert release_check.get_version_problems(make_tree(tmp_path, text)) == []

    @pytest.mark.parametrize(
        ("old", "new", "tag", "problem"),
        [
            ("", "", "v1.2.1", "the tag is 'v1.2.1', and _version.py has 1.2.0: tag v1.2.0"),
            ("", "", "1.2.0", "the tag is '1.2.0', and _version.py has 1.2.0: tag v1.2.0"),
            (" - 2026-12-01", "", "v1.2.0", "write the date: '## [1.2.0] - YYYY-MM-DD'"),
            ("2026-12-01", "2026-13-01", "v1.2.0", "write the date: '## [1.2.0] - YYYY-MM-DD'"),
            ("[Unreleased]", "[Unreleased]\n\n- B.", "v1.2.0", "move what is below [Unreleased]"),
            ("[1.2.0]", "[1.1.0]", None, "the first version is '[1.1.0] - 2026-12-01'"),
            ("## [Unreleased]\n\n", "", None, "begin with '## [Unreleased]'"),
            ("## [1.2.0] - 2026-12-01", "", None, "begin with '## [Unreleased]'"),
        ],
    )
    def test_a_problem_says_what_to_write(
        self, tmp_path: Path, old: str, new: str, tag: str | None, problem: str
    ) -> None:
        root = make_tree(tmp_path, self.READY.replace(old, new, 1))
        (found,) = release_check.get_version_problems(root, tag)
        assert problem in found


class TestContents:
    def test_a_wheel_has_the_package_and_nothing_else(self, tmp_path: Path) -> None:
        wheel = make_wheel(tmp_path, ["whisperr/__init__.py", "whisperr/py.typed"])
        assert release_check.get_wheel_problems(wheel, TREE) == []
        metadata = release_check.get_metadata(wheel)
        assert release_check.get_metadata_problems(metadata, "1.2.0") == []

    def test_a_wheel_names_missing_and_foreign_files(self, tmp_path: Path) -> None:
        wheel = make_wheel(tmp_path, ["whisperr/__init__.py", "tests/test_a.py"])
        assert release_check.get_wheel_problems(wheel, TREE) == [
            "wheel: whisperr/py.typed is missing",
            "wheel: tests/test_a.py does not belong there",
        ]

    def test_an_sdist_has_the_tree_and_nothing_else(self, tmp_path: Path) -> None:
        sdist = make_sdist(tmp_path, [*TREE, "PKG-INFO"])
        assert release_check.get_sdist_problems(sdist, TREE) == []

    def test_an_sdist_names_missing_and_foreign_files(self, tmp_path: Path) -> None:
        sdist = make_sdist(tmp_path, [*TREE - {"README.md"}, "PKG-INFO", ".env"])
        assert release_check.get_sdist_problems(sdist, TREE) == [
            "sdist: README.md is missing",
            "sdist: .env does not belong there",
        ]

    def test_the_tree_is_what_git_knows_or_would_add(self, tmp_path: Path) -> None:
        subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
        for name in (".gitignore", "new.py", "ignored.py", "gone.py"):
            (tmp_path / name).write_text("ignored.py\n")
        subprocess.run(["git", "add", "gone.py"], cwd=tmp_path, check=True)
        (tmp_path / "gone.py").unlink()
        assert release_check.get_tree(tmp_path) == {".gitignore", "new.py"}

    def test_a_dependency_and_another_version_are_problems(self) -> None:
        metadata = Message()
        metadata["Version"] = "1.1.0"
        metadata["Requires-Dist"] = "redis>=5.1; extra == 'redis'"
        metadata["Requires-Dist"] = "requests"
        assert release_check.get_metadata_problems(metadata, "1.2.0") == [
            "metadata: depends on requests; the package promises none",
            "metadata: has the version 1.1.0: build it again",
        ]


class TestPage:
    @pytest.fixture(autouse=True)
    def _renderer(self) -> None:
        pytest.importorskip("comrak", reason="renders the page; in the extra `dev`")
        pytest.importorskip("readme_renderer", reason="renders the page; in the extra `dev`")

    def test_absolute_links_to_files_and_headings_are_followed(self) -> None:
        page = (
            f"# T\n\n## Set up\n\n[a](#set-up) [b](https://example.com/) "
            f"[c]({release_check.PAGES}README.md#set-up) [d]({release_check.PAGES}tests) "
            "http://127.0.0.1:8000/\n"
        )
        assert release_check.get_page_problems(page, TREE) == []

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("[a](docs/a.md)", "the link docs/a.md is no https:// address"),
            ("![a](a.png)", "the image a.png is no https:// address"),
            ("[a](http://example.com/)", "the link http://example.com/ is no https:// address"),
            ("[a](#nowhere)", "no heading for the link #user-content-nowhere"),
            (f"[a]({release_check.PAGES}gone.md)", "has no file in the tree"),
            (f"![a]({release_check.IMAGES}gone.png)", "has no file in the tree"),
        ],
    )
    def test_a_link_without_a_target_is_a_problem(self, text: str, problem: str) -> None:
        (found,) = release_check.get_page_problems(f"# T\n\n{text}\n", TREE)
        assert problem in found

    def test_a_page_begins_with_its_title(self) -> None:
        assert release_check.get_page_problems("text\n", TREE) == [
            "page: it does not begin with a title"
        ]


class TestPrograms:
    def test_the_output_of_a_program_that_fails_is_the_problem(self) -> None:
        assert release_check.run("twine", "true") == []
        assert release_check.run("twine", "sh", "-c", "echo bad; exit 1") == ["twine: bad"]

    def test_the_program_that_compares_the_public_api_fails_on_a_change(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        changed = public_api.SNAPSHOT.read_text(encoding="utf-8").replace("timeout", "seconds", 1)
        (tmp_path / "api.txt").write_text(changed, encoding="utf-8")
        monkeypatch.setattr(public_api, "SNAPSHOT", tmp_path / "api.txt")
        monkeypatch.setattr("sys.argv", ["public_api", "--check"])
        assert public_api.main() == 1
        signs = [line[0] for line in capsys.readouterr().out.splitlines()]
        assert signs == ["-", "+"]
