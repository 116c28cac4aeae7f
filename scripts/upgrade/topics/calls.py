"""What the methods return, and what becomes of the data that they are given."""

from scripts.upgrade.looks import show_first, show_types
from scripts.upgrade.program import Program, Topic

RETURNS = Topic(
    "Return values and signatures",
    "Calls that were correct in 0.2.1 still are. There are more arguments.",
    (
        Program(
            "`track()` returns",
            "print(type(make().track('user_1', 'feature_used')).__name__)",
            "The message id of the event; `None` when the event was not accepted.",
        ),
        Program("`identify()` returns", "print(make().identify('user_1', email='a@example.com'))"),
        Program(
            "`flush()` returns",
            """
            client = make()
            client.track('user_1', 'feature_used')
            print(client.flush())
            """,
            "`True`: everything tracked before has been delivered or dropped.",
        ),
        Program(
            "`flush(5)`, `flush(timeout=5)`",
            """
            make().flush(timeout=5)
            print('accepted')
            """,
            "New: a time limit in seconds.",
        ),
        Program(
            "`shutdown()` returns",
            "print(make().shutdown())",
            "`True`: everything was delivered. It takes 10 seconds at most; `shutdown(None)` has "
            "no limit.",
        ),
        Program("`client.ready`", "print(make().ready)"),
        Program(
            "`client.ready` after `shutdown()`",
            """
            client = make()
            client.shutdown()
            print(client.ready)
            """,
            "It says whether events are accepted.",
        ),
        Program(
            "`track()` after `shutdown()`",
            """
            client = make()
            client.shutdown()
            client.track('user_1', 'feature_used')
            client.flush()
            """,
            "After `shutdown()` an event is dropped and reported with the reason `closed`.",
            show_types,
        ),
        Program(
            "`track('user_1', 'feature_used', {}, {}, 'id')`, a fifth positional argument",
            "make().track('user_1', 'feature_used', {}, {}, 'id')",
        ),
    ),
)

