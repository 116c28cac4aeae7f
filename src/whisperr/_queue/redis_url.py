"""Reads the URL of a Redis server; the URL itself stays wrapped, for its password. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from whisperr._secret import Secret


class Server(NamedTuple):
    """Where a Redis is; `url` has the user and the password as well."""

    url: Secret
    host: str
    port: int
    database: int
    has_tls: bool
    has_password: bool

    @property
    def address(self) -> str:
        """The URL without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "rediss" if self.has_tls else "redis"
        return f"{scheme}://{host}:{self.port}/{self.database}"


def parse_server(url: Secret) -> Server | None:
    """Return the server of a Redis URL; None when it is not a valid one. Never raises."""
    try:
        parts = urlsplit(url.reveal())
        host, port = parts.hostname, parts.port or 6379
    except ValueError:
        return None
    database = parts.path.strip("/") or "0"
    valid = parts.scheme in {"redis", "rediss"} and host and not parts.query and not parts.fragment
    if not valid or not database.isdecimal() or not database.isascii():
        return None
    return Server(
        url, unquote(str(host)), port, int(database), parts.scheme == "rediss", "@" in parts.netloc
    )


def get_credentials(url: Secret) -> tuple[str, ...]:
    """Return the arguments of AUTH: user and password, or the password alone."""
    parts = urlsplit(url.reveal())
    password = unquote(parts.password or "")
    return (unquote(parts.username), password) if parts.username else (password,)
