"""The problems that checks can find, with the fix for each. Pure.

`find` of `findings` fills in the braces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from whisperr._contract import MAX_AGE_DAYS

if TYPE_CHECKING:
    from typing import Literal


class Hint(NamedTuple):
    """One problem: the check that finds it, its state, when it is found, and the fix."""

    check: str
    state: Literal["doubtful", "wrong"]
    when: str
    fix: str


def _wrong(check: str, when: str, fix: str) -> Hint:
    return Hint(check, "wrong", when, fix)


def _doubtful(check: str, when: str, fix: str) -> Hint:
    return Hint(check, "doubtful", when, fix)


_ADDRESS = "correct base_url or WHISPERR_BASE_URL"
_NO_ROUTE = "allow this machine to reach {address} in the firewall, or set HTTPS_PROXY to a proxy"
_OWN_AUTHORITY = (
    "set SSL_CERT_FILE to the file of your authority, or pass ssl_context= to the client"
)

HINTS: dict[str, Hint] = {
    "threads_refused": _wrong(
        "threads",
        "the system cannot start a thread",
        "raise the limit on processes (ulimit -u; pids.max of the container)",
    ),
    "threads_stopped": _wrong(
        "threads",
        "a thread starts but does not run",
        "set enable-threads = true in the configuration of uWSGI",
    ),
    "no_key": _wrong(
        "configuration",
        "there is no key",
        "set WHISPERR_API_KEY to a server key (wrk_...) from the Whisperr dashboard",
    ),
    "key_spaces": _wrong(
        "configuration",
        "the key contains whitespace, control characters or non-ASCII characters",
        "copy the server key (wrk_...) from the Whisperr dashboard again, without spaces",
    ),
    "invalid": _wrong(
        "configuration",
        "an option or a variable has a wrong value",
        "correct the option or variable named in the line",
    ),
    "no_driver": _wrong(
        "configuration",
        "the buffer needs a package that is not installed",
        "install it in this environment: pip install 'whisperr[redis]'",
    ),
    "disabled": _doubtful(
        "configuration",
        "the client is disabled and sends nothing",
        "to send events, remove disabled=True or WHISPERR_DISABLED",
    ),
    "this_machine": _doubtful(
        "configuration",
        "events go to a server on this machine",
        "none if you use whisperr dev; to send to the service, remove {source}",
    ),
    "unencrypted": _doubtful(
        "configuration", "http:// sends the key unencrypted", "use https:// in base_url"
    ),
    "key_publishable": _doubtful(
        "kind of key",
        "the key is for apps and browsers: with it, the server records no consent to messages",
        "use a server key (wrk_...) in backends",
    ),
    "key_quoted": _doubtful(
        "kind of key",
        "the key begins or ends with a quotation mark",
        "remove the quotation marks: Docker does not strip them from env files",
    ),
    "key_unknown": _doubtful(
        "kind of key",
        "the key begins with neither wrk_ nor wpk_",
        "copy the server key (wrk_...) from the Whisperr dashboard",
    ),
    "proxy_unreadable": _wrong(
        "proxy",
        "the URL of the proxy cannot be read",
        "write http://user:password@host:port, and percent-encode / ? # @ : in the password",
    ),
    "proxy_kind": _wrong(
        "proxy",
        "the URL of the proxy does not begin with http://",
        "set {variable} to an http:// proxy, or add {server} to NO_PROXY",
    ),
    "unresolved": _wrong(
        "host name",
        "the host name is not found",
        "correct base_url, WHISPERR_BASE_URL or the proxy, or test DNS: getent hosts {host} "
        "(macOS: nslookup {host})",
    ),
    "resolver_late": _wrong(
        "host name",
        "DNS does not answer in time",
        "check the DNS servers in /etc/resolv.conf, and whether this machine can reach them",
    ),
    "refused": _wrong(
        "connection",
        "nothing listens on that port",
        "correct the host and port in base_url or WHISPERR_BASE_URL ({address})",
    ),
    "refused_here": _wrong(
        "connection",
        "nothing listens on that port of this machine",
        'start "whisperr dev", or remove WHISPERR_BASE_URL to send to the service',
    ),
    "silent": _wrong(
        "connection", "the connection times out, as with a firewall that drops packets", _NO_ROUTE
    ),
    "unreachable": _wrong("connection", "there is no route to the address", _NO_ROUTE),
    "proxy_away": _wrong(
        "connection",
        "the proxy cannot be reached",
        "start the proxy, or correct {variable}, which is set to {address}",
    ),
    "proxy_silent": _wrong(
        "connection",
        "the address of the proxy does not answer like a proxy",
        "check that {address} is an HTTP proxy that allows CONNECT",
    ),
    "proxy_password": _wrong(
        "connection",
        "the proxy wants a user and a password (407)",
        "add them to {variable}: http://user:password@host:port",
    ),
    "proxy_forbids": _wrong(
        "connection",
        "the proxy does not allow the address (403 and other 4xx)",
        "allow {address} in the proxy, or add {server} to NO_PROXY to connect directly",
    ),
    "proxy_fails": _wrong(
        "connection",
        "the proxy cannot reach the address (5xx)",
        "look in the log of the proxy for why it cannot reach {address}",
    ),
    "unknown_authority": _wrong(
        "encryption", "the certificate is from an unknown authority", _OWN_AUTHORITY
    ),
    "own_context": _wrong(
        "encryption",
        "the ssl_context option does not know the authority of the certificate",
        "load the authority into it: ssl.create_default_context(cafile=...)",
    ),
    "no_cert_file": _wrong(
        "encryption",
        "SSL_CERT_FILE names a file that does not exist",
        "correct SSL_CERT_FILE, or remove it",
    ),
    "no_authorities": _wrong(
        "encryption",
        "this machine has no CA certificates",
        "install them (Debian: ca-certificates; macOS: Install Certificates.command), or set "
        "SSL_CERT_FILE",
    ),
    "certificate_dates": _wrong(
        "encryption",
        "the certificate is not valid now",
        "set this machine's clock if it is wrong; otherwise the server needs a new certificate",
    ),
    "certificate_name": _wrong(
        "encryption",
        "the certificate is for another name",
        "use the host name of the certificate in base_url",
    ),
    "no_tls": _wrong(
        "encryption",
        "the server does not speak TLS",
        "correct the port in base_url; use http:// only for a server of your own",
    ),
    "tls_failed": _wrong(
        "encryption",
        "the TLS handshake fails",
        "find what interferes, with: openssl s_client -connect HOST:PORT",
    ),
    "key_refused": _wrong(
        "key",
        "the service refuses the key (401, 403)",
        "copy the server key (wrk_...) from the Whisperr dashboard into WHISPERR_API_KEY",
    ),
    "key_blocked": _wrong(
        "key",
        "a 401 or 403 that did not come from the service",
        "find what answers in place of the service: a proxy, a firewall or a gateway",
    ),
    "proxy_refuses": _wrong(
        "round trip",
        "the proxy refuses the request",
        "add its user and password to the variable of the proxy, or allow the host in the proxy",
    ),
    "no_answer": _wrong(
        "round trip",
        "the connection works, but the request gets no answer",
        "find out why the server does not answer; a longer --timeout shows whether it is only slow",
    ),
    "redirected": _wrong(
        "round trip", "the answer is a redirect, which the client does not follow", _ADDRESS
    ),
    "path_wrong": _wrong(
        "round trip",
        "the server does not know the path (404 and other 4xx)",
        f"{_ADDRESS}, usually without a path: https://api.whisperr.net",
    ),
    "not_the_service": _wrong(
        "round trip",
        "the answer is not a JSON object, so it did not come from the service",
        _ADDRESS,
    ),
    "service_fails": _wrong(
        "round trip",
        "the service fails (5xx)",
        "wait: the client keeps events and sends them again; if it lasts, ask Whisperr support",
    ),
    "gateway_fails": _wrong(
        "round trip",
        "a failure (5xx) that did not come from the service",
        "if {address} is right, wait: the client keeps events; otherwise correct base_url",
    ),
    "too_many": _doubtful(
        "round trip",
        "the service limits the rate of requests (429)",
        "wait: the client sends the events later; a larger flush_interval makes fewer requests",
    ),
    "clock_ahead": _wrong(
        "clock",
        "this machine's clock is more than 5 minutes ahead of the server's",
        "set the clock of this machine, and keep it set by NTP (Linux: timedatectl set-ntp true)",
    ),
    "clock_behind": _wrong(
        "clock",
        "this machine's clock is more than 5 minutes behind the server's",
        "set the clock of this machine, and keep it set by NTP (Linux: timedatectl set-ntp true)",
    ),
    "clock_differs": _doubtful(
        "clock",
        "the clocks differ by more than 10 seconds",
        "keep the clock of this machine set by NTP (Linux: timedatectl set-ntp true)",
    ),
    "outbox_elsewhere": _doubtful(
        "buffer",
        "WHISPERR_BUFFER is django, which this command cannot check",
        "run python manage.py whisperr_check, which knows the database",
    ),
    "folder_missing": _wrong(
        "buffer",
        "the directory of the file does not exist",
        "create it as the user of the application: mkdir -p {folder}",
    ),
    "folder_closed": _wrong(
        "buffer",
        "this user cannot write to the directory",
        "make the user of the application its owner: chown {user} {folder}",
    ),
    "file_foreign": _wrong(
        "buffer",
        "the file is not a whisperr buffer",
        "name another file; this one is left unchanged",
    ),
    "file_of_root": _doubtful(
        "buffer",
        "the command runs as root, and the file belongs to another user",
        "to see what the application sees, run this command as the user with id {owner}",
    ),
    "file_of_others": _wrong(
        "buffer",
        "the file belongs to another user",
        "run this command as the user of the application, or: chown {user} {file}",
    ),
    "file_mode": _wrong(
        "buffer", "users other than its owner can access the file", "chmod 600 {file}"
    ),
    "file_newer": _wrong(
        "buffer",
        "the file was written by a newer whisperr",
        "upgrade this environment: pip install --upgrade whisperr",
    ),
    "file_damaged": _wrong(
        "buffer",
        "the file is damaged",
        "none is needed: at its next use, the application sets it aside and creates a new one",
    ),
    "file_busy": _doubtful("buffer", "the file is locked at the moment", "run the command again"),
    "file_unusable": _wrong(
        "buffer", "SQLite cannot use the file", "check the file, or name another one"
    ),
    "redis_away": _wrong(
        "buffer",
        "Redis does not answer",
        "start Redis, or correct scheme (redis://, rediss://), host and port in WHISPERR_BUFFER",
    ),
    "redis_password": _wrong(
        "buffer",
        "Redis requires a user or password, or refuses the given ones",
        "put both into the URL of the buffer: redis://user:password@host",
    ),
    "redis_tls": _wrong(
        "buffer",
        "the certificate of Redis is not trusted",
        "set SSL_CERT_FILE to the file of its authority, and use the host name of the certificate",
    ),
    "redis_forbids": _wrong(
        "buffer",
        "the Redis user may not run a command or access the keys",
        "allow both in Redis: ACL SETUSER user ~*STREAM* +@all",
    ),
    "redis_odd": _wrong(
        "buffer",
        "the server that answers is not Redis",
        "correct the host and port in WHISPERR_BUFFER",
    ),
    "redis_old": _wrong("buffer", "Redis is older than 6.2", "upgrade Redis to 6.2 or later"),
    "redis_replica": _wrong(
        "buffer", "Redis is a read-only replica", "name the primary in WHISPERR_BUFFER"
    ),
    "redis_slow": _doubtful(
        "buffer",
        "Redis answers more slowly than the timeout of the buffer",
        "raise ?timeout= in the URL of the buffer, or use a Redis that is closer",
    ),
    "redis_key": _wrong(
        "buffer",
        "the key of the stream holds other data",
        "use another stream= in the URL of the buffer; the key is left unchanged",
    ),
    "outbox_unset": _wrong(
        "buffer",
        "the settings of the outbox are incomplete",
        'add "whisperr.django" to INSTALLED_APPS, run python manage.py migrate, and use an alias '
        "from DATABASES",
    ),
    "database_away": _wrong(
        "buffer",
        "the database of the outbox cannot be used",
        "check DATABASES, and whether the database runs",
    ),
    "tables_missing": _wrong(
        "buffer",
        "the tables of the outbox or a migration are missing",
        "run python manage.py migrate whisperr --database {alias}",
    ),
    "log_no_parent": _wrong(
        "log",
        "the parent directory of the log does not exist",
        "create it as the user of the application: mkdir -p {folder}",
    ),
    "log_closed": _wrong(
        "log",
        "this user cannot create or enter the directory of the log",
        "make the user of the application the owner of {folder}: chown {user} {folder}",
    ),
    "log_foreign": _wrong(
        "log",
        "a link or a file has the name of the log directory",
        "move it away, and the next event creates a directory; or name the directory in log=",
    ),
    "log_of_root": _doubtful(
        "log",
        "the command runs as root, and the log belongs to another user",
        "to see what the application sees, run this command as the user with id {owner}",
    ),
    "log_of_others": _wrong(
        "log",
        "the directory of the log belongs to another user",
        "run this command as the user of the application, or: chown -R {user} {folder}",
    ),
    "log_mode": _wrong(
        "log",
        "users other than the owner can write to the directory of the log, or its owner cannot",
        "chmod 700 {folder}",
    ),
    "log_file_closed": _wrong(
        "log",
        "a file of the log belongs to another user, or this user cannot read and write it",
        "make the user of the application its owner: chown {user} {file}; chmod 600 {file}",
    ),
    "log_file_foreign": _doubtful(
        "log",
        "a file is named like a log but is not one, or was written by another version",
        "look at {file} and move it away: no process reads it",
    ),
    "log_damaged": _doubtful(
        "log",
        "a log contains lines that are not events",
        "find what else writes to {file}; the process that takes over the log skips these lines",
    ),
    "log_no_room": _doubtful(
        "log",
        "the volume has less free space than the log of one process may use (max_queue_bytes)",
        "free space on the volume of {folder}, or lower max_queue_bytes",
    ),
    "not_persistent": _doubtful(
        "persistence",
        "Redis writes no append-only file: a crash loses all events since its last snapshot",
        'set "appendonly yes" in the configuration of Redis',
    ),
    "not_written": _wrong(
        "persistence",
        "Redis cannot write to its disk, and may refuse events",
        "look at the log of Redis, and free space on its disk",
    ),
    "disk_full": _wrong(
        "space",
        "the volume of the file is almost full",
        "free space on the volume of {folder}, or move the buffer to another one",
    ),
    "evicting": _doubtful(
        "space",
        "Redis may delete events when its memory is full",
        'set "maxmemory-policy noeviction" in the configuration of Redis',
    ),
    "redis_full": _wrong(
        "space",
        "Redis has no memory left",
        "raise maxmemory in the configuration of Redis, or deliver the backlog",
    ),
    "backlog_late": _doubtful(
        "backlog",
        "events have waited longer than the longest pause of a client",
        "start an application with this buffer: it delivers the events, or logs why it cannot",
    ),
    "backlog_large": _doubtful(
        "backlog",
        "the buffer is nearly full: when it is full, the oldest events are dropped",
        "run more processes that deliver, or raise max_queue_size",
    ),
    "backlog_old": _doubtful(
        "backlog",
        f"the oldest event is nearly {MAX_AGE_DAYS} days old: the server refuses older ones",
        "deliver them now: start an application with this buffer",
    ),
    "relay_late": _doubtful(
        "backlog",
        "rows of the outbox have waited for more than 5 minutes, although a relay runs",
        "look at the log of the relay; if it delivers without a break, run more relays",
    ),
    "set_aside": _doubtful(
        "set aside",
        "the store contained something other than events, which was set aside",
        "find what else writes to {store}; show what was set aside with: {command}",
    ),
    "file_set_aside": _doubtful(
        "set aside",
        "a damaged file was set aside",
        "keep or delete {file}: its events are not sent",
    ),
    "no_relay": _wrong(
        "relay",
        "rows have waited for a minute, and no relay has claimed them",
        "run python manage.py whisperr_relay as a service; if it runs, its log says what fails",
    ),
    "kept_refused": _doubtful(
        "dead letters",
        "the server refused events, and the buffer kept them",
        "list them with: whisperr dead-letters list; then replay or drop them",
    ),
    "dead_letters": _doubtful(
        "dead letters",
        "the server refused events for good",
        "list them with: python manage.py whisperr_outbox --dead; then use --requeue or --prune",
    ),
}