TRACK = Topic(
    "What `track()` accepts",
    "0.2.1 encoded the data in its thread, so one wrong value lost a whole batch. Now each call "
    "checks and encodes its event, and a wrong event affects no other.",
    (
        Program(
            "an integer as user: `track(8842, …)`",
            """
            errors = []
            client = make(on_error=errors.append)
            client.track(8842, 'feature_used')
            client.flush()
            show(errors)
            """,
            "The server rejects a number, which 0.2.1 did not notice. Now it is sent as text.",
            show_types,
        ),
        Program(
            "a `UUID` as user",
            """
            from uuid import UUID
            client = make()
            client.track(UUID(int=1), 'feature_used')
            client.flush()
            """,
            "A `UUID` is sent as text.",
            show_types,
        ),
        Program(
            "no user: `track(None, …)`, `track('', …)`",
            """
            errors = []
            client = make(on_error=errors.append)
            client.track(None, 'feature_used')
            client.track('', 'feature_used')
            client.flush()
            show(errors)
            """,
            "Such calls are counted in `stats().not_accepted` and reported at most once a minute.",
            show_types,
        ),
        Program(
            "the number 0 as user: `track(0, …)`",
            """
            client = make()
            client.track(0, 'feature_used')
            client.flush()
            """,
            "0 is a user like any other number.",
            show_types,
        ),
        Program(
            "no event type: `track('user_1', '')`",
            """
            errors = []
            client = make(on_error=errors.append)
            client.track('user_1', '')
            client.flush()
            show(errors)
            """,
            "It is reported like any other wrong name.",
        ),
        Program(
            "an event type with spaces around it: `' feature_used '`",
            """
            client = make()
            client.track('user_1', ' feature_used ')
            client.flush()
            """,
            look=show_types,
        ),
        Program(
            "a wrong event type: `'Feature Used'`",
            """
            errors = []
            client = make(on_error=errors.append)
            client.track('user_1', 'Feature Used')
            client.flush()
            show(errors)
            """,
            look=show_types,
        ),
        Program(
            "a number as event type: `track('user_1', 7)`",
            """
            errors = []
            client = make(on_error=errors.append)
            client.track('user_1', 7)
            client.flush()
            show(errors)
            """,
            "`track()` never raises on data; `strict=True` does.",
            show_types,
        ),
        Program(
            "a `datetime` in the properties",
            """
            from datetime import datetime, timezone
            client = make()
            client.track('user_1', 'feature_used')
            client.track('user_1', 'trial_ended', {'at': datetime.now(timezone.utc)})
            client.flush()
            """,
            "0.2.1 raised from `flush()` and lost the whole batch. "
            "You may remove your own conversions.",
            show_types,
        ),
        Program(
            "a `Decimal` in the properties",
            """
            from decimal import Decimal
            client = make()
            client.track('user_1', 'feature_used', {'price': Decimal('9.90')})
            client.flush()
            """,
            "It is sent as a number.",
            show_first("properties"),
        ),
        Program(
            "`float('nan')` in the properties",
            """
            client = make()
            client.track('user_1', 'feature_used', {'ratio': float('nan')})
            client.flush()
            """,
            "0.2.1 sent `NaN`, which is not JSON.",
            show_first("properties"),
        ),
        Program(
            "a list as properties",
            """
            errors = []
            client = make(on_error=errors.append)
            client.track('user_1', 'feature_used', [1])
            client.flush()
            show(errors)
            """,
            "0.2.1 did not notice that the server had rejected it.",
            show_types,
        ),
        Program(
            "properties that the caller changes after `track()`",
            """
            client = make()
            seats = {'seats': 1}
            client.track('user_1', 'feature_used', seats)
            seats['seats'] = 2
            client.flush()
            """,
            "The event keeps the values of the time of the call.",
            show_first("properties"),
        ),
        Program(
            "a text as `context`",
            """
            errors = []
            client = make(on_error=errors.append)
            client.track('user_1', 'feature_used', {}, 'web')
            client.flush()
            show(errors)
            """,
            "It must be a dictionary. The event is dropped and reported.",
            show_types,
        ),
        Program(
            "`context={'sdk_name': 'mine'}`",
            """
            client = make()
            client.track('user_1', 'feature_used', {}, {'sdk_name': 'mine'})
            client.flush()
            """,
            look=show_first("context", "sdk_name"),
        ),
        Program(
            "`context={'$message_id': 'mine'}`",
            """
            client = make()
            client.track('user_1', 'feature_used', {}, {'$message_id': 'mine'})
            client.flush()
            print('arrived')
            """,
            look=lambda server: (
                "with the id of the caller"
                if server.arrivals()[0].body["context"]["$message_id"] == "mine"
                else "with an id of the SDK"
            ),
        ),
    ),
)

IDENTIFY = Topic(
    "What `identify()` accepts",
    "",
    (
        Program(
            "`email=`, `phone=`, `push_token=`",
            """
            client = make()
            client.identify('user_1', email='a@example.com', phone='+49151123456', push_token='t1')
            client.flush()
            """,
            look=show_first("channels"),
        ),
        Program(
            "a channel without `opted_in`",
            """
            client = make()
            client.identify('user_1', channels=[{'type': 'sms', 'address': '+4915112345678'}])
            client.flush()
            """,
            "0.2.1 claimed a consent that you had not stated. "
            "**Add `'opted_in': True` if the user has agreed.**",
            show_first("channels"),
        ),
        Program(
            "a channel with the key `channel` in place of `type`",
            """
            client = make()
            sms = {'channel': 'sms', 'address': '+4915112345678', 'opted_in': True}
            client.identify('user_1', channels=[sms])
            client.flush()
            """,
            look=show_first("channels"),
        ),
        Program(
            "a channel without `address`",
            """
            errors = []
            client = make(on_error=errors.append)
            client.identify('user_1', channels=[{'type': 'sms'}])
            client.flush()
            show(errors)
            """,
            "`flush()` raised, and the identify was lost. Now the call is dropped and reported.",
            show_types,
        ),
        Program(
            "`preferred_channel='fax'`",
            """
            errors = []
            client = make(on_error=errors.append)
            client.identify('user_1', preferred_channel='fax')
            client.flush()
            show(errors)
            """,
        ),
        Program(
            "a `date` in the traits",
            """
            from datetime import date
            client = make()
            client.identify('user_1', traits={'since': date(2026, 1, 31)})
            client.flush()
            """,
            "Values are encoded as in `track()`.",
            show_first("traits"),
        ),
        Program(
            "no user: `identify(None, …)`",
            """
            client = make()
            client.identify(None, email='a@example.com')
            client.flush()
            """,
            look=show_types,
        ),
    ),
)
