"""Where the client of an integration comes from: the settings of a framework, or the environment.

The settings are WHISPERR_<OPTION> for every option, derived from the options themselves; there is
no second list. They are read when asked for and not kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from whisperr._client import Whisperr
from whisperr._options import OPTIONS, Option
from whisperr._secret import hide_password

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PREFIX = "WHISPERR_"
API_KEY = "WHISPERR_API_KEY"
_MISSING = object()


class DefaultClient:
    """Holds one client of a process, made by a function on first use.

    Threads: any. There is no lock, because a forked child could find it taken for ever, and a
    signal handler that tracks would wait for the thread that it interrupts. When two threads come
    first at the same moment, both make a client; one of them, which has done nothing, is discarded.
    """

    def __init__(self, make: Callable[[], Whisperr]) -> None:
        self._make = make
        self._made: dict[str, Whisperr] = {}  # `setdefault` settles a race without a lock

    def get(self) -> Whisperr:
        """Return the client; the first call makes it."""
        client = self._made.get("client")
        return self._made.setdefault("client", self._make()) if client is None else client

    def clear(self) -> Whisperr | None:
        """Return the client, if there is one, and forget it: the next `get` makes another."""
        return self._made.pop("client", None)


environment_client = DefaultClient(Whisperr)


def get_environment_client() -> Whisperr:
    """Return the client of this process; the first call makes it from the environment.

    WHISPERR_API_KEY is the key, WHISPERR_BASE_URL the address if it is not the default one.
    Raises ValueError when there is no key, or a wrong value.
    """
    return environment_client.get()


def get_client_factory(client: Whisperr | Callable[[], Whisperr] | None) -> Callable[[], Whisperr]:
    """Return a function that returns the client that an integration was given.

    It was given the client itself, a function, or None for the one of the environment.
    """
    if client is None:
        return get_environment_client
    return (lambda: client) if isinstance(client, Whisperr) else client


def get_setting_name(option: Option) -> str:
    """Return the name of the setting of an option."""
    return PREFIX + option.name.upper()


class SettingsReader:
    """Reads settings from where a framework keeps them.

    - `get`: a function of a name and a default, such as the `get` of a dictionary.
    - `others`: names of settings that are no options of the client.
    - `error`: the type of error for a value that is not allowed.
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
        """Return the options that are set, all but the key, which no variable holds.

        Raises an error that names the setting and says what is allowed.
        """
        return {option.name: self.read_option(option) for option in self.find_set()}

    def find_set(self) -> list[Option]:
        """Return the options that are set, all but the key."""
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
        """Return what a written value stands for; here, itself."""
        return value

    def find_unknown(self, names: Iterable[str]) -> Iterator[tuple[str, str | None]]:
        """Yield each name with our prefix that is no setting, and the setting that is nearest."""
        from difflib import get_close_matches

        ends = [name.removeprefix(PREFIX) for name in self.known]
        for name in names:
            if name.startswith(PREFIX) and name not in self.known:
                near = get_close_matches(name.removeprefix(PREFIX), ends, n=1)
                yield name, PREFIX + near[0] if near else None
