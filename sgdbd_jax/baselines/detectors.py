"""The detectors that the comparison knows: what each is, whence it comes, and how its functions are had.

In the order of the paper's Table 3; then one that is not in it, the shipped weights, and the constant masks.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from sgdbd_jax.detection.shipped import shipped, weight_file
from sgdbd_jax.errors import Unavailable
from sgdbd_jax.extra import needed

if TYPE_CHECKING:
    import numpy as np

Detect = Callable[["np.ndarray"], "np.ndarray"]  # from a photo, [H, W, 3] uint8, to its map, [H, W] float32 in [0, 1]
Needs = Literal["nothing", "clear", "masks"]
BENCHMARKS = ("CUHK", "DUT")
# What comes before the pixels that a map is made of, and what only carries a training through.
APART = ("sgdbd_jax.data.photos", "sgdbd_jax.training.")
COMPUTES = ("numpy", "scipy", "jax", "jaxlib", "flax", "opencv-python-headless", "scikit-image")


@dataclass(frozen=True)
class Entry:
    """A detector.

    Attributes:
        key: what commands call it; of a baseline, also its module, and the name of its weight file.
        name: what tables call it.
        kind: whether it is another's detector, of shipped weights, a constant mask, or masks that were made elsewhere.
        source: its authors, where and when it was published.
        grade: how far what stands here can be trusted to be the authors': A, read from their program; B, from
            another's; C, reconstructed.
        label: what it should be compared as.
        learned_from: in words.
        needs: to be trained: nothing, as it does not learn; clear photos; or photos with masks.
        paper: F and MAE in the paper's Table 3, by benchmark.
    """

    key: str
    name: str
    kind: Literal["baseline", "ours", "constant", "elsewhere"]
    source: str = ""
    grade: str = ""
    label: str = ""
    learned_from: str = "nothing"
    needs: Needs = "nothing"
    paper: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def weights(self) -> Path | None:
        """The shipped file of what it learned; `None` for a detector that learns nothing.

        Raises:
            Unavailable: none is shipped.
            UserError: it is not the file that was shipped.
        """
        if self.kind == "ours":
            return weight_file(self.key)
        if self.needs == "nothing":
            return None
        self.module()
        try:
            return shipped(f"baselines/{self.key}.safetensors")
        except Unavailable as error:
            raise Unavailable(f"{self.key}: no weights are shipped; --train {self.key} makes some") from error

    def detector(self, weights: Path | None) -> Detect:
        """Its function, ready to be called again and again.

        Args:
            weights: the file of what it learned, as of `weights`, or as a training wrote it.

        Raises:
            Unavailable: this installation lacks it, or what it needs.
            UserError: the file cannot be used.
        """
        if self.kind == "constant":
            return self._constant
        if self.kind == "ours":
            from sgdbd_jax.detection.detector import Detector

            return Detector.load(weights)
        module = self.module()
        if self.needs == "nothing":
            return module.detect
        return functools.partial(module.detect, learned=module.read(weights))

    def check_training(self) -> None:
        """Refuses a training for which this installation lacks something.

        Raises:
            Unavailable: it does.
        """
        for package in getattr(self.module(), "TRAINED_WITH", ()):
            needed(package, f"{self.name}'s training")

    def train(self, *photos: Any, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Its training, with the arguments of its module's `train`; the tree and the metadata of a weight file.

        Raises:
            Unavailable: this installation lacks it, or what it needs.
            UserError, Stopped: as its module's `train`.
        """
        return self.module().train(*photos, **options)

    def module(self) -> ModuleType:
        """The module of a baseline, imported only now.

        Raises:
            Unavailable: there is none.
        """
        name = f"{__package__}.{self.key}"
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise Unavailable(f"{self.key}: is not in this version") from error

    def code(self, *, packages: bool = True) -> str:
        """A digest of the code that makes its maps, without what reads photos and what carries trainings through.

        Args:
            packages: whether the versions of other packages count.
        """
        if self.kind == "constant":
            return ""
        first = f"{__package__}.{self.key}" if self.kind == "baseline" else "sgdbd_jax.detection.detector"
        digest = hashlib.sha256(repr([(name, _version(name)) for name in COMPUTES if packages]).encode())
        for name, text in sorted(_imported(first).items()):
            digest.update(f"{name} {text}".encode())
        return digest.hexdigest()

    def _constant(self, photo: np.ndarray) -> np.ndarray:
        import numpy as np

        return np.full(photo.shape[:2], float(self.key == "ones"), np.float32)


