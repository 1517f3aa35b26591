"""tfds data sets `cuhk`, `dut`, `fcfb` and `fcsb`, prepared once from files that the user has downloaded.

They are written as array_record and read through `as_data_source`, which needs no TensorFlow. Photos are kept as the
files they are; masks are kept as PNG, white = in focus, whatever the benchmark's own files say. Nothing is written
before every file has been read and the count, the pairing and the polarity of the masks are right.
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
from sgdbd_jax.data.names import cuhk_split
from sgdbd_jax.data.photos import White, decode_mask, decode_photo, list_photos, load_mask, load_photo, photo_stem
from sgdbd_jax.data.polarity import focus_is_sharper, polarity_fault
from sgdbd_jax.data.sources import describe, load_pair, pair_files, read_all, some
from sgdbd_jax.errors import UserError

SHI_2014 = """@inproceedings{shi2014discriminative,
  title = {Discriminative Blur Detection Features},
  author = {Shi, Jianping and Xu, Li and Jia, Jiaya},
  booktitle = {CVPR},
  year = {2014},
}"""
ZHAO_2018 = """@inproceedings{zhao2018defocus,
  title = {Defocus Blur Detection via Multi-Stream Bottom-Top-Bottom Fully Convolutional Network},
  author = {Zhao, Wenda and Zhao, Fan and Wang, Dong and Lu, Huchuan},
  booktitle = {CVPR},
  year = {2018},
}"""
ZHAO_2021 = """@inproceedings{zhao2021self,
  title = {Self-Generated Defocus Blur Detection via Dual Adversarial Discriminators},
  author = {Zhao, Wenda and Shang, Cai and Lu, Huchuan},
  booktitle = {CVPR},
  year = {2021},
}"""


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
    """What the four data sets share; each says where its files lie and what must be true of them."""

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
        rows = self.as_data_source(split, decoders=encoded)
        found = [Record(row["name"].decode(), row["image"], row.get("mask")) for row in rows]
        return sorted(found, key=lambda record: record.name)

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
        self._check([files for split in splits.values() for files in split], folder)
        for split, found in splits.items():
            if not found:
                told = f"{self.name}: split {split!r} is left empty, none of its photos is in {folder}"
                warnings.warn(told, stacklevel=2)
        return {split: self._generate_examples(found) for split, found in splits.items() if found}

    def _generate_examples(self, found: Sequence[Files]) -> Iterator[tuple[str, dict[str, Any]]]:
        for image, mask in found:
            example: dict[str, Any] = {"name": image.name, "image": image}
            if mask is not None and self.WHITE is not None:
                example["mask"] = Image.fromarray(load_mask(mask, white=self.WHITE))
            yield image.name, example

    def _check(self, found: Sequence[Files], folder: Path) -> None:
        """Refuses files that cannot be read, and masks that say the contrary of the photos."""

        def vote(files: Files) -> bool | None:
            if files.mask is None or self.WHITE is None:
                load_photo(files.image)
                return None
            return focus_is_sharper(*load_pair(files.image, files.mask, white=self.WHITE))

        votes: list[bool | None] = []
        refused = []
        for result in read_all(vote, found):
            if isinstance(result, UserError):
                refused.append(str(result))
            else:
                votes.append(result)
        if refused:
            raise UserError(f"{folder}: {len(refused)} photos cannot be used: {some(refused)}")
        if self.WHITE is not None and (fault := polarity_fault(votes)):
            raise UserError(
                f"{folder}: {fault}; in the masks of {self.name}, white = {self.WHITE}: take the benchmark's own masks,"
                " or invert these"
            )


class Cuhk(PhotoBuilder):
    """The defocus half of CUHK's blur detection benchmark, with the split into train, validation and test."""

    SPLITS = ("train", "validation", "test")
    FOLDERS = ("image", "gt")
    WHITE = "blurred"
    DESCRIPTION = (
        "Partly defocused photos with masks, 255 = in focus: 504 to train, 100 to validate (together the benchmark's"
        " 604 training photos) and 100 to test."
    )
    CITATION = SHI_2014
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "put the photos out_of_focusNNNN.jpg of CUHK's blur detection data set into MANUAL_DIR/cuhk/image, and their"
        " masks out_of_focusNNNN.png, white = blurred as distributed, into MANUAL_DIR/cuhk/gt: all 704, or the 604 of"
        " train and validation (photos called motionNNNN may lie beside them)"
    )

    def find(self, folder: Path) -> dict[str, list[Files]]:
        photos = [path for path in list_photos(folder / "image") if not path.name.lower().startswith("motion")]
        found = {photo_stem(path.name) for path in photos}
        split_of = cuhk_split()
        without_test = {stem for stem, split in split_of.items() if split != "test"}
        expected = without_test if found.isdisjoint(split_of.keys() - without_test) else set(split_of)
        if found != expected:
            differences = {"missing": sorted(expected - found), "not of the benchmark": sorted(found - expected)}
            raise UserError(
                f"{folder / 'image'}: {len(photos)} photos, expected {len(without_test)} (train and validation) or"
                f" {len(split_of)} (and test): {describe(differences)}"
            )
        pairs = _paired(photos, folder / "gt", names=found)
        return {
            split: [files for files in pairs if split_of[photo_stem(files.image.name)] == split]
            for split in self.SPLITS
        }


