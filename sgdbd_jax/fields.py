"""Sections of choices: frozen dataclasses whose fields say what they mean, in which unit, and what they may be.

Configs nest, so a field has a dotted name, as `game.eta`. Any ending of it that no other field shares names it too:
`eta`; or `generator_optimiser.momentum`, for there are several momenta.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sgdbd_jax.errors import UserError


@dataclass(frozen=True)
class Bound:
    """What a value may be: a test, and the words for whoever fails it."""

    words: str
    holds: Callable[[Any], bool]


def one_of(*choices: str) -> Bound:
    """One of these texts."""
    return Bound(f"is none of {', '.join(map(repr, choices))}", lambda value: value in choices)


def _is_range(value: tuple[Any, ...]) -> bool:
    return len(value) == 2 and 0 < value[0] <= value[1] < math.inf


AT_LEAST_1 = Bound("must be at least 1", lambda value: value >= 1)
NOT_NEGATIVE = Bound("must not be negative", lambda value: value >= 0)
POSITIVE = Bound("must be finite and positive", lambda value: 0 < value < math.inf)
ALL_FINITE = Bound("must be finite", lambda value: all(math.isfinite(each) for each in value))
ALL_POSITIVE = Bound("must be finite and positive", lambda value: all(0 < each < math.inf for each in value))
WEIGHT = Bound("must be finite and not negative", lambda value: 0 <= value < math.inf)
UP_TO_1 = Bound("must be from 0 to 1", lambda value: 0 <= value <= 1)
SHARE = Bound("must be at least 0 and below 1", lambda value: 0 <= value < 1)
INSIDE = Bound("must be above 0 and below 1", lambda value: 0 < value < 1)
RANGE = Bound("must be two positive numbers, the smaller first", _is_range)


def option(default: Any, meaning: str, bound: Bound | None = None) -> Any:
    """A field with its default, its meaning (for `--help` and for readers) and, where there is one, its bound."""
    return dataclasses.field(default=default, metadata={"meaning": meaning, "bound": bound})


@dataclass(frozen=True)
class Section:
    """A frozen dataclass that refuses values beyond its fields' bounds, and values that do not go together."""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            bound: Bound | None = item.metadata.get("bound")
            value = getattr(self, item.name)
            if bound is None:
                continue
            try:
                allowed = bound.holds(value)
            except TypeError:  # a text for a number
                allowed = False
            if not allowed:
                raise UserError(f"{item.name}: {value!r} {bound.words}")
        self.check()

    def check(self) -> None:
        """Refuses values that do not go together.

        Raises:
            UserError: the message begins with a field's name.
        """


def flatten(section: Any, prefix: str = "") -> dict[str, Any]:
    """All values by their dotted names: `{"generator.width": 1.0, ...}`."""
    flat: dict[str, Any] = {}
    for item in dataclasses.fields(section):
        value = getattr(section, item.name)
        if dataclasses.is_dataclass(value):
            flat.update(flatten(value, f"{prefix}{item.name}."))
        else:
            flat[prefix + item.name] = value
    return flat


def spellings(names: Iterable[str]) -> dict[str, list[str]]:
    """The names that each field answers to.

    Args:
        names: dotted names, as `flatten` gives them.

    Returns:
        Dotted name to every ending of it that names no other field, shortest first.
    """
    endings = {name: [name.split(".", at)[-1] for at in range(name.count("."), -1, -1)] for name in names}
    count = collections.Counter(ending for ends in endings.values() for ending in ends)
    return {name: [end for end in ends if count[end] == 1 or end == name] for name, ends in endings.items()}


def replace(section: Any, changes: Mapping[str, Any]) -> Any:
    """A copy with some values changed.

    Args:
        section: a config, or a part of one.
        changes: new values by dotted name, or by an ending that no other field shares; whole sections by their name.
            Lists become tuples.

    Raises:
        UserError: no such field, several such fields, or a value that its section refuses.
    """
    parts = dict(_parts(section))
    names = spellings([*flatten(section), *parts])
    known = {spelling: name for name, spelled in names.items() for spelling in spelled}
    values: dict[str, Any] = {}
    defaults = flatten(section) | parts
    for name, value in changes.items():
        if name not in known or isinstance(value, Section) != (known[name] in parts):
            several = [full for full in names if full.endswith(f".{name}") and full not in parts]
            if len(several) > 1:
                raise UserError(f"{name}: which config field, {' or '.join(several)}?")
            raise UserError(f"{name}: no such config field")
        default = defaults[known[name]]
        if isinstance(default, Section) and type(value) is not type(default):
            raise UserError(f"{name}: no such config field of {type(value).__name__}")
        values[known[name]] = value if isinstance(value, Section) else like(default, value, name=name)
    return _replace(section, values)


def like(default: Any, value: Any, *, name: str) -> Any:
    """A value as the type of its field: a whole number may stand for a float, a list for a tuple.

    Tuples of floats are ranges and colours, which have a fixed length; others list layers, as many as one likes.

    Args:
        default: a value of the field.
        value: the new one.
        name: of the field, for the message.

    Raises:
        UserError: it is of another kind.
    """
    try:
        return _like(default, value)
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(f"{name}: {value!r} is not of the kind that {default!r} is") from error


def _like(default: Any, value: Any) -> Any:
    if isinstance(default, tuple):  # all elements as the first one of `default`
        if not isinstance(value, (tuple, list)) or (isinstance(default[0], float) and len(value) != len(default)):
            raise ValueError(value)
        return tuple(_like(default[0], item) for item in value)
    if isinstance(default, (bool, str)) or isinstance(value, (bool, str)):
        if type(value) is not type(default):
            raise ValueError(value)
        return value
    if isinstance(value, float) and not math.isfinite(value) and isinstance(default, float):
        return value  # which its bound refuses, or not
    if value != type(default)(value):
        raise ValueError(value)
    return type(default)(value)


def _parts(section: Any, prefix: str = "") -> Iterable[tuple[str, Section]]:
    """The sections inside a section, by dotted name."""
    for item in dataclasses.fields(section):
        value = getattr(section, item.name)
        if isinstance(value, Section):
            yield prefix + item.name, value
            yield from _parts(value, f"{prefix}{item.name}.")


def _replace(section: Any, changes: Mapping[str, Any]) -> Any:
    """The same, for dotted names that exist."""
    here = {name: value for name, value in changes.items() if "." not in name}
    for part in {name.partition(".")[0]: None for name in changes if "." in name}:
        below = {name.partition(".")[2]: value for name, value in changes.items() if name.startswith(f"{part}.")}
        try:
            here[part] = _replace(here.get(part, getattr(section, part)), below)
        except UserError as error:
            raise UserError(f"{part}.{error}") from error
    return dataclasses.replace(section, **here)


def to_dict(section: Any) -> dict[str, Any]:
    """A config as nested dicts and tuples, ready for JSON."""
    return dataclasses.asdict(section)


def from_dict(kind: type, values: Mapping[str, Any]) -> Any:
    """Inverse of `to_dict`, also after a trip through JSON.

    Raises:
        UserError: a field that this version does not know, or a value that it refuses.
    """
    return replace(kind(), dict(_leaves(values)))


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
