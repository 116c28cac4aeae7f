"""Checks the packages in dist/ and what a release says about itself.

`make release-check` builds the packages and runs `python -m scripts.release_check`. It compares the
version with the changelog, the public API with its snapshot, and the files of the wheel and of the
sdist with those of the tree. It runs `twine check --strict`, renders the page of the package, and
follows its links. Each problem is a line. Exits with 1 if there is one.

The release workflow adds `--tag v1.2.0`. Then the tag must be the version, the changelog must have
its date, and nothing may be uncommitted.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tarfile
import zipfile
from datetime import date
from email.parser import BytesParser
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from email.message import Message

ROOT = Path(__file__).resolve().parent.parent
PAGES = "https://github.com/WhisperrAI/whisperr-python/blob/main/"
IMAGES = "https://github.com/WhisperrAI/whisperr-python/raw/main/"
LOCAL = "http://127.0.0.1:"
# What a build writes into a wheel beside the package.
DIST_INFO = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")


def get_version(root: Path) -> str:
    """Return the version in `_version.py`, from which the build takes it."""
    text = (root / "src" / "whisperr" / "_version.py").read_text(encoding="utf-8")
    version: str = re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)[0]
    return version


def get_version_problems(root: Path, tag: str | None = None) -> list[str]:
    """Return where the version, the changelog and the tag disagree."""
    version = get_version(root)
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    if len(sections) < 2 or not sections[0].startswith("[Unreleased]\n"):  # noqa: PLR2004  # and a version
        return ["CHANGELOG.md: begin with '## [Unreleased]', then the section of the version"]
    unreleased, heading = sections[0].partition("\n")[2].strip(), sections[1].splitlines()[0]
    problems = []
    if not heading.startswith(f"[{version}]"):
        problems.append(
            f"CHANGELOG.md: the first version is {heading!r}, and _version.py has {version}"
        )
    if tag is None:
        return problems
    if tag != f"v{version}":
        problems.append(f"the tag is {tag!r}, and _version.py has {version}: tag v{version}")
    if not _has_date(heading):
        problems.append(f"CHANGELOG.md: write the date: '## [{version}] - YYYY-MM-DD'")
    if unreleased:
        problems.append(f"CHANGELOG.md: move what is below [Unreleased] to [{version}]")
    return problems


def _has_date(heading: str) -> bool:
    try:
        date.fromisoformat(heading.rpartition("] - ")[2])
    except ValueError:
        return False
    return True


def get_tree(root: Path) -> set[str]:
    """Return the files of the tree that git knows or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.splitlines() if (root / name).is_file()}


def compare(what: str, found: set[str], expected: set[str]) -> list[str]:
    """Return a line for each file that is missing or does not belong there."""
    missing = [f"{what}: {name} is missing" for name in sorted(expected - found)]
    return missing + [f"{what}: {name} does not belong there" for name in sorted(found - expected)]


def get_wheel_problems(wheel: Path, tree: set[str]) -> list[str]:
    """Return what is wrong with the files of the wheel: it has the package, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        found = set(archive.namelist())
    info = "-".join(wheel.name.split("-")[:2]) + ".dist-info"
    expected = {name.removeprefix("src/") for name in tree if name.startswith("src/whisperr/")}
    return compare("wheel", found, expected | {f"{info}/{name}" for name in DIST_INFO})


def get_sdist_problems(sdist: Path, tree: set[str]) -> list[str]:
    """Return what is wrong with the files of the sdist: it has the tree, and nothing else."""
    with tarfile.open(sdist) as archive:
        names = [member.name for member in archive if member.isfile()]
    found = {name.partition("/")[2] for name in names}
    return compare("sdist", found, tree | {"PKG-INFO"})


def get_metadata(wheel: Path) -> Message:
    """Return the metadata of a wheel. Its payload is the page of the package, in Markdown."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return BytesParser().parsebytes(archive.read(name))


def get_metadata_problems(metadata: Message, version: str) -> list[str]:
    """Return what is wrong with the version and the dependencies."""
    required = [name for name in metadata.get_all("Requires-Dist", []) if "extra ==" not in name]
    problems = [f"metadata: depends on {name}; the package promises none" for name in required]
    if metadata["Version"] != version:
        problems.append(f"metadata: has the version {metadata['Version']}: build it again")
    return problems


