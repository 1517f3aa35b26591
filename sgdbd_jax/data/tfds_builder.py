"""What our tfds data sets share: how they are prepared once from downloaded files, and how their records are read.

They are written as array_record and read through `as_data_source`, which needs no TensorFlow. Photos are kept as the
files they are; masks are kept as PNG, white = in focus, whatever the benchmark's own files say. Nothing is written
before every file has been read and the count, the pairing and the polarity of the masks are right.

The data sets themselves are in `tfds_sets`.
"""

import contextlib
import dataclasses
import os
import sys
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from sgdbd_jax.data.blur import fcsb
from sgdbd_jax.data.pairs import Notes, load_pair
from sgdbd_jax.data.photos import White, decode_mask, decode_photo, load_mask, load_photo
from sgdbd_jax.data.polarity import focus_is_sharper, polarity_fault
from sgdbd_jax.data.threads import read_all
from sgdbd_jax.errors import UserError, abbreviate


class Files(NamedTuple):
    """A photo's file, and its mask's if it has one."""

    image: Path
    mask: Path | None = None


@dataclasses.dataclass(frozen=True)
class Record:
    """One stored photo, still encoded.

    Attributes:
        name: the photo's file name; unique in its split.
        image: bytes of the photo's file.
        mask: bytes of a PNG, white = in focus; `None` in sets without masks.
        blurs: how often FCSB's Gaussian is applied when the photo is decoded.
    """

    name: str
    image: bytes
    mask: bytes | None = None
    blurs: int = 0

    def decode(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the `[H, W, 3]` uint8 photo and its `[H, W]` uint8 mask, 255 = in focus, or `None`.

        Raises:
            UserError: the record is damaged.
        """
        photo = decode_photo(self.image, name=self.name)
        if self.blurs:
            photo = fcsb(photo, self.blurs)
        return photo, None if self.mask is None else decode_mask(self.mask, name=self.name, white="focused")


class PhotoBuilder(tfds.core.GeneratorBasedBuilder):
    """What the data sets share; each of them says where its files lie and what must be true of them."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}
    # Nothing is downloaded. Left to itself, tfds looks for checksums by way of importlib_resources, which it does not
    # require on these versions of Python.
    url_infos: ClassVar[dict[str, Any]] = {}
    SPLITS: tuple[str, ...] = ("clear", "blurred")  # what `records` can read
    FOLDERS: tuple[str, ...]  # what the data set's folder in the manual folder must hold
    WHITE: White | None = None  # what white means in the files' masks; `None`: there are no masks
    DESCRIPTION: str
    CITATION: str

    @abstractmethod
    def find(self, folder: Path) -> dict[str, list[Files]]:
        """Finds the files of each split, and checks their count and pairing.

        Args:
            folder: holds `FOLDERS`.

        Returns:
            The files by split; a split may be empty.

        Raises:
            UserError: there are too few, too many, or they do not pair.
        """

    def prepare(self, manual_dir: str | os.PathLike | None) -> None:
        """Writes the data set, if that has not been done.

        Args:
            manual_dir: the folder that holds a folder called `name` with the downloaded files.

        Raises:
            UserError: `manual_dir` is needed and is `None`; files are missing, or not the data set's; or the prepared
                folder cannot be written.
        """
        if self.data_path.exists():
            return
        instructions = f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS}, and name MANUAL_DIR as manual_dir"
        if manual_dir is None:
            raise UserError(f"{self.name}: not prepared in {self.data_path} yet; {instructions}")
        folder = Path(manual_dir).expanduser() / self.name
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; {instructions}")
        try:
            # tfds announces itself on standard output, which is the command's.
            with contextlib.redirect_stdout(sys.stderr):
                self.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=folder.parent))
        except OSError as error:
            raise UserError(f"{self.data_path}: cannot be written ({error.strerror or error})") from error

    def records(self, split: str) -> list[Record]:
        """Reads one of `SPLITS`, sorted by name: records are stored shuffled.

        Raises:
            UserError: the split was left empty when the data set was prepared.
        """
        if split not in self.info.splits:
            raise UserError(
                f"{self.name}: split {split!r} is empty, its photos were not there when {self.data_path} was prepared;"
                " add them to the manual folder, remove the prepared folder, and run again"
            )
        encoded = {key: tfds.decode.SkipDecoding() for key in ("image", "mask") if key in self.info.features}
        examples = self.as_data_source(split, decoders=encoded)
        records = [Record(each["name"].decode(), each["image"], each.get("mask")) for each in examples]
        return sorted(records, key=lambda record: record.name)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"name": tfds.features.Text(), "image": tfds.features.Image(shape=(None, None, 3))}
        if self.WHITE is not None:
            features["mask"] = tfds.features.Image(shape=(None, None, 1))
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=tfds.features.FeaturesDict(features),
            citation=self.CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        folder = Path(dl_manager.manual_dir) / self.name
        for name in self.FOLDERS:
            if not (folder / name).is_dir():
                raise UserError(f"{folder / name}: no such folder; {self.MANUAL_DOWNLOAD_INSTRUCTIONS}")
        splits = self.find(folder)
        self._check([each for files in splits.values() for each in files], folder)
        for split, files in splits.items():
            if not files:
                text = f"{self.name}: split {split!r} is left empty, none of its photos is in {folder}"
                warnings.warn(text, stacklevel=2)
        return {split: self._generate_examples(files) for split, files in splits.items() if files}

    def _generate_examples(self, files: Sequence[Files]) -> Iterator[tuple[str, dict[str, Any]]]:
        for image, mask in files:
            example: dict[str, Any] = {"name": image.name, "image": image}
            if mask is not None and self.WHITE is not None:
                example["mask"] = Image.fromarray(load_mask(mask, white=self.WHITE))
            yield image.name, example

    def _check(self, files: Sequence[Files], folder: Path) -> None:
        """Refuses files that cannot be read, and masks that contradict their photos; warns of masks that are odd."""
        notes = Notes()

        def vote(each: Files) -> bool | None:
            if each.mask is None or self.WHITE is None:
                load_photo(each.image)
                return None
            return focus_is_sharper(*load_pair(each.image, each.mask, white=self.WHITE, note=notes.of(each.mask)))

        votes: list[bool | None] = []
        refused = []
        for result in read_all(vote, files):
            if isinstance(result, UserError):
                refused.append(str(result))
            else:
                votes.append(result)
        if refused:
            raise UserError(f"{folder}: {len(refused)} photos cannot be used: {abbreviate(refused)}")
        if text := notes.text():
            warnings.warn(f"{folder}: {text}", stacklevel=2)
        if self.WHITE is not None and (fault := polarity_fault(votes)):
            raise UserError(
                f"{folder}: {fault}; in the masks of {self.name}, white = {self.WHITE}: take the benchmark's own masks,"
                " or invert these"
            )
