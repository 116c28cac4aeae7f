"""What is reported, what is logged, how events are delivered, and what happens at the exit."""

from scripts.upgrade.looks import count_copies, show_types
from scripts.upgrade.program import Program, Topic

from whisperr.dev import faults

_COLLECT = "errors = []\nclient = make(on_error=errors.append, max_retries=0)\n"
_ONE = "client.track('user_1', 'feature_used')\n"
_SHOW = "client.flush()\nshow(errors)"
_REFUSED_ADDRESS = "base_url='http://127.0.0.1:1'"

ON_ERROR = Topic(
    "`on_error`",
    "The callback receives a `WhisperrError` with `type`, `message` and `status` as before, and "
    "`reason`, `count` and `events` in addition. It is called at most once a second for each kind.",
    (
        Program("the key is refused (401)", _COLLECT + _ONE + _SHOW, faults=(faults.wrong_key(),)),
        Program(
            "the server refuses the batch (400)",
            _COLLECT + _ONE + _SHOW,
            "`status` is the status of the answer.",
            faults=(faults.status(400),),
        ),
        Program(
            "the path is wrong (404)",
            _COLLECT + _ONE + _SHOW,
            "A wrong path is a wrong configuration, so the events are kept.",
            faults=(faults.status(404),),
        ),
        Program(
            "the server fails (500), `max_retries=0`",
            _COLLECT + _ONE + _SHOW,
            "`status` is the status of the answer.",
            faults=(faults.status(500),),
        ),
        Program(
            "the service cannot be reached, `max_retries=0`",
            _COLLECT.replace("max_retries", f"{_REFUSED_ADDRESS}, max_retries") + _ONE + _SHOW,
        ),
        Program(
            "a queue of 10 overflows by 1,000 events",
            "errors = []\nclient = make(on_error=errors.append, max_queue_size=10, flush_at=5000)\n"
            "for number in range(1010):\n    client.track('user_1', 'feature_used')\n"
            "client.shutdown()\nprint('called', 'more than 100 times' if len(errors) > 100 else "
            "'a few times', 'with', sorted({e.type for e in errors}))",
            "Reports are summarised: `error.count` says how many events.",
        ),
        Program(
            "`on_error` raises",
            "def fail(error):\n    raise RuntimeError('mine')\n"
            "client = make(on_error=fail, max_retries=0)\n"
            + _ONE
            + "client.flush()\nprint('goes on')",
            faults=(faults.status(400),),
        ),
        Program(
            "`dataclasses.asdict(error)`",
            _COLLECT + _ONE + "client.flush()\nwait(errors)\nimport dataclasses\n"
            "print(sorted(dataclasses.asdict(errors[0])))",
            "It is not a dataclass any more: read the attributes.",
            faults=(faults.status(400),),
        ),
    ),
)

LOGGING = Topic(
    "Logging",
    "0.2.1 printed to stderr, with `debug=True` only. Now losses and pauses are records of the "
    "logger `whisperr`: [logging](../trouble/logging.md). Python shows warnings on stderr "
    "where no handler is set up.",
    (
        Program(
            "nothing is wrong",
            "client = make()\n" + _ONE + "client.flush()",
            logs=True,
        ),
        Program(
            "the key is refused",
            "client = make()\n" + _ONE + "client.flush()",
            "To silence it: `logging.getLogger('whisperr').setLevel('CRITICAL')`.",
            faults=(faults.wrong_key(),),
            logs=True,
        ),
        Program(
            "the key is refused, `debug=True`",
            "client = make(debug=True)\n" + _ONE + "client.flush()",
            "Every step is logged.",
            faults=(faults.wrong_key(),),
            logs=True,
        ),
    ),
)

DELIVERY = Topic(
    "Delivery",
    "",
    (
        Program(
            "an answer is lost: how often the event is sent, and counted",
            "client = make()\n" + _ONE + "client.flush()",
            "The server counts an id once. The first retry comes after 0.5 to 1 seconds, not 2.",
            look=lambda server: (
                f"sent {len(server.requests())} times, counted "
                f"{len(server.arrivals(status='accepted'))} time"
            ),
            faults=(faults.lose_answer(times=1),),
        ),
        Program(
            "a redirect (302)",
            _COLLECT + _ONE + _SHOW,
            "0.2.1 followed it to any host, with the key, and took the answer for a success, so "
            "the event was lost. Now no redirect is followed, and the event is kept.",
            faults=(faults.status(302, location="/"),),
        ),
        Program(
            "a timeout of the request (408)",
            "client = make()\n" + _ONE + "client.flush()",
            "0.2.1 dropped the batch.",
            look=show_types,
            faults=(faults.status(408, times=1),),
        ),
        Program(
            "a body that is too large (413), 3 events",
            "client = make()\n" + _ONE * 3 + "client.flush()",
            "0.2.1 dropped the batch; now it is split.",
            look=show_types,
            faults=(faults.status(413, times=1),),
        ),
        Program(
            "`os.fork()` with a waiting event, `flush()` in both processes",
            "client = make()\n" + _ONE + "pid = os.fork()\nclient.flush()\n"
            "if pid:\n    os.waitpid(pid, 0)\nelse:\n    os._exit(0)",
            "The parent delivers its own events, and the child starts with an empty queue.",
            look=count_copies,
        ),
        Program(
            "a child after `os.fork()` tracks and waits for its thread",
            "client = make(flush_interval=0.1)\n" + _ONE + "client.flush()\npid = os.fork()\n"
            "if pid:\n    os.waitpid(pid, 0)\nelse:\n    client.track('user_1', 'in_child')\n"
            "    time.sleep(2)\n    os._exit(0)",
            "In 0.2.1 the child had no thread.",
            look=show_types,
        ),
    ),
)

EXIT = Topic(
    "Exit times",
    "Seconds from the end of the program to the end of its process, with one queued event.",
    (
        Program("the server answers", "client = make()\n" + _ONE, look=show_types, timed=True),
        Program(
            "the connection is refused",
            f"client = make({_REFUSED_ADDRESS})\n" + _ONE,
            "The exit retries for up to 10 seconds, in case the service comes back, and for less "
            "if it has been down for a while. `client.shutdown(timeout)` sets another limit.",
            timed=True,
        ),
        Program(
            "the server fails (500)",
            "client = make()\n" + _ONE,
            "Likewise.",
            faults=(faults.status(500),),
            timed=True,
        ),
        Program(
            "the server never answers",
            "client = make()\n" + _ONE,
            faults=(faults.hang(),),
            timed=True,
        ),
        Program(
            "`flush()` with a server that never answers, `request_timeout=1, max_retries=2`",
            "client = make(request_timeout=1, max_retries=2)\n"
            + _ONE
            + "client.flush()\nos._exit(0)",
            "`flush(timeout)` has a limit.",
            faults=(faults.hang(),),
            timed=True,
        ),
    ),
)
