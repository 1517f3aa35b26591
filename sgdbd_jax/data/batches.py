"""Photos to batches: draws, crops, flips and scale, each a function of seed, step and place alone.

Nothing here remembers anything from batch to batch, so a run that is resumed sees the batches that it would have seen,
and processes can share a batch by places.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from sgdbd_jax.config import Config, CropConfig
from sgdbd_jax.data.blur import blur_apart, fcsb, fcsb_kernel, random_blur, random_kernel
from sgdbd_jax.data.degrade import degrade, without_colours
from sgdbd_jax.data.masks import random_mask
from sgdbd_jax.data.sources import PhotoSet
from sgdbd_jax.data.things import random_thing
from sgdbd_jax.data.threads import work_ahead
from sgdbd_jax.errors import UserError

Example = dict[str, np.ndarray]
ExampleMaker = Callable[[np.random.Generator, "Draw"], Example]

BLURRED, MIXED, CLEAR = 0, 1, 2  # labels of the classifier
CERTAIN = 0.3  # share of pastes in self-training, whose masks are no opinion
HELD_OUT = 10  # every tenth photo is kept from the classifier, to measure it on
MAKERS = 16  # threads that make batches, at most: a batch of 4 with blurs made at 256 x 256 takes one of them 50 ms


@dataclass(frozen=True)
class TrainingSets:
    """The unpaired sets of the game.

    `blur` is a set of photos, or `None` where they are made from the clear ones. Only `source` may have masks, and
    they are read in supervised training alone.
    """

    source: PhotoSet
    clear: PhotoSet
    blur: PhotoSet | None


@dataclass(frozen=True)
class Draw:
    """Which photo comes at which place of a run: every photo of a set once before any comes twice."""

    seed: int
    position: int  # examples drawn before this one

    def index(self, count: int, stream: int) -> int:
        """Index of a photo in a set of `count`; streams are independent of each other."""
        epoch, place = divmod(self.position, count)
        return int(_permutation(count, self.seed, stream, epoch)[place])


@functools.lru_cache(maxsize=32)
def _permutation(count: int, seed: int, stream: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, stream, epoch]).permutation(count)


def make_batch(
    example: ExampleMaker, *, seed: int, stream: int, step: int, batch: int, places: Iterable[int]
) -> Example:
    """Stacks the examples of one step.

    Args:
        example: makes one from its own random generator and draw.
        seed, stream: of the run, and of its stage.
        step: from 0.
        batch: examples of the whole batch.
        places: which of them to make.

    Returns:
        `{name: [len(places), ...]}`.
    """
    made = [
        example(np.random.default_rng([seed, stream, step, place]), Draw(seed, step * batch + place))
        for place in places
    ]
    return {name: np.stack([one[name] for one in made]) for name in made[0]}


def prefetch(
    make: Callable[[int], Example], steps: range, *, workers: int | None = None, ahead: int | None = None
) -> Iterator[Example]:
    """Makes the batches of `steps` in threads, a few ahead of the one asked for, in order.

    Args:
        make: gives the batch of a step.
        steps: which ones.
        workers: threads; by default one a core, and at most `MAKERS`.
        ahead: how many batches may wait; by default at least 4, and as many as there are threads.
    """
    workers = workers or min(os.cpu_count() or 1, MAKERS)
    return work_ahead(make, steps, workers=workers, ahead=max(4, workers) if ahead is None else ahead)


def crop(rng: np.random.Generator, crops: CropConfig, photo: np.ndarray, *maps: np.ndarray | None) -> list[np.ndarray]:
    """A random square of a photo, zoomed and mirrored at random, and the same square of its mask; or all of them.

    Args:
        rng: consumed alike whatever the photo's size.
        crops: its side, zoom and mirroring, and how often it is the whole photo.
        photo: `[H, W, 3]` uint8.
        maps: its mask, and what else is known of its pixels, `[H, W]` uint8 each; `None` is left out.

    Returns:
        `[photo, *maps]`, `crops.crop` pixels a side. The zoom is held to what the photo can give.
    """
    zoom, across, down, mirror = rng.uniform(size=4)
    whole = crops.whole and rng.uniform() < crops.whole
    side = crops.crop / (crops.scale[0] + zoom * (crops.scale[1] - crops.scale[0]))
    height, width = photo.shape[:2]
    side = min(round(side), height, width)
    left, top = round(across * (width - side)), round(down * (height - side))
    cuts = []
    for image in (photo, *(each for each in maps if each is not None)):
        cut = image if whole else image[top : top + side, left : left + side]
        if cut.shape[:2] != (crops.crop, crops.crop):
            size = (crops.crop, crops.crop)
            cut = np.asarray(Image.fromarray(cut).resize(size, Image.Resampling.BILINEAR))
        cuts.append(cut[:, ::-1] if crops.flip and mirror < 0.5 else cut)
    return [np.ascontiguousarray(cut) for cut in cuts]


class ExampleMakers:
    """The examples of each stage, over one collection of sets."""

    def __init__(self, sets: TrainingSets, config: Config):
        """Checks that the sets can fill a batch of such crops.

        Raises:
            UserError: a set is smaller than the batch, or a photo smaller than the crop.
        """
        self.sets, self.config = sets, config
        for name in ("source", "clear", "blur"):
            photos: PhotoSet | None = getattr(sets, name)
            if photos is None:
                continue
            if len(photos.names) < config.game.batch:
                raise UserError(
                    f"{name}: {len(photos.names)} photos are fewer than a batch of {config.game.batch};"
                    " lower batch or add photos"
                )
            for photo_name, (height, width, *_) in zip(photos.names, photos.shapes):
                if min(height, width) < config.crops.crop:
                    raise UserError(
                        f"{name}: {photo_name} is {width}x{height}, smaller than a crop of {config.crops.crop};"
                        " lower crop, set photo_size, or leave it out"
                    )

    def game(self, rng: np.random.Generator, draw: Draw) -> Example:
        """One example of the game: source, clear, blur.

        And clear_real, blur_real with a second draw; paste, paste_mask where pastes have a weight.
        """
        example = {
            "source": self._source(rng, draw)[0],
            "clear": self._clear(rng, draw, 1),
            "blur": self._blur(rng, draw, 2),
        }
        if self.config.game.second_draw:
            example |= {"clear_real": self._clear(rng, draw, 3), "blur_real": self._blur(rng, draw, 4)}
        example = self._perhaps_grey(rng, {name: self._finish(rng, photo) for name, photo in example.items()})
        if self.config.game.paste_weight:
            paste = self.warm(rng, draw)
            example |= {"paste": paste["photo"], "paste_mask": paste["mask"]}
        return example

    def discriminators(self, rng: np.random.Generator, draw: Draw) -> Example:
        """What D_c and D_b learn before the game: `clear_real`, `clear_fake`, `blur_real`, `blur_fake`.

        Real are two photos of a discriminator's kind, pasted; fake, one of its kind and one of the other. A seam tells
        nothing.
        """
        example = {}
        kinds = (("clear", self._clear, self._blur), ("blur", self._blur, self._clear))
        for number, (side, own, other) in enumerate(kinds):
            mask = random_mask(rng, (self.config.crops.crop, self.config.crops.crop))
            real, fake, outside = (maker(rng, draw, 20 + 4 * number + at) for at, maker in enumerate((own, other, own)))
            example[f"{side}_real"] = _paste(mask, real, outside)
            example[f"{side}_fake"] = _paste(mask, fake, outside)
        return self._perhaps_grey(rng, {name: self._finish(rng, photo) for name, photo in example.items()})

    def supervised(self, rng: np.random.Generator, draw: Draw) -> Example:
        """A source photo and its own mask (Table 3's Ours(S))."""
        photo, mask = self._source(rng, draw, with_mask=True)
        return self._perhaps_grey(rng, {"photo": photo, "mask": mask[..., None]})

    def warm(self, rng: np.random.Generator, draw: Draw) -> Example:
        """A paste of a clear and a blurred photo, and the mask it was made with: a label that costs nothing.

        Where blurred photos are made, half of the pastes have one photo on both sides, so that nothing but focus tells
        them apart; as have those with the outlines of things. Some may be a photo of one kind alone.
        """
        pastes = self.config.pastes
        kind = rng.random() if pastes.uniform or pastes.shapes else 1.0
        if kind < pastes.uniform:
            photo, mask = self._of_one_kind(rng, draw)
        elif kind < pastes.uniform + pastes.shapes:
            photo, mask = self._thing(rng, draw)
        else:
            mask = random_mask(rng, (self.config.crops.crop, self.config.crops.crop))
            inside = self._clear(rng, draw, 1)
            if self.sets.blur is None and rng.random() < 0.5:
                outside = self._made_blur(rng, inside)
            else:
                outside = self._blur(rng, draw, 2)
            photo = _paste(mask, inside, outside)
        example = {"photo": self._finish(rng, photo), "mask": np.rint(255 * mask).astype(np.uint8)[..., None]}
        return self._perhaps_grey(rng, example)

    def taught(
        self,
        rng: np.random.Generator,
        draw: Draw,
        *,
        targets: Sequence[np.ndarray],
        weights: Sequence[np.ndarray] | None = None,
        places: Sequence[int] | None = None,
    ) -> Example:
        """A source photo and its target, or, for `CERTAIN` of the examples, a paste, which takes that photo's turn.

        Args:
            rng, draw: as everywhere.
            targets: one `[H, W]` uint8 mask a photo.
            weights: what each of their pixels counts for, 255 in full, as the example's `weight` says; of a paste, all
                count in full. `None`: so they do everywhere, and there is no `weight`.
            places: the photos that have a target, in order; `None`: all.
        """
        if rng.random() < CERTAIN:
            example = self.warm(rng, draw)
            return example if weights is None else example | {"weight": np.full_like(example["mask"], 255)}
        index = draw.index(len(targets), 0)
        photo = self.sets.source.images[index if places is None else places[index]]
        maps = [targets[index]] + ([] if weights is None else [weights[index]])
        photo, *maps = crop(rng, self.config.crops, photo, *maps)
        example = {"photo": self._finish(rng, photo)}
        return self._perhaps_grey(
            rng, example | {name: each[..., None] for name, each in zip(("mask", "weight"), maps)}
        )

    def classifier(self, rng: np.random.Generator, draw: Draw, *, held_out: bool = False) -> Example:
        """A photo and its class, made so that a seam tells nothing: half of each class is pasted.

        Blurred and clear are whole, or two of their kind pasted; mixed is clear pasted on blurred, or a source photo.
        """
        label = int(rng.integers(3))
        pasted = rng.uniform() < 0.5
        mask = random_mask(rng, (self.config.crops.crop, self.config.crops.crop))
        if label == MIXED and not pasted:
            photo = self._source(rng, draw, held_out=held_out)[0]
        else:
            first = self._clear if label != BLURRED else self._blur
            second = self._clear if label == CLEAR else self._blur
            photo = first(rng, draw, 1, held_out=held_out)
            if pasted:
                photo = _paste(mask, photo, second(rng, draw, 3, held_out=held_out))
        return self._perhaps_grey(rng, {"photo": self._finish(rng, photo), "label": np.array(label, np.int32)})

    def _of_one_kind(self, rng: np.random.Generator, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        """A clear photo or a blurred one, and its mask, 1 or 0 everywhere."""
        clear = rng.random() < 0.5
        photo = self._clear(rng, draw, 1) if clear else self._blur(rng, draw, 2)
        return photo, np.full(photo.shape[:2], clear, np.float32)

    def _thing(self, rng: np.random.Generator, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        """A clear photo with a thing of it, or all but that, out of focus, and its mask."""
        blurring = self.config.blurring
        photo = self._clear(rng, draw, 1)
        if blurring.blur_kernel.startswith("fcsb:"):
            kernel = fcsb_kernel(1 + int(rng.integers(int(blurring.blur_kernel[5:]))))
        else:
            kernel = random_kernel(rng, low=blurring.blur_radii[0], high=blurring.blur_radii[1])
        in_focus = bool(rng.random() < 0.5)
        thing = random_thing(rng, photo)
        if thing is None:  # as in a flat photo
            thing = random_mask(rng, (photo.shape[0], photo.shape[1])) > 0.5
        photo, mask = blur_apart(photo, thing, kernel, thing_in_focus=in_focus)
        return photo, mask.astype(np.float32)

    def _source(
        self, rng: np.random.Generator, draw: Draw, *, with_mask: bool = False, held_out: bool | None = None
    ) -> list[np.ndarray]:
        index = _pick(len(self.sets.source.names), draw, 0, held_out)
        masks = self.sets.source.masks
        mask = masks[index] if with_mask and masks is not None else None
        return crop(rng, self.config.crops, self.sets.source.images[index], mask)

    def _clear(self, rng: np.random.Generator, draw: Draw, stream: int, *, held_out: bool | None = None) -> np.ndarray:
        clear = self.sets.clear
        return crop(rng, self.config.crops, clear.images[_pick(len(clear.names), draw, stream, held_out)])[0]

    def _blur(self, rng: np.random.Generator, draw: Draw, stream: int, *, held_out: bool | None = None) -> np.ndarray:
        if self.sets.blur is not None:
            blur = self.sets.blur
            return crop(rng, self.config.crops, blur.images[_pick(len(blur.names), draw, stream, held_out)])[0]
        return self._made_blur(rng, self._clear(rng, draw, stream, held_out=held_out))

    def _made_blur(self, rng: np.random.Generator, photo: np.ndarray) -> np.ndarray:
        kernel, (low, high) = self.config.blurring.blur_kernel, self.config.blurring.blur_radii
        if kernel.startswith("fcsb:"):
            return fcsb(photo, 1 + int(rng.integers(int(kernel[5:]))))
        return random_blur(photo, rng, low=low, high=high)

    def _finish(self, rng: np.random.Generator, photo: np.ndarray) -> np.ndarray:
        return degrade(photo, rng, noise=self.config.sets.noise) if self.config.sets.degrade else photo

    def _perhaps_grey(self, rng: np.random.Generator, example: Example) -> Example:
        """The example, for a share of them with all its photos in grey, after what happened to their colours."""
        if not self.config.sets.grey or rng.random() >= self.config.sets.grey:
            return example
        return {name: without_colours(each) if each.shape[2:] == (3,) else each for name, each in example.items()}


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
