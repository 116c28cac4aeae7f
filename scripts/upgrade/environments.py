"""The two environments of the comparison, in `.venvs/upgrade`: with 0.2.1 and with this checkout.

Both have the same Django and pytest. Each is made once, and again when its sources change.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".venvs" / "upgrade"
PUBLISHED = "0.2.1"
# The source distribution, whose tests `scripts.upgrade.suite` runs.
PUBLISHED_SHA256 = "17c34d8a7e278d5ca74184a40569e5c54ea76a10e6a14048f85ae924c37f84c6"
_BESIDE = ("django", "pytest")
_BUILD = ("hatchling", "hatch-fancy-pypi-readme", "editables")


def get_published() -> Path:
    """Return a Python that has the published package."""
    return _make("published", [f"whisperr=={PUBLISHED}"])


def get_current() -> Path:
    """Return a Python that has this checkout."""
    return _make("current", ["--no-build-isolation", "--editable", "."])


def download_source(folder: Path) -> Path:
    """Return the unpacked source distribution of the published package; its hash is checked."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"whisperr=={PUBLISHED} --hash=sha256:{PUBLISHED_SHA256}\n", encoding="utf-8")
    pip = [str(get_current()), "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
    unbuilt = ["--no-deps", "--no-binary=:all:", "--no-build-isolation"]
    _run([*pip, *unbuilt, "--dest", str(folder), "--requirement", str(wanted)])
    archive = folder / f"whisperr-{PUBLISHED}.tar.gz"
    _run([sys.executable, "-m", "tarfile", "-e", str(archive), str(folder)])
    return folder / f"whisperr-{PUBLISHED}"


# Prints the versions that an installed package asks for.
_ASK = """
from importlib.metadata import metadata
found = metadata("whisperr")
extra = [line for line in found.get_all("Requires-Dist") if line.endswith("extra == 'django'")]
print(found["Requires-Python"], extra[0].split(";")[0].removeprefix("django"))
"""


def get_versions(published: Path, current: Path) -> dict[str, tuple[str, str]]:
    """Return which Python and which Django both packages need, by name: before, and now."""
    (python, django), (new_python, new_django) = (
        _run([str(one), "-c", _ASK]).replace(">=", "from ").split("from ")[1:]
        for one in (published, current)
    )
    return {
        "Python": (f"{python.strip()} and newer", f"{new_python.strip()} and newer"),
        "Django": (f"{django.strip()} and newer", f"{new_django.strip()} and newer"),
    }


def _make(name: str, package: list[str]) -> Path:
    home = HOME / name
    python = home / "bin" / "python"
    sources = [ROOT / "constraints.txt", ROOT / "pyproject.toml", ROOT / "src/whisperr/_version.py"]
    state = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    state += f" {sys.version} {package}"
    made = home / "made-from"
    if made.exists() and made.read_text(encoding="utf-8") == state:
        return python
    _run([sys.executable, "-m", "venv", "--clear", str(home)])
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    _run([*pip, "--constraint", "constraints.txt", *_BESIDE, *_BUILD])
    _run([*pip, *package])
    made.write_text(state, encoding="utf-8")
    return python


def _run(command: list[str]) -> str:
    """Return what a command printed within five minutes; end with its errors when it fails."""
    ended = subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=300
    )
    if ended.returncode:
        sys.exit(f"{' '.join(command)}\n{ended.stdout}{ended.stderr}")
    return ended.stdout