class Dut(PhotoBuilder):
    """DUT's defocus blur detection benchmark."""

    SPLITS = ("train", "test")
    FOLDERS = ("train_image", "train_gt", "test_image", "test_gt")
    WHITE = "focused"
    COUNTS: ClassVar[dict[str, int]] = {"train": 600, "test": 500}
    DESCRIPTION = "Partly defocused photos with masks, 255 = in focus: 600 to train and 500 to test."
    CITATION = ZHAO_2018
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "put DUT's 600 training photos into MANUAL_DIR/dut/train_image and their masks, white = in focus, into"
        " MANUAL_DIR/dut/train_gt; its 500 test photos into test_image and their masks into test_gt; a mask bears the"
        " name of its photo"
    )

    def find(self, folder: Path) -> dict[str, list[Files]]:
        return {
            split: _paired(_counted(folder / f"{split}_image", count), folder / f"{split}_gt")
            for split, count in self.COUNTS.items()
        }


class Fcfb(PhotoBuilder):
    """The paper's natural photos all in focus and all blurred."""

    FOLDERS = ("clear", "blurred")
    COUNT = 500
    DESCRIPTION = "500 photos all in focus and 500 photos all blurred, unpaired and without masks."
    CITATION = ZHAO_2021
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "put the 500 clear photos of FCFB (its folder FC) into MANUAL_DIR/fcfb/clear and the 500 blurred ones (FB) into"
        " MANUAL_DIR/fcfb/blurred"
    )

    def find(self, folder: Path) -> dict[str, list[Files]]:
        return {name: [Files(path) for path in _counted(folder / name, self.COUNT)] for name in self.FOLDERS}


@dataclasses.dataclass(eq=False)
class FcsbConfig(tfds.core.BuilderConfig):
    """FCSB(nD): every clear photo blurred once, twice, ... `degrees` times."""

    degrees: int = 5


class Fcsb(PhotoBuilder):
    """The paper's synthetic blurred set, FCSB(nD) of Table 4.

    Only the clear photos are stored, as split `clear`; `records("blurred")` gives each of them n times, blurred by a
    7x7 Gaussian of sigma 2 applied once to n times when it is decoded.
    """

    FOLDERS = ("clear",)
    COUNT = 500
    BUILDER_CONFIGS: ClassVar[list[FcsbConfig]] = [
        FcsbConfig(name=f"{n}D", description=f"1 to {n} times a 7x7 Gaussian of sigma 2", degrees=n)
        for n in range(1, 6)
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "5D"
    DESCRIPTION = "500 photos all in focus, from which blurred versions of several degrees are made at reading."
    CITATION = ZHAO_2021
    MANUAL_DOWNLOAD_INSTRUCTIONS = "put the 500 clear photos of FCFB (its folder FC) into MANUAL_DIR/fcsb/clear"

    def find(self, folder: Path) -> dict[str, list[Files]]:
        return {"clear": [Files(path) for path in _counted(folder / "clear", self.COUNT)]}

    def records(self, split: str) -> list[Record]:
        clear = super().records("clear")
        if split == "clear":
            return clear
        return [
            dataclasses.replace(record, name=f"{record.name} blurred {times}x", blurs=times)
            for record in clear
            for times in range(1, self.builder_config.degrees + 1)
        ]


BUILDERS: dict[str, type[PhotoBuilder]] = {builder.name: builder for builder in (Cuhk, Dut, Fcfb, Fcsb)}


def read_split(
    name: str, split: str, *, data_dir: str | os.PathLike | None = None, manual_dir: str | os.PathLike | None = None
) -> list[Record]:
    """Reads a split, preparing the data set if that has not been done.

    Args:
        name: of the data set, with `/CONFIG` where it has configs.
        split: one of the data set's `SPLITS`.
        data_dir: where tfds keeps prepared data; by default its own choice, `~/tensorflow_datasets`.
        manual_dir: the folder that holds a folder called `name` with the downloaded files; used only to prepare.

    Returns:
        The records, at least one, sorted by name.

    Raises:
        UserError: no such data set, config or split; files that are missing or not the data set's; or a folder that
            cannot be written.
    """
    base, _, config = name.partition("/")
    if base not in BUILDERS:
        raise UserError(f"{name}: no such data set; there are {', '.join(BUILDERS)}")
    kind = BUILDERS[base]
    if config and config not in kind.builder_configs:
        raise UserError(f"{name}: no such config; there are {', '.join(kind.builder_configs) or 'none'}")
    if split not in kind.SPLITS:
        raise UserError(f"{name}: no split {split!r}; there are {', '.join(kind.SPLITS)}")
    builder = kind(data_dir=data_dir, config=config or None, file_format="array_record")
    if not builder.data_path.exists():
        _prepare(builder, manual_dir)
    try:
        return builder.records(split)
    except (IndexError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{builder.data_path}: damaged ({error}); remove this folder and run again") from error


def _prepare(builder: PhotoBuilder, manual_dir: str | os.PathLike | None) -> None:
    instructions = f"{builder.MANUAL_DOWNLOAD_INSTRUCTIONS}, and name MANUAL_DIR as manual_dir"
    if manual_dir is None:
        raise UserError(f"{builder.name}: not prepared in {builder.data_path} yet; {instructions}")
    folder = Path(manual_dir).expanduser() / builder.name
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {instructions}")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # tfds announces itself on standard output, which is the command's
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=folder.parent))
    except OSError as error:
        raise UserError(f"{builder.data_path}: cannot be written ({error.strerror or error})") from error


def _counted(folder: Path, count: int) -> list[Path]:
    photos = list_photos(folder)
    if len(photos) != count:
        raise UserError(
            f"{folder}: {len(photos)} photos, the benchmark has {count}; complete the folder or clear it up"
        )
    return photos


def _paired(photos: Sequence[Path], masks: Path, *, names: set[str] | None = None) -> list[Files]:
    pairs, unpaired = pair_files(photos, list_photos(masks), names=names)
    if told := describe(unpaired):
        raise UserError(f"{photos[0].parent}, {masks}: {told}; each photo needs a mask of its own name")
    return [Files(*pair) for pair in pairs]
