"""Where the matrix finds Pythons and runs commands: this machine, or a Debian testing root.

The root is made once, with `mmdebstrap`, from the mirror that apt of this machine is configured
with, and lies outside of the tree: WHISPERR_DEBIAN_ROOT, else a folder in the user's cache. Delete
that folder to get newer Pythons. Every command in it runs in namespaces of its own: the mounts
and all processes are gone when the command has ended, however it ended.
"""

from __future__ import annotations

import ast
import fcntl
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent

_SOURCES = "/src"  # where the tree is seen inside the root
_PACKAGES = {"3.14": "python3.14-venv", "3.15": "python3.15-venv", "pypy3": "pypy3-venv"}
# What tests start: a Redis, and a PostgreSQL that runs as a user made for it.
_BESIDE = ("passwd", "redis-server")
# The dates of a mirror that was frozen some time ago have passed.
_FROZEN = 'Acquire::Check-Valid-Until "false"'
# What a command inside may know of this machine, beside the configuration of pip.
_PASSED_ON = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


class Place(Protocol):
    """Where interpreters are and commands run. Folders are named as they are seen there."""

    sources: str
    environments: str

    def interpreter_of(self, version: str) -> str:
        """Return a Python of this version; raises LookupError that says why there is none."""

    def run(
        self,
        command: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
        output: int | None = None,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the tree; `output` as `stdout` of `subprocess.run`."""


class Machine:
    """This machine: interpreters from pyenv or the PATH."""

    sources = str(ROOT)
    environments = str(ROOT / ".venvs")

    def interpreter_of(self, version: str) -> str:
        """Return a Python of this version that runs, the newest that pyenv has if it has one."""
        pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
        found = sorted(pyenv.glob(f"{version}.*/bin/python"), key=_numbers)
        on_path = shutil.which(f"python{version}")
        for candidate in [*map(str, reversed(found)), *([on_path] if on_path else [])]:
            if not subprocess.run([candidate, "-V"], capture_output=True, check=False).returncode:
                return candidate  # others are pyenv's shims for a version that is not active
        raise LookupError("not on the PATH and not in pyenv")

    def run(
        self,
        command: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
        output: int | None = None,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the tree."""
        environment = {**os.environ, **(variables or {})}
        return subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            stdout=output,
            timeout=timeout,
            check=False,
            text=True,
        )


