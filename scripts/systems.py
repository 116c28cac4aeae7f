"""Finds Pythons and runs commands for the matrix: on this machine, or in a Debian testing root.

The root is made once, with `mmdebstrap`, from the mirror of this machine's apt. It lies outside of
the tree: WHISPERR_DEBIAN_ROOT, else a folder in the user's cache. Delete that folder to get newer
Pythons. Every command in it runs in namespaces of its own: when the command has ended, for any
reason, its mounts and processes are gone.
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

_SOURCES = "/src"  # the path of the tree inside the root
_PACKAGES = {"3.14": "python3.14-venv", "3.15": "python3.15-venv", "pypy3": "pypy3-venv"}
# For the tests: a Redis, and a user for PostgreSQL.
_EXTRA_PACKAGES = ("passwd", "redis-server")
# The dates of a frozen mirror have passed.
_FROZEN = 'Acquire::Check-Valid-Until "false"'
# Variables of this machine for commands inside, beside the configuration of pip.
_PASSED_VARIABLES = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)


class System(Protocol):
    """Has interpreters and runs commands. Paths are those inside of it."""

    sources: str
    environments: str

    def get_interpreter(self, version: str) -> str:
        """Return a Python of this version; raises LookupError with the reason."""

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

    def get_interpreter(self, version: str) -> str:
        """Return a Python of this version that runs: the newest of pyenv, else one on the PATH."""
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


class ThisPython(Machine):
    """This machine with the Python that runs this program, as a job of CI sets it up."""

    version = f"{sys.implementation.cache_tag}{getattr(sys, 'abiflags', '')}"

    def get_interpreter(self, version: str) -> str:
        """Return that Python. There is no other."""
        if version != self.version:
            raise LookupError(f"this is {self.version}")
        return sys.executable


class DebianRoot:
    """A Debian testing root. One run of the matrix at a time uses it."""

    sources = _SOURCES
    environments = "/venvs"

    def __init__(self, home: Path) -> None:
        self._home = home
        self._pip, self._paths = get_pip_configuration()

    def get_interpreter(self, version: str) -> str:
        """Return the Python of this version, after installing its package if needed."""
        packages = (_PACKAGES[version], *_EXTRA_PACKAGES)
        query = ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ", *packages]
        if self.run(query, output=subprocess.PIPE).stdout.split() != ["installed"] * len(packages):
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
        """Run a command inside, in namespaces of its own, so that nothing is left."""
        inside = {
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            **self._pip,
            **{name: os.environ[name] for name in _PASSED_VARIABLES if name in os.environ},
            **(variables or {}),
        }
        given = [f"{name}={value}" for name, value in inside.items()]
        entered = ["chroot", str(self._home), "env", "-i", "-C", _SOURCES, *given, *command]
        # The shell stays process 1 inside, so that orphans are reaped.
        script = "\n".join(["set -e", *self._mounts(), "set +e", shlex.join(entered), "exit $?"])
        # If the matrix or the shell is killed, the kernel kills what runs inside.
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
        """Yield the commands that mount the tree and pip's files inside."""
        home = shlex.quote(str(self._home))
        yield f"mount -t proc proc {home}/proc"
        yield f"mount --rbind /dev {home}/dev"
        yield f"mount -t tmpfs tmpfs {home}/tmp"  # noqa: S108  # inside, where no other user is
        mounted = {str(ROOT): _SOURCES, **{path: path for path in self._paths}}
        for source, target in {**mounted, "/etc/resolv.conf": "/etc/resolv.conf"}.items():
            path = self._home / target.lstrip("/")
            if Path(source).is_dir():
                path.mkdir(parents=True, exist_ok=True)
            elif not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            yield f"mount --bind {shlex.quote(source)} {shlex.quote(str(path))}"


@contextmanager
def debian_root() -> Iterator[DebianRoot]:
    """Lock the root, and make it if needed; raises LookupError when that is impossible."""
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
    command = ["mmdebstrap", "--quiet", *options, "testing", str(unfinished), parse_mirror(lines)]
    print(f"== making a Debian testing root in {home}", flush=True)
    if subprocess.run(command, check=False).returncode:
        raise LookupError("mmdebstrap failed")
    unfinished.rename(home)


def parse_mirror(targets: str) -> str:
    """Return the Debian mirror among lines of `origin label address`; raises LookupError."""
    for line in targets.splitlines():
        if line.startswith("Debian Debian "):
            return line.split()[2]
    raise LookupError("apt of this machine is configured with no Debian mirror")


def get_pip_configuration() -> tuple[dict[str, str], list[str]]:
    """Return the configuration of this machine's pip, as variables, and its local paths."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    variables = parse_variables(listed)
    paths = find_paths(" ".join(variables.values()))
    return variables, [path for path in paths if Path(path).exists()]


def find_paths(values: str) -> list[str]:
    """Return the folders and files of this machine that are named, each once.

    For a local index the folder around it: its pages link to files beside it.
    """
    indexes = {word for word in values.split() if word.startswith("file:///")}
    around = {str(Path(word.removeprefix("file://")).parent) for word in indexes}
    return sorted((around - {"/"}) | {word for word in values.split() if word.startswith("/")})


def parse_variables(listed: str) -> dict[str, str]:
    """Return the output of `pip config list` as variables; the environment wins over files."""
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
    """Return a sort key: 3.12.10 after 3.12.9, and first what is no number (3.13.0rc1)."""
    parts = path.parent.parent.name.split(".")
    return [int(part) if part.isdecimal() else -1 for part in parts]
