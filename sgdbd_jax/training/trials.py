"""Trainings to compare: each a preset with some fields changed, in a folder by name and seed."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sgdbd_jax.config import FREE_FIELDS, MADE, Config
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import flatten, replace
from sgdbd_jax.training.workdir import PROGRAM, read_config


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        says: what it is, for a table.
        changes: of the preset's fields.
        after: the trial whose generator of the same seed it starts from, instead of pastes of its own.
        needs_masks: whether it may see masks: the upper bound alone.
        preset: what it changes, if not that of the others.
    """

    says: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    after: str = ""
    needs_masks: bool = False
    preset: Config | None = None


@dataclass(frozen=True)
class Trials:
    """Trials over one collection of photos.

    Attributes:
        trials: by name.
        preset: what each of them changes that has none of its own.
        folder: holds each training as `NAME/SEED`.
        photos: changes that name the photos: `source`, `clear`, ...
        masks: changes that name masks, for the trials that may see them.
    """

    trials: Mapping[str, Trial]
    preset: Config
    folder: Path
    photos: Mapping[str, Any]
    masks: Mapping[str, Any]

    def workdir(self, name: str, seed: int) -> Path:
        """Where a trial is trained."""
        return self.folder / name / str(seed)

    def generator(self, name: str, seed: int) -> Path:
        """The weight file that a finished trial leaves."""
        return self.workdir(name, seed) / "generator.safetensors"

    def config(self, name: str, seed: int) -> Config:
        """What a trial is trained with."""
        trial = self.trials[name]
        changes: dict[str, Any] = {"seed": seed, **self.photos}
        if trial.needs_masks:
            changes |= self.masks
        if trial.after:
            changes |= {"warm_steps": 0, "generator_weights": str(self.generator(trial.after, seed))}
        return replace(trial.preset or self.preset, {**changes, **trial.changes})

    def finished(self, name: str) -> dict[int, Path]:
        """The generators of a trial, by seed; folders that are not named by one are passed over, with a warning."""
        files = {path.parent.name: path for path in sorted((self.folder / name).glob("*/generator.safetensors"))}
        seeds = {int(seed): path for seed, path in files.items() if seed.isdecimal() and str(int(seed)) == seed}
        for path in sorted(set(files.values()).difference(seeds.values())):
            warnings.warn(f"{path.parent}: passed over, its name is no seed", stacklevel=2)
        return dict(sorted(seeds.items()))

    def check(
        self, name: str, seed: int, *, scored_names: str | None = None, photos: Mapping[str, str] | None = None
    ) -> None:
        """Refuses a finished training that is not the trial's: trials have changed, and will.

        Places are not compared, for they may move. What a training started from is, where it is still there, and so is
        whether it learned from the names that are scored.

        Args:
            name, seed: the training.
            scored_names: the names that are to be scored, as a config has them.
            photos: what tells the photos of today from others, as `fingerprints` gives it; those of a set that the
                training had too must be the same.

        Raises:
            UserError: it was made by another version, with other choices, from another generator, from other photos, or
                from those that are scored.
        """
        from sgdbd_jax.training.start import digests  # loads what computes; a command's help does without

        workdir = self.workdir(name, seed)
        if not (workdir / "config.json").exists():
            warnings.warn(f"{workdir}: holds no config.json, so nothing tells whether it is this trial's", stacklevel=2)
            return
        before = read_config(workdir)
        if before["made_by"] != PROGRAM:
            raise UserError(f"{workdir}: holds a training of {before['made_by']}; move it away")
        config = self.config(name, seed)
        stored, starts = before["config"], digests(config)
        choices = {
            key: value
            for key, value in json.loads(json.dumps(flatten(config))).items()
            if ".input." not in key and not (isinstance(value, str) and key in FREE_FIELDS)  # most of which are places
        }
        other = [f"{k} {stored.get(k)!r}, not {value!r}" for k, value in choices.items() if stored.get(k) != value]
        if _kind(stored.get("sets.blur")) != _kind(config.sets.blur):
            other.append(f"sets.blur {stored.get('sets.blur')!r}, not {config.sets.blur!r}")
        for what, photo_set in (photos or {}).items():
            if before["inputs"].get(what, photo_set) != photo_set:
                other.append(f"{what} {before['inputs'][what]}, not {photo_set}")
        for what, digest in starts.items():
            if what not in before["inputs"]:
                warnings.warn(
                    f"{workdir}: nothing tells from which {what.removeprefix('given ')} it started", stacklevel=2
                )
            elif before["inputs"][what] != digest:
                other.append(f"{what} {before['inputs'][what]}, not {digest}")
        if scored_names is not None and stored.get("sets.names") == scored_names:
            other.append(f"names {scored_names}, which are scored")
        if other:
            raise UserError(f"{workdir}: holds another training than this trial's ({'; '.join(other)}); move it away")


def _kind(blur: object) -> object:
    """What set `blur` is, but for where it lies."""
    return blur if blur in ("", MADE) else "a place"
