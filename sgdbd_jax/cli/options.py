"""A config's fields as options of a command line, section by section."""

from __future__ import annotations

import argparse
import ast
import dataclasses
from collections.abc import Iterator
from typing import Any

from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import Section, flatten, like, spellings


def add_fields(parser: argparse.ArgumentParser, default: Section) -> None:
    """Adds an option for each field, called by each of its `spellings`.

    Args:
        parser: gains a group of options a section.
        default: a config; its values stand in the help.
    """
    values = flatten(default)
    spelled = spellings(values)
    groups: dict[str, argparse._ArgumentGroup] = {}
    for section, heading, name, item in _fields(default, "run"):
        if section not in groups:
            groups[section] = parser.add_argument_group(section, heading)
        value = values[name]
        extra: dict[str, Any] = {"nargs": "?", "const": "true"} if isinstance(value, bool) else {}
        shown = repr(value) if isinstance(value, str) else str(value)
        groups[section].add_argument(
            *(f"--{spelling}" for spelling in spelled[name]),
            dest=name,
            metavar=type(value).__name__.upper(),
            help=f"{item.metadata['meaning']} [{shown}]".replace("%", "%%"),
            **extra,
        )


def read_fields(options: argparse.Namespace, config: Any) -> dict[str, Any]:
    """The values that a command line gives, by dotted name, each of the type that its field has.

    Args:
        options: parsed by a parser of `add_fields`.
        config: of the same class.

    Raises:
        UserError: a value of another kind.
    """
    defaults = flatten(config)
    texts = {name: getattr(options, name) for name in defaults}
    return {name: value_of(name, text, defaults[name]) for name, text in texts.items() if text is not None}


def value_of(name: str, text: str, default: Any) -> Any:
    """A field's value from its text, of the type that `default` has."""
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise UserError(f"{name}: {text!r} is neither true nor false")
    try:
        if (
            isinstance(default, tuple)
            and all(isinstance(each, str) for each in default)
            and not text.startswith(("(", "["))
        ):
            return tuple(part.strip() for part in text.split(","))
        value = ast.literal_eval(text)
        return like(
            default,
            (value,) if isinstance(default, tuple) and not isinstance(value, (tuple, list)) else value,
            name=name,
        )
    except (UserError, ValueError, TypeError, SyntaxError) as error:
        raise UserError(f"{name}: {text!r} is not of the kind that {default!r} is") from error


def _fields(section: Any, title: str, prefix: str = "") -> Iterator[tuple[str, str, str, dataclasses.Field]]:
    """A section's title, the first line of what it says of itself, and a field's dotted name and the field."""
    heading = (type(section).__doc__ or "").strip().splitlines()[0]
    for item in dataclasses.fields(section):
        if not isinstance(getattr(section, item.name), Section):
            yield title, heading, prefix + item.name, item
    for item in dataclasses.fields(section):
        value = getattr(section, item.name)
        if isinstance(value, Section):
            yield from _fields(value, prefix + item.name, f"{prefix}{item.name}.")
