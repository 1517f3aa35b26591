"""Runs detectors on one set of photos, one after the other: their maps are made, kept, scored, and a few are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from sgdbd_jax.backend import start_jax
from sgdbd_jax.baselines.detectors import Entry
from sgdbd_jax.baselines.trained import learned_from, trained_file
from sgdbd_jax.data.pairs import load_pair
from sgdbd_jax.data.photos import White
from sgdbd_jax.data.resizing import resize_photo
from sgdbd_jax.errors import Unavailable, UserError
from sgdbd_jax.evaluation.comparison import Row, RowTally
from sgdbd_jax.evaluation.kept_maps import Failed, KeptMaps, Made
from sgdbd_jax.evaluation.pairs import MaskOf, Pair
from sgdbd_jax.files import file_sha256
from sgdbd_jax.machine import described

SHOWN, WIDTH = 6, 150  # photos in the picture of maps, and pixels of each across

Watch = Callable[[str, Sequence[Pair]], Iterable[Pair]]  # gives the pairs on, and tells how far a detector is


class SideBySide:
    """A set of photos, and what is found of each detector on it; of the maps, none but those to show stay in memory.

    Args:
        pairs: of photos and ground truths, that have been checked.
        white: what white means in the ground truths.
        folder: of the results: `maps/` in it holds maps, a folder a detector, `weights/` what was trained.
        say: takes a line for the user.
        watch: shows progress.
        time_again: how many photos of each detector are done again for its seconds, whatever is kept.

    Attributes:
        digests: of each photo's file: what tells it from others.
        failures: how many maps, or detectors, went wrong.
        machines: on which seconds were measured.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        white: White,
        folder: Path,
        say: Callable[[str], None],
        watch: Watch,
        time_again: int = 0,
    ) -> None:
        self.pairs, self._white, self._folder, self._say, self._watch = pairs, white, folder, say, watch
        self.digests = {photo: photo_digest(photo) for photo, _ in pairs}
        self.failures = 0
        self._time_again = time_again
        self.machines: set[str] = set()
        start_jax()
        self._machine = described()
        places = np.linspace(0, len(pairs) - 1, min(SHOWN, len(pairs)))
        self._shown = [pairs[round(place)] for place in places]
        self._columns: dict[str, dict[Path, np.ndarray]] = {"photo": {}, "truth": {}}
        for pair in self._shown:
            photo, truth = load_pair(*pair, white=white)
            self._columns["photo"][pair[0]], self._columns["truth"][pair[0]] = _small(photo), _small(truth)

    def row(self, entry: Entry) -> Row:
        """A detector's: what is not there is made.

        Nothing that is wrong with a detector, its weights or one of its maps costs the others anything: it is said, and
        stands in the row.

        Raises:
            UserError: a photo cannot be read any more, or a map cannot be written.
        """
        try:
            detect, weights = self._detector(entry)
        except Unavailable as error:
            return Row.missing(entry, _not_run(entry, error))
        except UserError as error:
            self._fail(f"{entry.key}: {error}")
            return Row.missing(entry, "not run: its weights cannot be used")
        except Exception as error:  # of a package that it imports, say
            self._fail(f"{entry.key}: {type(error).__name__}: {' '.join(str(error).split())}")
            return Row.missing(entry, "not run: it cannot be loaded")
        if entry.kind == "constant":
            return self._scored(entry, lambda photo, pixels: (detect(pixels), None))
        made_by = f"{entry.key} {file_sha256(weights) if weights else ''} {entry.code()}"
        maps = KeptMaps(detect, self._folder / "maps" / entry.key, made_by=made_by, machine=self._machine)
        try:
            return self._scored(entry, lambda photo, pixels: maps.of(photo, pixels), maps)
        except Unavailable as error:
            return Row.missing(entry, _not_run(entry, error))

    def row_of(self, entry: Entry, masks: MaskOf) -> Row:
        """That of masks made elsewhere.

        Args:
            entry: what to call them.
            masks: as `evaluation.pairs.Predictions`.
        """
        return self._scored(entry, lambda photo, pixels: (masks(photo, pixels), None))

    def shown(self) -> tuple[list[str], list[list[np.ndarray | None]]]:
        """What `pictures.photo_grid` draws: columns of photos, truths, and each detector's maps."""
        rows = [[column.get(photo) for column in self._columns.values()] for photo, _ in self._shown]
        return list(self._columns), rows

    def _detector(self, entry: Entry) -> tuple[Callable[[np.ndarray], np.ndarray], Path | None]:
        weights = self._trained(entry)
        if entry.kind == "baseline" and weights.exists():
            if both := learned_from(entry, weights, self.digests.values()):
                raise UserError(
                    f"{weights}: learned from {both} of the photos that are to be scored; move it away, or score others"
                )
            return entry.detector(weights), weights
        shipped = entry.weights()
        return entry.detector(shipped), shipped

    def _scored(
        self,
        entry: Entry,
        map_of: Callable[[Path, np.ndarray], tuple[np.ndarray, Made | None]],
        maps: KeptMaps | None = None,
    ) -> Row:
        tally = RowTally()
        done: list[Made] = []
        timed: list[tuple[Path, np.ndarray]] = []
        for pair in self._watch(entry.key, self.pairs):
            pixels, truth = load_pair(*pair, white=self._white)
            try:
                found, made = map_of(pair[0], pixels)
            except Unavailable:
                raise
            except Failed as error:
                self._fail(f"{entry.key}: {pair[0].name}: {error}")
                continue
            tally.add(found, truth)
            if made is not None:
                done.append(made)
                timed = [*timed, (pair[0], pixels)][-max(1, self._time_again) :]
            if pair in self._shown and entry.kind != "constant":
                small = _small(np.rint(found * 255).astype(np.uint8) if found.dtype != np.uint8 else found)
                small = resize_photo(small, self._columns["photo"][pair[0]].shape[:2])  # a mask may be of another shape
                column = entry.key if entry.kind == "ours" else entry.name
                self._columns.setdefault(column, {})[pair[0]] = small
        if not tally.images:
            return Row.missing(entry, "failed on every photo")
        notes = self._notes(entry)
        done = [made for made in done if made.warm and made.machine == self._machine]  # another's seconds are not ours
        if maps is not None and (self._time_again or not done):
            chosen = timed[-max(1, self._time_again) :]
            try:
                done = [self._done_again(maps, *pair) for pair in chosen]
            except (Failed, Unavailable) as error:
                self._fail(f"{entry.key}: timed again: {error}")
                done = []
        if done:
            self.machines.add(self._machine)
        seconds = [made.seconds for made in done]
        if tally.images < len(self.pairs):
            notes.append(f"on {tally.images} of {len(self.pairs)} photos")
        return tally.row(entry, seconds=median(seconds) if seconds else None, note="; ".join(notes))

    def _trained(self, entry: Entry) -> Path:
        return trained_file(entry, self._folder / "weights")

    def _notes(self, entry: Entry) -> list[str]:
        """What must be known of a detector's weights."""
        if entry.kind not in ("baseline", "ours") or (entry.kind == "baseline" and entry.needs == "nothing"):
            return []
        if entry.kind == "baseline" and self._trained(entry).exists():
            return ["trained here"]
        weights = entry.weights()
        both = learned_from(entry, weights, self.digests.values()) if weights else 0
        return [f"learned from {both} of these photos"] if both else []

    def _done_again(self, maps: KeptMaps, photo: Path, pixels: np.ndarray) -> Made:
        """How the map of a photo is made once all is compiled."""
        for _ in range(2):
            made = maps.of(photo, pixels, anew=True)[1]
            if made.warm:
                break
        return made

    def _fail(self, message: str) -> None:
        self.failures += 1
        self._say(f"error: {message}")


def photo_digest(path: Path) -> str:
    """What tells a photo's file from others: the beginning of its SHA-256.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return file_sha256(path)[:16]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def _not_run(entry: Entry, error: Unavailable) -> str:
    return f"not run{', quoted' if entry.paper else ''}: {str(error).partition(': ')[2]}"


def _small(picture: np.ndarray) -> np.ndarray:
    """A picture at the width that is shown."""
    height = max(1, round(picture.shape[0] * WIDTH / picture.shape[1]))
    return resize_photo(picture, (height, WIDTH))
