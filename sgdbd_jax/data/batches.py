"""Photos to batches: draws, crops, flips and scale, each a function of seed, step and row alone.

Nothing here remembers anything from batch to batch, so a run that is resumed sees the batches that it would have seen,
and processes can share a batch by rows.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from sgdbd_jax.config import Config
from sgdbd_jax.data.blur import fcsb, random_blur
from sgdbd_jax.data.degrade import degrade
from sgdbd_jax.data.masks import random_mask
from sgdbd_jax.data.sources import PhotoSet
from sgdbd_jax.data.threads import work_ahead
from sgdbd_jax.errors import UserError

Row = dict[str, np.ndarray]
RowMaker = Callable[[np.random.Generator, "Draw"], Row]

BLURRED, MIXED, CLEAR = 0, 1, 2  # labels of the classifier
CERTAIN = 0.3  # share of pastes in self-training, whose masks are no opinion
HELD_OUT = 10  # every tenth photo is kept from the classifier, to measure it on
MAKERS = 16  # threads that make batches, at most: a batch of 4 with blurs made at 256 x 256 takes one of them 50 ms


@dataclass(frozen=True)
class TrainingSets:
    """The unpaired sets of the game.

    `blurred` is a set of photos, or `None` where they are made from the clear ones. Only `source` may have masks, and
    they are read in supervised training alone.
    """

    source: PhotoSet
    clear: PhotoSet
    blurred: PhotoSet | None


@dataclass(frozen=True)
class Draw:
    """Which photo comes at which place of a run: every photo of a set once before any comes twice."""

    seed: int
    position: int  # rows drawn before this one

    def index(self, count: int, stream: int) -> int:
        """Index of a photo in a set of `count`; streams are independent of each other."""
        epoch, place = divmod(self.position, count)
        return int(_permutation(count, self.seed, stream, epoch)[place])


@functools.lru_cache(maxsize=32)
def _permutation(count: int, seed: int, stream: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, stream, epoch]).permutation(count)


def make_batch(row: RowMaker, *, seed: int, stream: int, step: int, batch: int, rows: Iterable[int]) -> Row:
    """Stacks the rows of one step.

    Args:
        row: makes one row from its own random generator and draw.
        seed, stream: of the run, and of its stage.
        step: from 0.
        batch: rows of the whole batch.
        rows: which of them to make.

    Returns:
        `{name: [len(rows), ...]}`.
    """
    made = [row(np.random.default_rng([seed, stream, step, index]), Draw(seed, step * batch + index)) for index in rows]
    return {name: np.stack([one[name] for one in made]) for name in made[0]}


def prefetch(
    make: Callable[[int], Row], steps: range, *, workers: int | None = None, ahead: int | None = None
) -> Iterator[Row]:
    """Makes the batches of `steps` in threads, a few ahead of the one asked for, in order.

    Args:
        make: gives the batch of a step.
        steps: which ones.
        workers: threads; by default one a core, and at most `MAKERS`.
        ahead: how many batches may wait; by default at least 4, and as many as there are threads.
    """
    workers = workers or min(os.cpu_count() or 1, MAKERS)
    return work_ahead(make, steps, workers=workers, ahead=max(4, workers) if ahead is None else ahead)


def crop(
    rng: np.random.Generator, config: Config, photo: np.ndarray, mask: np.ndarray | None = None
) -> list[np.ndarray]:
    """A random square of a photo, zoomed and mirrored as the config says, and the same square of its mask.

    Args:
        rng: consumed alike whatever the photo's size.
        config: `crop`, `scale` and `flip`.
        photo: `[H, W, 3]` uint8.
        mask: `[H, W]` uint8, or `None`.

    Returns:
        `[photo]` or `[photo, mask]`, `config.crop` pixels a side. The zoom is held to what the photo can give.
    """
    zoom, across, down, mirror = rng.uniform(size=4)
    side = config.crop / (config.scale[0] + zoom * (config.scale[1] - config.scale[0]))
    height, width = photo.shape[:2]
    side = min(round(side), height, width)
    left, top = round(across * (width - side)), round(down * (height - side))
    cuts = []
    for image in (photo,) if mask is None else (photo, mask):
        cut = image[top : top + side, left : left + side]
        if side != config.crop:
            size = (config.crop, config.crop)
            cut = np.asarray(Image.fromarray(cut).resize(size, Image.Resampling.BILINEAR))
        cuts.append(cut[:, ::-1] if config.flip and mirror < 0.5 else cut)
    return [np.ascontiguousarray(cut) for cut in cuts]


class RowMakers:
    """The rows of each stage, over one collection of sets."""

    def __init__(self, sets: TrainingSets, config: Config):
        """Checks that the sets can fill a batch of such crops.

        Raises:
            UserError: a set is smaller than the batch, or a photo smaller than the crop.
        """
        self.sets, self.config = sets, config
        for name in ("source", "clear", "blurred"):
            photos: PhotoSet | None = getattr(sets, name)
            if photos is None:
                continue
            if len(photos.names) < config.batch:
                raise UserError(
                    f"{name}: {len(photos.names)} photos are fewer than a batch of {config.batch};"
                    " lower batch or add photos"
                )
            for photo_name, (height, width, *_) in zip(photos.names, photos.shapes):
                if min(height, width) < config.crop:
                    raise UserError(
                        f"{name}: {photo_name} is {width}x{height}, smaller than a crop of {config.crop};"
                        " lower crop, set photo_size, or leave it out"
                    )

    def game(self, rng: np.random.Generator, draw: Draw) -> Row:
        """One row of the game: source, clear, blurred.

        And clear_real, blurred_real with a second draw; paste, paste_mask where pastes have a weight.
        """
        row = {
            "source": self._source(rng, draw)[0],
            "clear": self._clear(rng, draw, 1),
            "blurred": self._blurred(rng, draw, 2),
        }
        if self.config.second_draw:
            row |= {"clear_real": self._clear(rng, draw, 3), "blurred_real": self._blurred(rng, draw, 4)}
        row = {name: self._finish(rng, photo) for name, photo in row.items()}
        if self.config.paste_weight:
            paste = self.warm(rng, draw)
            row |= {"paste": paste["photo"], "paste_mask": paste["mask"]}
        return row

    def discriminators(self, rng: np.random.Generator, draw: Draw) -> Row:
        """What D_c and D_b learn before the game: `clear_real`, `clear_fake`, `blur_real`, `blur_fake`.

        Real are two photos of a discriminator's kind, pasted; fake, one of its kind and one of the other. A seam tells
        nothing.
        """
        row = {}
        kinds = (("clear", self._clear, self._blurred), ("blur", self._blurred, self._clear))
        for number, (side, own, other) in enumerate(kinds):
            mask = random_mask(rng, (self.config.crop, self.config.crop))
            real, fake, outside = (maker(rng, draw, 20 + 4 * number + at) for at, maker in enumerate((own, other, own)))
            row[f"{side}_real"] = _paste(mask, real, outside)
            row[f"{side}_fake"] = _paste(mask, fake, outside)
        return {name: self._finish(rng, photo) for name, photo in row.items()}

    def supervised(self, rng: np.random.Generator, draw: Draw) -> Row:
        """A source photo and its own mask (Table 3's Ours(S))."""
        photo, mask = self._source(rng, draw, with_mask=True)
        return {"photo": photo, "mask": mask[..., None]}

    def warm(self, rng: np.random.Generator, draw: Draw) -> Row:
        """A paste of a clear and a blurred photo, and the mask it was made with: a label that costs nothing.

        Where blurred photos are made, half of the pastes have one photo on both sides, so that nothing but focus tells
        them apart.
        """
        mask = random_mask(rng, (self.config.crop, self.config.crop))
        inside = self._clear(rng, draw, 1)
        if self.sets.blurred is None and rng.random() < 0.5:
            outside = self._blur(rng, inside)
        else:
            outside = self._blurred(rng, draw, 2)
        photo = self._finish(rng, _paste(mask, inside, outside))
        return {"photo": photo, "mask": np.rint(255 * mask).astype(np.uint8)[..., None]}

    def taught(self, rng: np.random.Generator, draw: Draw, *, targets: Sequence[np.ndarray]) -> Row:
        """A source photo and its target, or, for `CERTAIN` of the rows, a paste, which takes that photo's turn."""
        if rng.random() < CERTAIN:
            return self.warm(rng, draw)
        index = draw.index(len(targets), 0)
        photo, mask = crop(rng, self.config, self.sets.source.images[index], targets[index])
        return {"photo": self._finish(rng, photo), "mask": mask[..., None]}

    def classifier(self, rng: np.random.Generator, draw: Draw, *, held_out: bool = False) -> Row:
        """A photo and its class, made so that a seam tells nothing: half of each class is pasted.

        Blurred and clear are whole, or two of their kind pasted; mixed is clear pasted on blurred, or a source photo.
        """
        label = int(rng.integers(3))
        pasted = rng.uniform() < 0.5
        mask = random_mask(rng, (self.config.crop, self.config.crop))
        if label == MIXED and not pasted:
            photo = self._source(rng, draw, held_out=held_out)[0]
        else:
            first = self._clear if label != BLURRED else self._blurred
            second = self._clear if label == CLEAR else self._blurred
            photo = first(rng, draw, 1, held_out=held_out)
            if pasted:
                photo = _paste(mask, photo, second(rng, draw, 3, held_out=held_out))
        return {"photo": self._finish(rng, photo), "label": np.array(label, np.int32)}

    def _source(
        self, rng: np.random.Generator, draw: Draw, *, with_mask: bool = False, held_out: bool | None = None
    ) -> list[np.ndarray]:
        index = _pick(len(self.sets.source.names), draw, 0, held_out)
        masks = self.sets.source.masks
        mask = masks[index] if with_mask and masks is not None else None
        return crop(rng, self.config, self.sets.source.images[index], mask)

    def _clear(self, rng: np.random.Generator, draw: Draw, stream: int, *, held_out: bool | None = None) -> np.ndarray:
        clear = self.sets.clear
        return crop(rng, self.config, clear.images[_pick(len(clear.names), draw, stream, held_out)])[0]

    def _blurred(
        self, rng: np.random.Generator, draw: Draw, stream: int, *, held_out: bool | None = None
    ) -> np.ndarray:
        if self.sets.blurred is not None:
            blurred = self.sets.blurred
            return crop(rng, self.config, blurred.images[_pick(len(blurred.names), draw, stream, held_out)])[0]
        return self._blur(rng, self._clear(rng, draw, stream, held_out=held_out))

    def _blur(self, rng: np.random.Generator, photo: np.ndarray) -> np.ndarray:
        if self.config.blurred.startswith("fcsb:"):
            return fcsb(photo, 1 + int(rng.integers(int(self.config.blurred[5:]))))
        return random_blur(photo, rng, low=self.config.blur[0], high=self.config.blur[1])

    def _finish(self, rng: np.random.Generator, photo: np.ndarray) -> np.ndarray:
        return degrade(photo, rng) if self.config.degrade else photo


def _pick(count: int, draw: Draw, stream: int, held_out: bool | None) -> int:
    """Index of the drawn photo among all (`None`), those held out from the classifier, or the others."""
    if held_out is None or count < 2:
        return draw.index(count, stream)
    kept = len(range(0, count, HELD_OUT))
    if held_out:
        return HELD_OUT * draw.index(kept, stream)
    place = draw.index(count - kept, stream)
    return place + place // (HELD_OUT - 1) + 1


def _paste(mask: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """`mask * inside + (1 - mask) * outside` on uint8 photos, rounded."""
    weight = mask[..., None].astype(np.float32)
    return np.rint(outside + weight * (inside.astype(np.float32) - outside)).astype(np.uint8)
