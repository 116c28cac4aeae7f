"""What the options accept."""

from scripts.upgrade.looks import show_first, show_types
from scripts.upgrade.program import Program, Topic

_DELIVER = "client.track('user_1', 'feature_used')\nclient.flush()"


def _try(question: str, options: str, note: str = "") -> Program:
    """Return a program that makes a client with these arguments and sends one event."""
    return Program(question, f"client = make({options})\n{_DELIVER}", note, show_types)


OPTIONS = Topic(
    "Options",
    "All options of 0.2.1 exist, with the same defaults. They are checked when you create the "
    "client, so a wrong value fails at that line.",
    (
        Program(
            "no key: `Whisperr()`",
            "Whisperr()",
            "The key may also come from `WHISPERR_API_KEY`.",
        ),
        Program("an empty key: `Whisperr('')`", "Whisperr('')", "Likewise."),
        Program("no key, `disabled=True`", "describe(Whisperr('', disabled=True))"),
        _try(
            "a key with a line end: `Whisperr('wrk_test\\n')`",
            "'wrk_test\\n'",
            "Whitespace around the key is now ignored.",
        ),
        Program(
            "a publishable key: `Whisperr('wpk_test')`",
            """
            import warnings
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter('always')
                make('wpk_test')
            print(*[w.category.__name__ for w in seen] or ['no warning'])
            """,
            "A backend needs a server key (`wrk_…`).",
        ),
        _try("`base_url='HTTP://…'`", "base_url='HTTP' + URL[4:]"),
        _try(
            "`base_url='localhost:8080'`",
            "base_url='localhost:8080', max_retries=0",
            "Write the scheme: `http://localhost:8080`.",
        ),
        Program(
            "`base_url=None`",
            "describe(make(base_url=None))",
            "`None` means the default.",
        ),
        _try("`debug=0`, `disabled=0`", "debug=0, disabled=0"),
        Program(
            "`WHISPERR_DISABLED=1` in the environment",
            """
            os.environ['WHISPERR_DISABLED'] = '1'
            describe(make())
            """,
            "Three flags, the key, the address and the buffer may come from the environment: "
            "[Options](../reference/options.md#in-the-environment).",
        ),
        Program("`disabled=1`", "describe(make(disabled=1))"),
        Program(
            "`disabled='false'`",
            "describe(make(disabled='false'))",
            "**In 0.2.1 every text except the empty one meant true, even `'0'` and `'no'`.** Such "
            "a client now sends.",
        ),
        Program("`disabled=None`", "describe(make(disabled=None))"),
        _try(
            "`flush_at='20'`",
            "flush_at='20'",
            "Text that is a number is accepted as a number.",
        ),
        _try("`flush_at=0`", "flush_at=0", "Write 1 to deliver at once."),
        _try("`max_queue_size=0`", "max_queue_size=0", "0.2.1 dropped every event."),
        _try("`max_batch_size=0`", "max_batch_size=0", "0.2.1 never sent anything."),
        _try("`max_batch_size=1000`", "max_batch_size=1000"),
        _try(
            "`flush_interval=None`",
            "flush_interval=None",
            "Write a number of seconds, or leave the option out.",
        ),
        _try("`max_retries=-1`", "max_retries=-1", "Write 0 for no retry."),
        _try(
            "`request_timeout=0`",
            "request_timeout=0, max_retries=0",
            "Write how many seconds one request may take.",
        ),
        _try("`request_timeout=5` (a whole number)", "request_timeout=5"),
        _try("`app_version='  '`", "app_version='  '"),
        Program(
            "`app_version=7`",
            "client = make(app_version=7)\n" + _DELIVER,
            "Write text: `app_version='7'`.",
            show_first("context", "app_version"),
        ),
        Program(
            "`transport=` with `send_batch` and `send_identify`",
            "class Fake:\n    def send_batch(self, events):\n        print(len(events), 'event')\n"
            "        return 'ok'\n    def send_identify(self, op):\n        return 'ok'\n"
            f"client = make(transport=Fake())\n{_DELIVER}",
            "In tests, `whisperr.testing.capture()` replaces it: "
            "[testing](../develop/testing.md). "
            "A real transport has `send` and `close`: [extending](../delivery/extending.md).",
        ),
        _try("an unknown option: `flush_every=5`", "flush_every=5"),
    ),
)
