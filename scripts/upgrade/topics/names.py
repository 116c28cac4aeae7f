"""What can be imported."""

from scripts.upgrade.program import Program, Topic

NAMES = Topic(
    "Names",
    "All names in the README of 0.2.1 still exist. Its inner modules are gone.",
    (
        Program(
            "`from whisperr import BillingEvent, SDK_NAME, Whisperr, WhisperrError`",
            """
            from whisperr import BillingEvent, SDK_NAME, Whisperr, WhisperrError, __version__
            print('imported')
            """,
        ),
        Program(
            "`from whisperr.django import WhisperrMiddleware, get_client`",
            """
            from whisperr.django import WhisperrMiddleware, get_client
            print('imported')
            """,
            django=True,
        ),
        Program(
            "`from whisperr.client import Whisperr`",
            """
            from whisperr.client import Whisperr
            print('imported')
            """,
            "Write `from whisperr import Whisperr`.",
        ),
        Program(
            "`whisperr.client`",
            """
            import whisperr
            print('a', type(whisperr.client).__name__)
            """,
            "Import the public names from `whisperr`.",
        ),
        Program(
            "`from whisperr.transport import Transport`",
            """
            from whisperr.transport import Transport
            print('imported')
            """,
            "A transport of your own has `send` and `close`: "
            "[extending](../delivery/extending.md). "
            "Tests need none: [testing](../develop/testing.md).",
        ),
        Program(
            "`from whisperr import Channel`",
            """
            from whisperr import Channel
            print(Channel.email('a@example.com'))
            """,
            "New: `Channel.email()`, `.sms()` and `.push()` make channels.",
        ),
        Program(
            "an attribute that begins with an underscore, such as `client._buf`",
            "print(len(make()._buf), 'events wait')",
            "`client.stats().held` counts the events that wait.",
        ),
    ),
)