class Page(HTMLParser):
    """The links, images, headings and anchors of a rendered page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images: list[str] = []
        self.headings: list[str] = []
        self.anchors: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Sort a tag into its list."""
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.anchors.add(values["id"])
        if re.fullmatch(r"h\d", tag):
            self.headings.append(tag)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "img":
            self.images.append(values.get("src", ""))


def get_page_problems(markdown: str, tree: set[str]) -> list[str]:
    """Return what is wrong with the page, rendered as the index renders it."""
    from readme_renderer.markdown import render  # only the release check needs it

    html = render(markdown)
    if html is None:
        return ["page: it cannot be rendered; is readme-renderer[md] installed?"]
    page = Page(html)
    problems = [] if page.headings[:1] == ["h1"] else ["page: it does not begin with a title"]
    for kind, targets, base in (("link", page.links, PAGES), ("image", page.images, IMAGES)):
        for target in targets:
            if target.startswith("#") and kind == "link":
                if target[1:] not in page.anchors:
                    problems.append(f"page: no heading for the link {target}")
            elif kind == "link" and target.startswith(LOCAL):
                continue  # what a command serves on the reader's machine
            elif not target.startswith("https://"):
                problems.append(f"page: the {kind} {target} is no https:// address")
            elif target.startswith(base):
                path = target.removeprefix(base).partition("#")[0]
                if path not in tree and not any(name.startswith(f"{path}/") for name in tree):
                    problems.append(f"page: the {kind} {target} has no file in the tree")
    return problems


def run(what: str, *command: str) -> list[str]:
    """Run a check that is a program; return its output as problems if it fails."""
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    output = f"{ended.stdout}{ended.stderr}".strip()
    return [f"{what}: {line}" for line in output.splitlines()] if ended.returncode else []


def get_uncommitted() -> list[str]:
    """Return a problem for each file that differs from the last commit."""
    command = ["git", "status", "--porcelain"]
    changed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [f"not committed: {line}" for line in changed.stdout.splitlines()]


def get_checks(dist: Path, tag: str | None) -> dict[str, Callable[[], list[str]]]:
    """Return every check by the line that is printed for it."""
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    tree, metadata, version = get_tree(ROOT), get_metadata(wheel), get_version(ROOT)
    python = sys.executable
    twine = [python, "-m", "twine", "--no-color", "check", "--strict", str(wheel), str(sdist)]
    snapshot = [python, "-m", "scripts.public_api", "--check"]
    checks: dict[str, Callable[[], list[str]]] = {
        f"version {version}: changelog{' and tag' if tag else ''}": lambda: get_version_problems(
            ROOT, tag
        ),
        "public API: as in its snapshot": lambda: run("public API", *snapshot),
        f"wheel: {wheel.name}": lambda: get_wheel_problems(wheel, tree),
        f"sdist: {sdist.name}": lambda: get_sdist_problems(sdist, tree),
        "metadata: no dependencies": lambda: get_metadata_problems(metadata, version),
        "twine check --strict": lambda: run("twine", *twine),
        "page: rendered, and its links followed": lambda: get_page_problems(
            str(metadata.get_payload()), tree
        ),
    }
    if tag:
        checks["tree: all is committed"] = get_uncommitted
    return checks


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every check; print a line for each, and its problems below it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tag", metavar="TAG", help="the tag of the release, such as v1.2.0")
    parser.add_argument("--dist", metavar="FOLDER", type=Path, default=ROOT / "dist")
    parsed = parser.parse_args(arguments)
    failed = 0
    for line, check in get_checks(parsed.dist, parsed.tag).items():
        problems = check()
        failed += len(problems)
        print("\n    ".join([f"{'FAIL' if problems else 'ok':4}  {line}", *problems]))
    print(f"problems: {failed}")
    if not failed and not parsed.tag and get_version_problems(ROOT, f"v{get_version(ROOT)}"):
        print(f"not ready for a tag: run make release-check TAG=v{get_version(ROOT)} to see why")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
