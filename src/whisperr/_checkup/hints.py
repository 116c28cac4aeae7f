"""What each trouble means and what to do. `find` of `findings` fills the gaps in braces. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from whisperr._contract import MAX_AGE_DAYS

if TYPE_CHECKING:
    from typing import Literal


class Hint(NamedTuple):
    """One trouble: the check that finds it, its verdict, when it is found, and the fix."""

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
    "set SSL_CERT_FILE to the file of your authority, or give ssl_context= to the client"
)

HINTS: dict[str, Hint] = {
    "threads_refused": _wrong(
        "threads",
        "the system starts no thread",
        "raise the limit of processes (ulimit -u, pids.max of the container)",
    ),
    "threads_stopped": _wrong(
        "threads",
        "a thread starts and does not run",
        "set enable-threads = true in the configuration of uWSGI",
    ),
    "no_key": _wrong(
        "configuration",
        "there is no key",
        "set WHISPERR_API_KEY to a server key (wrk_...) from the Whisperr dashboard",
    ),
    "key_spaces": _wrong(
        "configuration",
        "the key has white space, control or non-ASCII characters in it",
        "copy the server key (wrk_...) from the Whisperr dashboard again, as one word",
    ),
    "invalid": _wrong(
        "configuration",
        "an option or a variable has a wrong value",
        "correct the option or the variable that the line names",
    ),
    "no_driver": _wrong(
        "configuration",
        "the buffer needs a package that is not installed",
        "install it in this environment: pip install 'whisperr[redis]'",
    ),
    "disabled": _doubtful(
        "configuration",
        "a client with this configuration sends nothing",
        "remove disabled=True or WHISPERR_DISABLED where events are wanted",
    ),
    "this_machine": _doubtful(
        "configuration",
        "events go to a server on this machine",
        "none is needed beside whisperr dev; to reach the service remove {source}",
    ),
    "unencrypted": _doubtful(
        "configuration", "http:// sends the key unencrypted", "write https:// in base_url"
    ),
    "key_publishable": _doubtful(
        "kind of key",
        "the key is for apps and browsers: the server opts nobody in for it",
        "use a server key (wrk_...) in a backend",
    ),
    "key_quoted": _doubtful(
        "kind of key",
        "the key begins or ends with a quotation mark",
        "remove the quotation marks: env files of Docker keep them",
    ),
    "key_unknown": _doubtful(
        "kind of key",
        "the key begins with neither wrk_ nor wpk_",
        "copy the server key (wrk_...) from the Whisperr dashboard",
    ),
    "proxy_unreadable": _wrong(
        "proxy",
        "the URL of the proxy cannot be read",
        "write http://user:password@host:port, with %-escapes for / ? # @ : in the password",
    ),
    "proxy_kind": _wrong(
        "proxy",
        "the proxy is not one of http://",
        "set {variable} to an http:// proxy, or add {server} to NO_PROXY",
    ),
    "unresolved": _wrong(
        "host name",
        "the name of the host is not found",
        "correct base_url, WHISPERR_BASE_URL or the proxy, or ask DNS: getent hosts {host}; on "
        "macOS nslookup {host}",
    ),
    "resolver_late": _wrong(
        "host name",
        "DNS does not answer in time",
        "check the servers in /etc/resolv.conf, and whether this machine reaches them",
    ),
    "refused": _wrong(
        "connection",
        "nothing listens at that port",
        "correct the host and the port in base_url or WHISPERR_BASE_URL ({address})",
    ),
    "refused_here": _wrong(
        "connection",
        "nothing listens at that port of this machine",
        'start "whisperr dev", or remove WHISPERR_BASE_URL to send to the service',
    ),
    "silent": _wrong(
        "connection", "connecting is not answered, as by a firewall that drops packets", _NO_ROUTE
    ),
    "unreachable": _wrong("connection", "the network does not lead there", _NO_ROUTE),
    "proxy_away": _wrong(
        "connection",
        "the proxy cannot be reached",
        "start the proxy, or correct {variable}, which names {address}",
    ),
    "proxy_silent": _wrong(
        "connection",
        "what listens at the address of the proxy gives no answer of a proxy",
        "check that {address} is an HTTP proxy that allows CONNECT",
    ),
    "proxy_password": _wrong(
        "connection",
        "the proxy wants a user and a password (407)",
        "write both into {variable}: http://user:password@host:port",
    ),
    "proxy_forbids": _wrong(
        "connection",
        "the proxy forbids the address (403 and other 4xx)",
        "allow {address} in the proxy, or add {server} to NO_PROXY for a direct connection",
    ),
    "proxy_fails": _wrong(
        "connection",
        "the proxy cannot reach the address (5xx)",
        "find out in the log of the proxy why it does not reach {address}",
    ),
    "unknown_authority": _wrong(
        "encryption", "the certificate is of an authority that is not known here", _OWN_AUTHORITY
    ),
    "own_context": _wrong(
        "encryption",
        "the ssl_context option does not know the authority of the certificate",
        "load the file of the authority into it: ssl.create_default_context(cafile=...)",
    ),
    "no_cert_file": _wrong(
        "encryption",
        "SSL_CERT_FILE names a file that is not there",
        "correct SSL_CERT_FILE, or remove it",
    ),
    "no_authorities": _wrong(
        "encryption",
        "this machine has no certificates of authorities",
        "install them (Debian: ca-certificates; macOS: Install Certificates.command), or set "
        "SSL_CERT_FILE",
    ),
    "certificate_dates": _wrong(
        "encryption",
        "the certificate is not valid now",
        "set the clock of this machine if it is wrong; else the server needs a new certificate",
    ),
    "certificate_name": _wrong(
        "encryption",
        "the certificate is for another name",
        "write the host in base_url as the certificate names it",
    ),
    "no_tls": _wrong(
        "encryption",
        "the server does not speak TLS",
        "correct the port in base_url; http:// only for a server of your own",
    ),
    "tls_failed": _wrong(
        "encryption",
        "the handshake fails",
        "look at what is between: openssl s_client -connect HOST:PORT",
    ),
    "key_refused": _wrong(
        "key",
        "the service refuses the key (401, 403)",
        "copy the server key (wrk_...) from the Whisperr dashboard into WHISPERR_API_KEY",
    ),
    "key_blocked": _wrong(
        "key",
        "a 401 or 403 that the service has not written",
        "find what answers between this machine and the service: a proxy, a firewall, a gateway",
    ),
    "proxy_refuses": _wrong(
        "round trip",
        "the proxy refuses the request",
        "write its user and password into the variable of the proxy, or allow the host in it",
    ),
    "no_answer": _wrong(
        "round trip",
        "the connection is there, and the request gets no answer",
        "find out why what listens there gives no answer; a longer --timeout tells if it is slow",
    ),
    "redirected": _wrong(
        "round trip", "the answer is a redirect, which no client follows", _ADDRESS
    ),
    "path_wrong": _wrong(
        "round trip",
        "the server does not know the path (404 and other 4xx)",
        f"{_ADDRESS}: it has no path of its own, such as https://api.whisperr.net",
    ),
    "not_the_service": _wrong(
        "round trip", "the answer is no JSON object, so not of the service", _ADDRESS
    ),
    "service_fails": _wrong(
        "round trip",
        "the service fails (5xx)",
        "wait: events are kept and sent again; ask the support of Whisperr if it lasts",
    ),
    "gateway_fails": _wrong(
        "round trip",
        "a failure (5xx) that the service has not written",
        "if {address} is the right address, wait: events are kept; else correct base_url",
    ),
    "too_many": _doubtful(
        "round trip",
        "the service asks for fewer requests (429)",
        "wait: events are kept and sent later; a larger flush_interval makes fewer requests",
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
        "WHISPERR_BUFFER is django, and the command is not Django's",
        "python manage.py whisperr_check, which knows the database",
    ),
    "folder_missing": _wrong(
        "buffer",
        "the directory of the file is missing",
        "make it, for the user of the application: mkdir -p {folder}",
    ),
    "folder_closed": _wrong(
        "buffer",
        "the directory may not be written to",
        "give it to the user of the application: chown {user} {folder}",
    ),
    "file_foreign": _wrong(
        "buffer", "the file is something else's", "name another file; this one is left as it is"
    ),
    "file_of_root": _doubtful(
        "buffer",
        "root looks at a file that belongs to the user of the application",
        "run this command as the user with id {owner}, to see what the application sees",
    ),
    "file_of_others": _wrong(
        "buffer",
        "the file belongs to another user",
        "run this command as the user of the application, or: chown {user} {file}",
    ),
    "file_mode": _wrong("buffer", "others than its owner may use the file", "chmod 600 {file}"),
    "file_newer": _wrong(
        "buffer",
        "a newer whisperr has written the file",
        "upgrade this environment: pip install --upgrade whisperr",
    ),
    "file_damaged": _wrong(
        "buffer",
        "the file is damaged",
        "none is needed: the application sets it aside at its next use, and makes a new one",
    ),
    "file_busy": _doubtful("buffer", "the file is locked at the moment", "try again"),
    "file_unusable": _wrong(
        "buffer", "SQLite cannot use the file", "check the file, or name another one"
    ),
    "redis_away": _wrong(
        "buffer",
        "Redis does not answer",
        "start Redis, or correct the host, the port and redis:// or rediss:// in WHISPERR_BUFFER",
    ),
    "redis_password": _wrong(
        "buffer",
        "Redis wants a user or a password, or refuses them",
        "write both into the URL of the buffer: redis://user:password@host",
    ),
    "redis_tls": _wrong(
        "buffer",
        "the certificate of Redis is not trusted",
        "set SSL_CERT_FILE to the file of its authority, and name the host as it does",
    ),
    "redis_forbids": _wrong(
        "buffer",
        "the user may not run a command, or not use the keys",
        "allow both in Redis: ACL SETUSER user ~*STREAM* +@all",
    ),
    "redis_odd": _wrong(
        "buffer",
        "what answers is not Redis",
        "correct the host and the port in WHISPERR_BUFFER",
    ),
    "redis_old": _wrong("buffer", "Redis is older than 6.2", "upgrade Redis to 6.2 or later"),
    "redis_replica": _wrong(
        "buffer", "Redis is a replica, which takes no events", "name the primary in WHISPERR_BUFFER"
    ),
    "redis_slow": _doubtful(
        "buffer",
        "Redis answers later than the timeout of the buffer",
        "add ?timeout= to the URL of the buffer, or use a Redis that is nearer",
    ),
    "redis_key": _wrong(
        "buffer",
        "the key of the stream holds something else",
        "use another stream= in the URL of the buffer; the key is left as it is",
    ),
    "outbox_unset": _wrong(
        "buffer",
        "the settings of the outbox are incomplete",
        'add "whisperr.django" to INSTALLED_APPS, then run python manage.py migrate; the alias is '
        "one of DATABASES",
    ),
    "database_away": _wrong(
        "buffer",
        "the database of the outbox cannot be used",
        "check DATABASES and whether the database runs",
    ),
    "tables_missing": _wrong(
        "buffer",
        "the tables of the outbox are missing, or a migration is",
        "python manage.py migrate whisperr --database {alias}",
    ),
    "log_no_parent": _wrong(
        "log",
        "the directory above that of the log is missing",
        "make it, for the user of the application: mkdir -p {folder}",
    ),
    "log_closed": _wrong(
        "log",
        "the directory of the log cannot be made there, or not be entered",
        "give {folder} to the user of the application: chown {user} {folder}",
    ),
    "log_foreign": _wrong(
        "log",
        "a link or a file has the place of the directory",
        "move it away: the next event makes a directory; or name the directory itself in log=",
    ),
    "log_of_root": _doubtful(
        "log",
        "root looks at a log that belongs to the user of the application",
        "run this command as the user with id {owner}, to see what the application sees",
    ),
    "log_of_others": _wrong(
        "log",
        "the directory of the log belongs to another user",
        "run this command as the user of the application, or: chown -R {user} {folder}",
    ),
    "log_mode": _wrong(
        "log",
        "others may write the directory of the log, or its owner may not",
        "chmod 700 {folder}",
    ),
    "log_file_closed": _wrong(
        "log",
        "a file of the log belongs to another user, or may not be read and written",
        "give it to the user of the application: chown {user} {file}; chmod 600 {file}",
    ),
    "log_file_foreign": _doubtful(
        "log",
        "a file with the name of a log is none, or of another version",
        "look at {file}, and move it away: nothing reads it",
    ),
    "log_damaged": _doubtful(
        "log",
        "a log has lines that are no events",
        "none is needed: what takes over the log skips them; find what else writes to {file}",
    ),
    "log_no_room": _doubtful(
        "log",
        "the volume has less room than the log of one process may take (max_queue_bytes)",
        "free space on the volume of {folder}, or lower max_queue_bytes",
    ),
    "not_persistent": _doubtful(
        "persistence",
        "Redis writes no append-only file: a crash loses what came after its last snapshot",
        "set appendonly yes in the configuration of Redis",
    ),
    "not_written": _wrong(
        "persistence",
        "Redis cannot write to its disk, and may refuse events",
        "look at the log of Redis; free space on its disk",
    ),
    "disk_full": _wrong(
        "space",
        "hardly any room is left on the volume of the file",
        "free space on the volume of {folder}, or move the buffer to another one",
    ),
    "evicting": _doubtful(
        "space",
        "a Redis that is full may delete events",
        "set maxmemory-policy noeviction in the configuration of Redis",
    ),
    "redis_full": _wrong(
        "space",
        "Redis has no memory left",
        "raise maxmemory in the configuration of Redis, or deliver the backlog",
    ),
    "backlog_late": _doubtful(
        "backlog",
        "events wait for longer than any pause of a client lasts",
        "start an application with this buffer: it delivers them, or logs why it cannot",
    ),
    "backlog_large": _doubtful(
        "backlog",
        "the buffer is nearly full: the oldest events are dropped then",
        "start more processes that deliver, or raise max_queue_size",
    ),
    "backlog_old": _doubtful(
        "backlog",
        f"the oldest event is nearly {MAX_AGE_DAYS} days old: the server refuses older ones",
        "deliver them now: start an application with this buffer",
    ),
    "relay_late": _doubtful(
        "backlog",
        "rows of the outbox wait for more than 5 minutes, although a relay works",
        "look at the log of the relay; if it delivers all the time, run more relays",
    ),
    "set_aside": _doubtful(
        "set aside",
        "something that is no event was in the store, and was set aside",
        "find what else writes to {store}; look at it with: {command}",
    ),
    "file_set_aside": _doubtful(
        "set aside",
        "a damaged file was set aside",
        "its events are not sent; keep or delete {file}",
    ),
    "no_relay": _wrong(
        "relay",
        "rows wait, and no relay has claimed them for a minute",
        "run python manage.py whisperr_relay as a service; its log says why if it runs",
    ),
    "kept_refused": _doubtful(
        "dead letters",
        "the server has refused events, and the buffer has kept them",
        "look at them: whisperr dead-letters list; then replay or drop them",
    ),
    "dead_letters": _doubtful(
        "dead letters",
        "the server has refused events for good",
        "look at them: python manage.py whisperr_outbox --dead; then --requeue or --prune",
    ),
}
