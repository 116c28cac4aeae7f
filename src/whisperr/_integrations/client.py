"""Makes the client of an integration from the settings of a framework or from the environment.

The settings are WHISPERR_<OPTION> for every option, derived from `OPTIONS`; there is no second
list. They are read on each use and not kept.

If the key is missing, `require` raises; integrations call it where a server starts, so that none
runs without a key by mistake. Commands, tasks and requests call `get`, which returns a disabled
client and logs one record: a missing setting must stop neither a migration nor a payment.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from whisperr._client import Whisperr
from whisperr._options import OPTIONS, OVERRIDES, Option
from whisperr._process.logger import log
from whisperr._secret import hide_password
from whisperr.errors import MissingKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PREFIX = "WHISPERR_"
API_KEY = "WHISPERR_API_KEY"
DOCTOR = "whisperr doctor"
_MISSING = object()


class DefaultClient:
    """Holds the client of a process, which the first use makes.

    - `make`: returns the client; raises MissingKey without a key.
    - `make_disabled`: returns a client for a process without a key; by default one without other
      options.
    - `doctor`: the command that finds out what is wrong.

    A client that is made while a test captures, or sends to its own server, is dropped when that
    ends.

    Threads: any. There is no lock, because a forked child could inherit it locked forever, and a
    signal handler that tracks would wait for the thread that it interrupts. If two threads make the
    first call at the same moment, both make a client, and one of the two, still unused, is dropped.
    """

    def __init__(
        self,
        make: Callable[[], Whisperr],
        make_disabled: Callable[[], Whisperr] | None = None,
        doctor: str = DOCTOR,
    ) -> None:
        self._make = make
        self._doctor = doctor
        self._make_disabled = make_disabled or partial(Whisperr, disabled=True)
        self._made: dict[object, Whisperr] = {}  # `setdefault` settles a race without a lock

    def get(self) -> Whisperr:
        """Return the client; the first call makes it. Without a key it is a disabled one."""
        client = self._made.get(self) or self._made.get(MissingKey)
        if client is not None:
            return client
        try:
            return self.require()
        except MissingKey:
            report_missing_key(self._doctor)
            return self._made.setdefault(MissingKey, self._make_disabled())

    def require(self) -> Whisperr:
        """Return the client, for the start of a server; raises MissingKey without a key."""
        client = self._made.get(self)
        if client is not None:
            return client
        of_test = OVERRIDES.clients
        made = self._made if of_test is None else of_test
        client = made.get(self)
        return made.setdefault(self, self._make()) if client is None else client

    def clear(self) -> Whisperr | None:
        """Forget the client and return it, None if there is none; the next `get` makes another."""
        disabled = self._made.pop(MissingKey, None)
        of_test = (OVERRIDES.clients or {}).pop(self, None)
        return self._made.pop(self, None) or of_test or disabled


def report_missing_key(doctor: str = DOCTOR) -> None:
    """Log that this process runs without a key; `doctor` is the command to run next."""
    log(
        "error",
        "no key: %s is not set, so no event of this process is accepted; set it to a server key "
        '(wrk_...), or WHISPERR_DISABLED=1 to send nothing; then run "%s"',
        API_KEY,
        doctor,
    )


environment_client = DefaultClient(Whisperr)


def get_environment_client() -> Whisperr:
    """Return the client of this process; the first call makes it from the environment.

    `WHISPERR_API_KEY` is the key, and `WHISPERR_BASE_URL` replaces the default address. Without a
    key it is a disabled client, and the log says so once.

    Returns:
        The client, the same one for every caller in the process.

    Raises:
        ValueError: A variable has a wrong value.
    """
    return environment_client.get()


def get_client_factory(client: Whisperr | Callable[[], Whisperr] | None) -> Callable[[], Whisperr]:
    """Return a function that returns the client of an integration.

    `client` is the client itself, a function that returns it, or None for the client from the
    environment.
    """
    if client is None:
        return get_environment_client
    return (lambda: client) if isinstance(client, Whisperr) else client


def require_client(client: Whisperr | Callable[[], Whisperr] | None) -> Whisperr:
    """Return the client of an integration when its application starts.

    Raises MissingKey if `client` is None and the environment has no key.
    """
    return environment_client.require() if client is None else get_client_factory(client)()


def get_setting_name(option: Option) -> str:
    """Return the name of the setting of an option."""
    return PREFIX + option.name.upper()


class SettingsReader:
    """Reads the settings of a framework.

    - `get`: a function of a name and a default, such as the `get` of a dictionary.
    - `others`: names of settings that are not options of the client.
    - `error`: the exception to raise for a value that is not allowed.
    """

    def __init__(
        self,
        get: Callable[[str, object], object],
        others: Iterable[str] = (),
        error: type[Exception] = ValueError,
    ) -> None:
        self._get = get
        self._error = error
        self.known: frozenset[str] = frozenset({*map(get_setting_name, OPTIONS), *others})

    def read(self) -> dict[str, Any]:
        """Return the options that are set, without the key, which no variable may hold.

        Raises an error that names the setting and says what is allowed.
        """
        return {option.name: self.read_option(option) for option in self.find_set()}

    def find_set(self) -> list[Option]:
        """Return the options that are set, without the key."""
        names = {get_setting_name(option): option for option in OPTIONS}
        del names[API_KEY]
        return [names[name] for name in names if self._get(name, _MISSING) is not _MISSING]

    def read_option(self, option: Option) -> Any:  # noqa: ANN401  # options have all kinds of types
        """Return the checked value of an option that is set."""
        name = get_setting_name(option)
        written = self._get(name, None)
        if option.name == "buffer":
            written = hide_password(written)
        value = self.convert(option, option.convert(written))
        if not option.check(value):
            raise self._error(f"{name} = {option.refuse(written)}")
        return value

    def convert(self, option: Option, value: object) -> object:  # noqa: ARG002  # for subclasses
        """Return the value that a setting stands for; a subclass may convert it."""
        return value

    def find_unknown(self, names: Iterable[str]) -> Iterator[tuple[str, str | None]]:
        """Yield each unknown name with our prefix, and the most similar known setting."""
        from difflib import get_close_matches

        ends = [name.removeprefix(PREFIX) for name in self.known]
        for name in names:
            if name.startswith(PREFIX) and name not in self.known:
                near = get_close_matches(name.removeprefix(PREFIX), ends, n=1)
                yield name, PREFIX + near[0] if near else None
