"""Encodes a value as JSON text level by level, with the standard library's C encoder.

All values of one depth are checked together, by calls that run in C. Then the C encoder writes the
whole. For a value of a type that JSON lacks it calls back for a stand-in. A container that it would
not write as our rules require is replaced, in copies of the containers around it. So a value of any
size costs little more than with `json.dumps`, and one date in it costs one conversion.

`GeneralEncoder` handles a value that exceeds a limit or cannot be read, and its error names the
path. It gets the items of iterators that were read here.

Pure. Threads: any thread; no locks. If another thread changes a container meanwhile,
`GeneralEncoder` encodes the value.
"""

from __future__ import annotations

from itertools import accumulate, chain, islice

from whisperr._process.interruption import is_interruption

from .general import (
    ENUM,
    LITERAL,
    MAX_CHARS,
    MAX_DEPTH,
    MAX_VALUES,
    OBJECT,
    SEQUENCES,
    TEXT,
    get_conversion,
    get_members,
    quote,
    to_key,
    to_str,
)
from .plain import (
    ARRAYS,
    MAX_PLAIN_CHARS,
    NAMES,
    PLAIN,
    TEXTS,
    UnsuitableError,
    is_plain,
    make_plain_encoder,
    refuse_kind,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from .general import Consumed, Conversion

# Names are estimated by the length of the longest; above this estimate they are counted exactly.
_MAX_ROUGH_CHARS = 100_000
# A placeholder for a literal that the C encoder cannot write, such as a Decimal; and as written.
_PLACEHOLDER = "\0literal"
_WRITTEN_PLACEHOLDER = quote(_PLACEHOLDER)
# What the C encoder writes for numbers that JSON lacks.
_NAN, _INFINITY = "NaN", "Infinity"


# Made once: `json.dumps` makes a new one at every call, which costs 1.2 us.
_encode_plain = make_plain_encoder(refuse_kind)


class _Level:
    """All values of one depth.

    - `dicts`, `arrays`: the containers among them, then the stand-ins for other values, whose ids
      are in `dict_ids` and `array_ids`. Their contents are the next level.
    - `changed`: the old and the new value of each replacement, by index.
    """

    __slots__ = ("array_ids", "arrays", "changed", "dict_ids", "dicts", "values")

    def __init__(self, values: list[Any]) -> None:
        self.values = values
        self.changed: dict[int, tuple[Any, Any]] = {}
        self.dicts: list[dict[Any, Any]] = []
        self.dict_ids: list[int] = []
        self.arrays: list[Any] = []
        self.array_ids: list[int] = []

    def change(self, index: int, new: object) -> None:
        """Replace the value at `index`, and remember the original."""
        old = self.changed[index][0] if index in self.changed else self.values[index]
        self.changed[index] = old, new
        self.values[index] = new

    def get_places(self) -> list[int]:
        """Return where each dict and array is: an index, or for a stand-in the id, negated."""
        dicts = [index for index, one in enumerate(self.values) if type(one) is dict]
        arrays = [index for index, one in enumerate(self.values) if type(one) in ARRAYS]
        dicts += [-one for one in self.dict_ids]
        return [*dicts, *arrays, *[-one for one in self.array_ids]]

    def get_next(self) -> list[Any]:
        """Return the contents of the containers of this level."""
        in_dicts = chain.from_iterable(map(dict.values, self.dicts))
        return [*in_dicts, *chain.from_iterable(self.arrays)]


class LevelEncoder:
    """Encodes one value."""

    __slots__ = (
        "_chars_left",
        "_consumed",
        "_levels",
        "_literals",
        "_stand_ins",
        "_values",
        "conversions",
    )

    def __init__(self, consumed: Consumed) -> None:
        """Record in `consumed` the iterators that are read, for the general encoder."""
        self._consumed = consumed
        self._chars_left = MAX_PLAIN_CHARS
        self._values = 1
        self._levels: list[_Level] = []
        # By type, for types that JSON lacks.
        self.conversions: dict[type, Conversion] = {}
        # By the id of a value of such a type; the levels keep the values alive.
        self._stand_ins: dict[int, Any] = {}
        self._literals: list[str] = []

    def encode(self, root: object) -> str | None:
        """Return `root` as JSON text; None if only the general encoder can write or refuse it."""
        try:
            if not self._walk([root]):
                return "".join(_encode_plain(root, 0)) if is_plain(root) else None
            text = self._write(self._rebuild())
            return text if len(text) <= MAX_CHARS else None  # `_walk` does not count digits
        except Exception as error:
            if is_interruption(error):
                raise
            return None

    # -- down

    def _walk(self, values: list[Any]) -> bool:
        """Check all levels; return False if there are too many values.

        Raise UnsuitableError for other limits. The size of a level is checked before it is built.
        """
        while True:
            level = _Level(values)
            self._levels.append(level)
            kinds = {*map(type, values)}
            if not PLAIN.issuperset(kinds):
                self._convert_others(level, kinds)
                if level.changed:
                    kinds = {*map(type, values)}
            self._measure(values, kinds)
            if dict in kinds:
                level.dicts = [one for one in values if type(one) is dict] + level.dicts
            if list in kinds or tuple in kinds:
                level.arrays = [one for one in values if type(one) in ARRAYS] + level.arrays
            if not level.dicts and not level.arrays:
                return True
            if len(self._levels) > MAX_DEPTH:
                raise UnsuitableError
            count = sum(map(len, level.dicts))
            if count:
                self._measure_names(level, count)
            self._values += count + sum(map(len, level.arrays))
            if self._values > MAX_VALUES:
                return False
            values = level.get_next()

    def _measure(self, values: list[Any], kinds: set[type]) -> None:
        """Count the characters of plain values."""
        left = self._chars_left - len(values)  # their commas
        if str in kinds:
            texts = values if len(kinds) == 1 else [one for one in values if type(one) is str]
            left -= sum(map(len, texts))
        self._chars_left = left
        if left < 0:
            raise UnsuitableError

    def _measure_names(self, level: _Level, count: int) -> None:
        """Count the characters of `count` names; replace dicts whose names are not plain."""
        names = {*chain.from_iterable(level.dicts)}
        if not TEXTS.issuperset(map(type, names)):
            if not NAMES.issuperset(map(type, names)):
                self._replace_dicts(level)
            names = {*map(str, chain.from_iterable(level.dicts))}
        chars = max(map(len, names), default=0) * count
        if chars > _MAX_ROUGH_CHARS:
            every = chain.from_iterable(level.dicts)
            chars = sum(map(len, map(str, every)))
        self._use_chars(chars)

    def _replace_dicts(self, level: _Level) -> None:
        """Convert the names of all dicts of a level to strings."""
        for index, one in enumerate(level.values):
            if type(one) is dict and not TEXTS.issuperset(map(type, one)):
                level.change(index, self._to_dict(one.items()))
        standing_in = level.dicts[len(level.dicts) - len(level.dict_ids) :]
        level.dicts = [one for one in level.values if type(one) is dict]
        level.dicts += standing_in  # their names are strings already

    # -- values of types that JSON lacks

    def _convert_others(self, level: _Level, kinds: set[type]) -> None:
        """Record the conversions of these types, and convert enums and objects."""
        for kind in kinds:
            if kind not in PLAIN and kind not in self.conversions:
                self.conversions[kind] = get_conversion(kind)
        ways = {kind: self.conversions[kind][0] for kind in kinds if kind not in PLAIN}
        texts = [kind for kind, way in ways.items() if way is TEXT and issubclass(kind, str)]
        if texts:  # the C encoder does not call back for these
            self._use_chars(sum(str.__len__(one) for one in level.values if type(one) in texts))
        if ENUM not in ways.values() and OBJECT not in ways.values():
            return
        for index, value in enumerate(level.values):
            way = ways.get(type(value))
            if way is OBJECT:
                self._convert_object(level, index, value)
            elif way is ENUM:
                self._convert_enum(value)

    def _convert_enum(self, member: Any) -> None:  # noqa: ANN401  # of any Enum
        if isinstance(member, (str, int, float)):  # the C encoder would not call back for it
            raise UnsuitableError
        value: object = member.value
        kind = type(value)
        if kind is dict or kind in ARRAYS:
            raise UnsuitableError
        self._values += 1
        if self._values > MAX_VALUES:
            raise UnsuitableError
        if kind not in PLAIN:
            self.conversions[kind] = get_conversion(kind)
            if self.conversions[kind][0] not in (LITERAL, TEXT):
                raise UnsuitableError
        self._measure([value], {kind})
        self._stand_ins[id(member)] = value

    def _convert_object(self, level: _Level, index: int, value: Any) -> None:  # noqa: ANN401  # any object
        """Make the stand-in for an object: a dict, a list, or its text."""
        if len(self._levels) > MAX_DEPTH:
            raise UnsuitableError
        new = self._stand_ins.get(id(value))
        if new is None:
            members = get_members(value)
            if members is not None:
                new = self._to_dict(members.items())
            elif isinstance(value, SEQUENCES) and not isinstance(
                value, str
            ):  # no proxy for a string
                new = self._to_list(value)
            else:
                new = to_str(value)
            self._stand_ins[id(value)] = new
        elif id(value) in self._consumed:  # the same iterator a second time
            raise UnsuitableError
        if type(new) is str:
            self._use_chars(len(new))
        if issubclass(type(value), (dict, list, tuple, str, int, float)):
            # The C encoder does not call back for it.
            level.change(index, new)
        elif type(new) is dict:
            level.dicts.append(new)
            level.dict_ids.append(id(value))
        elif type(new) is list:
            level.arrays.append(new)
            level.array_ids.append(id(value))

    def _to_dict(self, members: Iterable[tuple[Any, object]]) -> dict[str, object]:
        """Return members with strings as names; raise UnsuitableError if two names are the same."""
        pairs = [*islice(members, MAX_VALUES - self._values + 1)]
        new = dict(pairs)
        if not TEXTS.issuperset(map(type, new)):
            new = {key if type(key) is str else to_key(key): value for key, value in pairs}
        if len(new) != len(pairs) or len(pairs) > MAX_VALUES - self._values:
            raise UnsuitableError
        return new

    def _to_list(self, value: Any) -> list[object]:  # noqa: ANN401  # of any type
        items: list[object] = []
        most = MAX_VALUES - self._values + 1
        if not hasattr(type(value), "__next__"):
            items.extend(islice(value, most))
        else:
            rest: Iterator[object] = value
            try:
                items.extend(islice(value, most))
            except Exception as error:
                rest = _raise(error)
                raise
            finally:  # even after an error: the items before it cannot be read again
                self._consumed[id(value)] = value, chain(items, rest)
        if len(items) == most:
            raise UnsuitableError
        return items

    def _use_chars(self, chars: int) -> None:
        self._chars_left -= chars
        if self._chars_left < 0:
            raise UnsuitableError

    def _get_stand_in(self, value: Any) -> object:  # noqa: ANN401  # of any type
        """Return the stand-in for a value; the C encoder calls this while it writes."""
        way, base, convert = self.conversions[type(value)]
        if convert is None:
            return self._stand_ins[id(value)]
        text = convert(base, value)
        self._use_chars(len(text))
        if way is TEXT:
            return text
        if text == "null":
            return None
        self._literals.append(text)
        return _PLACEHOLDER

    # -- up

    def _rebuild(self) -> object:
        """Return the root with all changes, in copies of the containers around them."""
        levels = self._levels
        for depth in range(len(levels) - 1, 0, -1):
            if levels[depth].changed:
                self._change_parents(levels[depth - 1], levels[depth].changed)
        return levels[0].values[0]

    def _change_parents(self, level: _Level, changed: dict[int, tuple[Any, Any]]) -> None:
        """Replace the containers of a level by copies with the changes of the level below."""
        from bisect import bisect_right

        parents = [*level.dicts, *level.arrays]
        ends = [*accumulate(map(len, parents))]
        copies: dict[int, tuple[Any, Any, int]] = {}
        for index, (old, new) in changed.items():
            number = bisect_right(ends, index)
            if number not in copies:
                parent = parents[number]
                is_dict = type(parent) is dict
                copy: Any = parent.copy() if is_dict else [*parent]
                keys = [*parent] if is_dict else range(len(copy))
                copies[number] = copy, keys, ends[number] - len(keys)
            copy, keys, start = copies[number]
            key = keys[index - start]
            if copy[key] is not old:  # another thread changed it meanwhile
                raise UnsuitableError
            copy[key] = new
        places = level.get_places()
        for number, (copy, _, _) in copies.items():
            if places[number] >= 0:
                level.change(places[number], copy)
            else:
                self._stand_ins[-places[number]] = copy

    def _write(self, root: object) -> str:
        encode = make_plain_encoder(self._get_stand_in) if self.conversions else _encode_plain
        try:
            text = "".join(encode(root, 0))
        except ValueError as error:
            if is_interruption(error):
                raise
            self._literals.clear()
            text = self._write_nonfinite(root)
        return self._fill(text) if self._literals else text

    def _write_nonfinite(self, root: object) -> str:
        """Return the JSON text with null for NaN and the infinities."""
        encode = make_plain_encoder(self._get_stand_in, allow_nan=True)
        text = "".join(encode(root, 0))
        values = chain.from_iterable(level.values for level in self._levels)
        values = chain(values, self._stand_ins.values())
        odd = [one for one in values if isinstance(one, float) and one * 0.0 != 0.0]
        nans = [one for one in odd if one != one]  # noqa: PLR0124  # only NaN is not itself
        # If the text has more of them, some are inside strings.
        if text.count(_NAN) != len(nans) or text.count(_INFINITY) != len(odd) - len(nans):
            raise UnsuitableError
        text = text.replace(_NAN, "null").replace(f"-{_INFINITY}", "null")
        return text.replace(_INFINITY, "null")

    def _fill(self, text: str) -> str:
        """Return the text with its placeholders replaced by the literals."""
        parts = text.split(_WRITTEN_PLACEHOLDER)
        if len(parts) != len(self._literals) + 1:  # a caller's string equals a placeholder
            raise UnsuitableError
        return "".join(chain.from_iterable(zip(parts, [*self._literals, ""], strict=True)))


def _raise(error: Exception) -> Iterator[object]:
    yield from ()
    raise error