def _imported(first: str) -> dict[str, str]:
    """A module of this package and those that it imports, but for what reads photos: what each says, by its name."""
    found: dict[str, str] = {}
    left = {first}
    while left:
        name = left.pop()
        if (
            name in found
            or name.startswith(APART)
            or (spec := importlib.util.find_spec(name)) is None
            or spec.origin is None
        ):
            continue
        tree = ast.parse(Path(spec.origin).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sgdbd_jax"):
                left |= {str(node.module), *(f"{node.module}.{each.name}" for each in node.names)} & _modules()
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body[0] = ast.Pass()  # words make no maps
        found[name] = ast.dump(tree)
    return found


@functools.cache
def _modules() -> frozenset[str]:
    """The names of all modules of this package."""
    package = Path(__file__).parents[1]
    paths = (path.relative_to(package.parent).with_suffix("") for path in package.rglob("*.py"))
    return frozenset(".".join(path.parts).removesuffix(".__init__") for path in paths)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _paper(*numbers: tuple[float, float]) -> dict[str, tuple[float, float]]:
    return dict(zip(BENCHMARKS, numbers, strict=True))


UNSUPERVISED, SUPERVISED = "unsupervised", "supervised, hand-crafted features"

DETECTORS = {
    entry.key: entry
    for entry in (
        Entry(
            key="svd",
            name="SVD",
            kind="baseline",
            source="Su, Lu and Tan, ACM Multimedia 2011",
            grade="A",
            label=UNSUPERVISED,
            paper=_paper((0.750, 0.242), (0.664, 0.282)),
        ),
        Entry(
            key="dbdf",
            name="DBDF",
            kind="baseline",
            source="Shi, Xu and Jia, CVPR 2014",
            grade="A (features, inference), C (training)",
            label=SUPERVISED,
            learned_from="photos with masks",
            needs="masks",
            paper=_paper((0.579, 0.311), (0.503, 0.376)),
        ),
        Entry(
            key="srid",
            name="SRID",
            kind="baseline",
            source="Shi, Xu and Jia, CVPR 2015",
            grade="A, C (dictionary)",
            label=UNSUPERVISED,
            learned_from="clear photos, blurred",
            needs="clear",
            paper=_paper((0.446, 0.573), (0.493, 0.516)),
        ),
        Entry(
            key="ksfv",
            name="KSFV",
            kind="baseline",
            source="Pang, Zhu, Li and Li, IEEE Transactions on Cybernetics 2015",
            grade="C",
            label=f"reconstruction, {SUPERVISED}",
            learned_from="photos with masks",
            needs="masks",
            paper=_paper((0.521, 0.300), (0.562, 0.271)),
        ),
        Entry(
            key="ss",
            name="SS",
            kind="baseline",
            source="Tang, Wu, Hou, Wang and Li, IEEE Signal Processing Letters 2016",
            grade="B (steps), C (constants)",
            label="reconstruction, unsupervised",
            learned_from="nothing, but for one number chosen on CUHK's validation photos",
            paper=_paper((0.701, 0.270), (0.669, 0.293)),
        ),
        Entry(
            key="dhcf",
            name="DHCF",
            kind="baseline",
            source="Park, Tai, Cho and Kweon, CVPR 2017",
            grade="A, C (training)",
            label="no masks, synthetic blur levels",
            learned_from="clear photos, blurred by known amounts",
            needs="clear",
            paper=_paper((0.477, 0.374), (0.471, 0.412)),
        ),
        Entry(
            key="hifst",
            name="HiFST",
            kind="baseline",
            source="Golestaneh and Karam, CVPR 2017",
            grade="A",
            label=UNSUPERVISED,
            paper=_paper((0.701, 0.233), (0.686, 0.251)),
        ),
        Entry(
            key="btbnet",
            name="BTBNet",
            kind="baseline",
            source="Zhao, Zhao, Wang and Lu, CVPR 2018",
            grade="C",
            label="reconstruction, supervised",
            learned_from="photos with masks",
            needs="masks",
            paper=_paper((0.861, 0.113), (0.767, 0.197)),
        ),
        Entry(
            key="lbp",
            name="LBP",
            kind="baseline",
            source="Yi and Eramian, IEEE Transactions on Image Processing 2016",
            grade="A, B (way up)",
            label=UNSUPERVISED,
        ),
        Entry(
            key="lite",
            name="ours, `lite`",
            kind="ours",
            label="no masks",
            learned_from="photos, the masks of `accurate`, and pastes",
        ),
        Entry(
            key="accurate",
            name="ours, `accurate`",
            kind="ours",
            label="no masks",
            learned_from="photos, pastes and its own masks, from a VGG16",
        ),
        Entry(
            key="game",
            name="ours, `game`",
            kind="ours",
            label="no masks, the paper's game alone",
            learned_from="photos",
        ),
        Entry(key="zeros", name="a mask of zeros", kind="constant", label="constant"),
        Entry(key="ones", name="a mask of ones", kind="constant", label="constant"),
    )
}
