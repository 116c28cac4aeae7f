"""Typed events: classes that describe the events of an application.

Example::

    from typing import Literal

    import whisperr

    class PlanUpgraded(whisperr.Event):  # event type: plan_upgraded
        plan: Literal["free", "pro", "team"]
        seats: int
        coupon: str | None = None

    client.track("user_8842", PlanUpgraded(plan="pro", seats=9))

.. versionadded:: 1.0
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar

from ._contract import is_event_type
from ._typed_event import TypedEvent

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object):  # noqa: ANN202  # for type checkers, which read the import
        """Return a decorator that changes nothing."""
        return lambda cls: cls


__all__ = ["Event"]

# Before a capital that follows a lowercase character or a digit, or that begins the next word.
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_RESERVED = ("event_type",)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Event(TypedEvent):
    """The base class of typed events. A subclass describes one type of event.

    Each annotated attribute of a subclass is a field, as in a dataclass, and becomes a property of
    the event. Every subclass is a frozen dataclass whose arguments are keywords; do not decorate
    it. `Whisperr.track` and the trackers take an instance in place of the event type and the
    properties. A field whose value is None is not sent, unless `whisperr.scope` or
    `default_properties` fills it. `whisperr events` lists the classes as a tracking plan.

    A wrong, missing or unknown argument is an error of the type checker. At run time, a missing or
    unknown one raises TypeError where the event is made. The client checks the types of the values
    if it is `strict`, as in tests, and sends the event as it is otherwise.

    The event type is the name of the class in snake case: `PlanUpgraded` is `"plan_upgraded"`. Each
    class has it as `event_type`, which is an empty string for an abstract class.

    Example::

        class PlanUpgraded(Event):
            plan: Literal["free", "pro", "team"]
            seats: int
            coupon: str | None = None

        class SeatsChanged(Event, event_type="seat_count_changed"):
            seats: int

        client.track("user_8842", PlanUpgraded(plan="pro", seats=9))

    Args:
        event_type: An argument of the class statement: another event type than the name of the
            class, in lowercase snake case.
        abstract: An argument of the class statement: True for a class that only has the fields
            that its subclasses share. It cannot be instantiated.

    Raises:
        TypeError: The class statement is wrong: the event type is not lowercase snake case, or a
            field is called `event_type` or begins with an underscore.

    .. versionadded:: 1.0
    """

    event_type: ClassVar[str] = ""

    if not TYPE_CHECKING:

        def __init__(self, **_: object) -> None:
            """Raise TypeError: this is the constructor of abstract classes."""
            raise TypeError(f"{type(self).__name__} is abstract: make an event of a subclass")

    def __init_subclass__(
        cls, *, event_type: str | None = None, abstract: bool = False, **others: object
    ) -> None:
        """Make the new class a frozen dataclass with an event type."""
        super().__init_subclass__(**others)
        if "event_type" in vars(cls):
            raise TypeError(
                f"{cls.__name__}: event_type is an argument of the class statement; write "
                f"class {cls.__name__}(Event, event_type={vars(cls)['event_type']!r})"
            )
        cls.event_type = "" if abstract else event_type or to_event_type(cls.__name__)
        if not abstract and not is_event_type(cls.event_type):
            raise TypeError(
                f"{cls.__name__}: event_type {cls.event_type!r} must be lowercase snake case, as "
                f'in class {cls.__name__}(Event, event_type="plan_upgraded")'
            )
        # The types are those of the class statement: a decorated class would be another one.
        docstring = cls.__doc__
        dataclass(frozen=True, kw_only=True)(cls)
        cls.__doc__ = docstring  # `dataclass` writes the signature in place of a missing one
        if abstract:
            setattr(cls, "__init__", Event.__init__)  # noqa: B010  # else it is a declaration for pyright
        cls._fields = tuple(one.name for one in fields(cls))  # type: ignore[arg-type]  # since the line above
        for name in cls._fields:
            if name in _RESERVED or name.startswith("_"):
                raise TypeError(f"{cls.__name__}.{name}: a field cannot have this name")


def to_event_type(class_name: str) -> str:
    """Return the name of a class in snake case."""
    return _WORD.sub("_", class_name).lower()
