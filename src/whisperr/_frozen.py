"""The base class of the immutable values of the package.

A frozen dataclass would do, but importing `dataclasses` takes 8 ms, because it loads `inspect`.
Every process that imports the package would pay for that.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing.TYPE_CHECKING` without the import of `typing`
if TYPE_CHECKING:
    from typing import Any, ClassVar, NoReturn


class Frozen:
    """A value whose fields cannot be changed. Two are equal if all their fields are equal."""

    __slots__: tuple[str, ...] = ()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted")

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self._fields().items())
        return f"{type(self).__name__}({fields})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return self._fields() == other._fields()

    __hash__: ClassVar[None]  # type: ignore[assignment]  # fields may hold dictionaries

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, (type(self), self._fields())

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


def _make(kind: type[Frozen], fields: dict[str, Any]) -> Frozen:
    return kind(**fields)
