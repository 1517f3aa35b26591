"""Our tfds data sets: `cuhk`, `dut`, `fcfb` and `fcsb`.

A new data set is a class beside these and an entry in `BUILDERS`. It says which folders the user's copy must hold, what
white means in its masks, and finds the files of its splits; `tfds_builder` does the rest.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from sgdbd_jax.data.listing import list_masks, list_photos, photo_stem
from sgdbd_jax.data.names import cuhk_split
from sgdbd_jax.data.pairs import describe, pair_files
from sgdbd_jax.data.tfds_builder import Files, PhotoBuilder, Record
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
        stems = {photo_stem(path.name) for path in photos}
        split_of = cuhk_split()
        without_test = {stem for stem, split in split_of.items() if split != "test"}
        expected = without_test if stems.isdisjoint(split_of.keys() - without_test) else set(split_of)
        if stems != expected:
            differences = {"missing": sorted(expected - stems), "not of the benchmark": sorted(stems - expected)}
            raise UserError(
                f"{folder / 'image'}: {len(photos)} photos, expected {len(without_test)} (train and validation) or"
                f" {len(split_of)} (and test): {describe(differences)}"
            )
        pairs = _paired(photos, folder / "gt", names=stems)
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
    set_name, _, config = name.partition("/")
    if set_name not in BUILDERS:
        raise UserError(f"{name}: no such data set; there are {', '.join(BUILDERS)}")
    kind = BUILDERS[set_name]
    if config and config not in kind.builder_configs:
        raise UserError(f"{name}: no such config; there are {', '.join(kind.builder_configs) or 'none'}")
    if split not in kind.SPLITS:
        raise UserError(f"{name}: no split {split!r}; there are {', '.join(kind.SPLITS)}")
    builder = kind(data_dir=data_dir, config=config or None, file_format="array_record")
    builder.prepare(manual_dir)
    try:
        return builder.records(split)
    except (IndexError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{builder.data_path}: damaged ({error}); remove this folder and run again") from error


def _counted(folder: Path, count: int) -> list[Path]:
    photos = list_photos(folder)
    if len(photos) != count:
        raise UserError(
            f"{folder}: {len(photos)} photos, the benchmark has {count}; complete the folder or clear it up"
        )
    return photos


def _paired(photos: Sequence[Path], masks: Path, *, names: set[str] | None = None) -> list[Files]:
    pairs, unpaired = pair_files(photos, list_masks(masks), names=names)
    if problems := describe(unpaired):
        raise UserError(f"{photos[0].parent}, {masks}: {problems}; each photo needs a mask of its own name")
    return [Files(*pair) for pair in pairs]