class DebianRoot:
    """A Debian testing root. One run of the matrix at a time uses it."""

    sources = _SOURCES
    environments = "/venvs"

    def __init__(self, home: Path) -> None:
        self._home = home
        self._pip, self._paths = configuration_of_pip()

    def interpreter_of(self, version: str) -> str:
        """Return the Python of this version, after installing its package if needed."""
        packages = (_PACKAGES[version], *_BESIDE)
        asked = ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ", *packages]
        if self.run(asked, output=subprocess.PIPE).stdout.split() != ["installed"] * len(packages):
            options = ("--quiet", "--yes", "--no-install-recommends")
            install = ["apt-get", "install", *options, *packages]
            variables = {"DEBIAN_FRONTEND": "noninteractive"}
            for command in (["apt-get", "--quiet", "update"], install):
                if self.run(command, variables=variables, output=subprocess.DEVNULL).returncode:
                    raise LookupError(f"{shlex.join(command)} failed in the Debian root")
        return "pypy3" if version == "pypy3" else f"python{version}"

    def run(
        self,
        command: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
        output: int | None = None,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, in namespaces of its own, so that nothing stays behind."""
        inside = {
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            **self._pip,
            **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            **(variables or {}),
        }
        given = [f"{name}={value}" for name, value in inside.items()]
        entered = ["chroot", str(self._home), "env", "-i", "-C", _SOURCES, *given, *command]
        # The shell stays process 1 inside, so that somebody takes note of orphans' ends.
        script = "\n".join(["set -e", *self._mounts(), "set +e", shlex.join(entered), "exit $?"])
        # Whoever is killed, the matrix or the shell: the kernel ends what is inside.
        bound = ["setpriv", "--pdeathsig", "KILL"]
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        return subprocess.run(
            [*bound, *unshare, "sh", "-c", script],
            stdout=output,
            timeout=timeout,
            check=False,
            text=True,
        )

    def _mounts(self) -> Iterator[str]:
        """Make the lines that show the tree and pip's files inside."""
        home = shlex.quote(str(self._home))
        yield f"mount -t proc proc {home}/proc"
        yield f"mount --rbind /dev {home}/dev"
        yield f"mount -t tmpfs tmpfs {home}/tmp"  # noqa: S108  # inside, with nobody else there
        shown = {str(ROOT): _SOURCES, **{path: path for path in self._paths}}
        for source, target in {**shown, "/etc/resolv.conf": "/etc/resolv.conf"}.items():
            place = self._home / target.lstrip("/")
            if Path(source).is_dir():
                place.mkdir(parents=True, exist_ok=True)
            elif not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
            yield f"mount --bind {shlex.quote(source)} {shlex.quote(str(place))}"


@contextmanager
def debian_root() -> Iterator[DebianRoot]:
    """Have the root for oneself, made before if needed; raises LookupError if that cannot be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("WHISPERR_DEBIAN_ROOT") or cache / "whisperr" / "debian-testing")
    if os.geteuid():
        raise LookupError("a Debian root needs the rights of root, for chroot")
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_name(f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.exists():
            _make(home)
        yield DebianRoot(home)


def _make(home: Path) -> None:
    needed = [] if shutil.which("mmdebstrap") else [["apt-get", "install", "-y", "mmdebstrap"]]
    for command in [["apt-get", "--quiet", "update"], *needed]:
        if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
            raise LookupError(f"{shlex.join(command)} failed")
    listing = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(SITE)"]
    lines = subprocess.run(listing, capture_output=True, check=True, text=True).stdout
    unfinished = home.with_name(f"{home.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    options = ["--variant=apt", f"--aptopt={_FROZEN}", "--include=ca-certificates"]
    command = ["mmdebstrap", "--quiet", *options, "testing", str(unfinished), mirror_in(lines)]
    print(f"== making a Debian testing root in {home}", flush=True)
    if subprocess.run(command, check=False).returncode:
        raise LookupError("mmdebstrap failed")
    unfinished.rename(home)


def mirror_in(targets: str) -> str:
    """Return the Debian mirror among lines of `origin label address`; raises LookupError."""
    for line in targets.splitlines():
        if line.startswith("Debian Debian "):
            return line.split()[2]
    raise LookupError("apt of this machine is configured with no Debian mirror")


def configuration_of_pip() -> tuple[dict[str, str], list[str]]:
    """Return what pip of this machine is told, as variables, and the local paths named there."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    variables = variables_in(listed)
    paths = paths_in(" ".join(variables.values()))
    return variables, [path for path in paths if Path(path).exists()]


def paths_in(values: str) -> list[str]:
    """Return the folders and files of this machine that are named, each once.

    Of a local index the folder around it: its pages point to files that lie beside it.
    """
    indexes = {word for word in values.split() if word.startswith("file:///")}
    around = {str(Path(word.removeprefix("file://")).parent) for word in indexes}
    return sorted((around - {"/"}) | {word for word in values.split() if word.startswith("/")})


def variables_in(listed: str) -> dict[str, str]:
    """Translate the output of `pip config list`; the environment wins over files."""
    found: dict[str, str] = {}
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
        section, _, rest = line.partition(".")
        name, _, value = rest.partition("=")
        if section in {"global", "install", ":env:"}:
            found[f"PIP_{name.upper().replace('-', '_')}"] = " ".join(
                str(ast.literal_eval(value)).split()
            )
    return found


def _numbers(path: Path) -> list[int]:
    """Sort 3.12.10 after 3.12.9; what is no number (3.13.0rc1, 3.13t) comes first."""
    parts = path.parent.parent.name.split(".")
    return [int(part) if part.isdecimal() else -1 for part in parts]
