"""A work folder belongs to one run: what it was started with is written there, and compared when it goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sgdbd_jax import __version__
from sgdbd_jax.config import FREE_FIELDS, MASK_FIELDS, Config
from sgdbd_jax.errors import UserError, shown
from sgdbd_jax.fields import flatten
from sgdbd_jax.files import write_atomically

PROGRAM = f"sgdbd_jax {__version__}"


def check_name(workdir: Path) -> None:
    """Refuses a work folder under whose name nothing could be saved, before there is anything to save.

    Raises:
        UserError: its path is no Unicode, as names of bytes may be on Linux.
    """
    path = workdir.absolute()
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        message = "is no Unicode text, under which checkpoints cannot be saved; name another folder"
        raise UserError(f"{shown(path)}: {message}") from error


def claim_workdir(workdir: Path, config: Config, inputs: Mapping[str, str] | None = None) -> None:
    """Binds a work folder to a run: writes `config.json` in a fresh one, compares it in a used one.

    Args:
        workdir: the folder.
        config: all but its `FREE_FIELDS` must stay; of these, `MASK_FIELDS` where there is validation, and where a
            generator learns from its own masks, their gain and middle, and the game's steps before that.
        inputs: what tells its photos, and the weights that it starts from, from others, by name.

    Raises:
        UserError: the folder holds a run of another version, config or inputs (all that differs is listed), or cannot
            be written, or `check_name` refuses it.
    """
    check_name(workdir)
    path = workdir / "config.json"
    now = json.loads(json.dumps({"made_by": PROGRAM, "config": flatten(config), "inputs": dict(inputs or {})}))
    done = (workdir / "classifier.safetensors").exists() or any((workdir / "checkpoints").glob("*/[0-9]*"))
    before = read_config(workdir) if path.exists() else None
    if done and before is not None:  # a start that was refused, or failed, before it had anything to keep binds nothing
        if before["made_by"] != PROGRAM:
            raise UserError(
                f"{workdir}: holds a run of {before['made_by']}, this is {PROGRAM}; finish it with that version, or"
                " choose another --workdir"
            )
        # What learns from its own masks learns from those that the game, as long as it was, has led to.
        taught = bool(config.self_training.taught_steps) and not config.supervised
        fixed = {"game.steps", "prediction.gain", "prediction.middle"} if taught else set()
        fixed |= MASK_FIELDS if "photos of validation" in now["inputs"] else set()
        changed = differences(before["config"], now["config"], leave_out=FREE_FIELDS - fixed)
        changed += differences(before["inputs"], now["inputs"])
        if changed:
            asks = any(line.split()[0] in MASK_FIELDS for line in changed)
            why = "; validation and taught_steps go by masks as they were asked for" if asks else ""
            raise UserError(
                f"{workdir}: holds a run of another config ({'; '.join(changed)}){why}; choose another --workdir"
            )
    write_atomically(path, json.dumps(now, indent=1).encode())


def read_config(workdir: Path) -> dict[str, Any]:
    """What a run's `config.json` holds: `made_by`, `config` by dotted name, `inputs` by name.

    Raises:
        UserError: it cannot be read.
    """
    path = workdir / "config.json"
    try:
        stored = json.loads(path.read_text())
        if isinstance(stored, dict) and "made_by" not in stored:  # as versions before 0.2 wrote it
            return {"made_by": "a version of sgdbd_jax before 0.2", "config": stored, "inputs": {}}
        if not all(isinstance(stored[name], dict) for name in ("config", "inputs")):
            raise ValueError("no config and inputs")
        return stored
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path}: not a readable config ({error}); choose another --workdir") from error


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], *, leave_out: frozenset[str] = frozenset()
) -> list[str]:
    """What differs between two flat mappings, in words."""
    return [
        f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in sorted((before.keys() | now.keys()) - leave_out)
        if before.get(name) != now.get(name)
    ]
