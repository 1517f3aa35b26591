"""A detector's generator as a model file of another program's format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal, TypeAlias

import jax
import numpy as np

from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.exporting.check import Program, check_program
from sgdbd_jax.extra import needed
from sgdbd_jax.weights import halve

Format: TypeAlias = Literal["onnx", "stablehlo"]
Precision: TypeAlias = Literal["float32", "float16"]


class Exported:
    """A model file, not written yet: photos of any size in, the network's masks out, not refined.

    Args:
        detector: of any working size and refinement; the model pads photos, but neither resizes them nor refines masks.
        format: "onnx", or "stablehlo", as `jax.export` serialises it.
        precision: what the file holds its weights in; "float16" loses nothing of weights that were float16 before.
        about: what an ONNX file's metadata say besides.

    Raises:
        Unavailable: the package that writes the format is not installed.
    """

    def __init__(
        self,
        detector: Detector,
        format: Format,
        *,
        precision: Precision = "float32",
        about: Mapping[str, str] | None = None,
    ) -> None:
        needed("onnx" if format == "onnx" else "flatbuffers", f"export to {format}")
        self.format, config = format, detector.config
        held = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), detector.variables)
        held = halve(held) if precision == "float16" else held
        self._detector = Detector(config, held, work_size="native")
        multiple = self._detector.multiple
        if format == "onnx":
            from sgdbd_jax.exporting.onnx_graph import onnx_model

            about = _about(detector, multiple, precision) | dict(about or {})
            model = onnx_model(config, held, multiple=multiple, about=about)
            self.data = model.SerializeToString(deterministic=True)
        else:
            from sgdbd_jax.exporting.stablehlo import stablehlo_program

            self.data = bytes(stablehlo_program(config, held, multiple=multiple).serialize())

    def check(self) -> float:
        """Runs the model on photos of three sizes, and compares its masks with those of a `Detector` of its weights.

        Returns:
            The largest difference.

        Raises:
            Unavailable: onnxruntime, which runs ONNX files, is not installed.
            UserError: the difference is more than `exporting.check.TOLERANCE`.
        """
        return check_program(self._program(), self._detector)

    def _program(self) -> Program:
        if self.format == "stablehlo":
            program = jax.export.deserialize(bytearray(self.data))
            return lambda photos: np.asarray(program.call(photos))
        session = needed("onnxruntime", "the check").InferenceSession(self.data, providers=["CPUExecutionProvider"])
        return lambda photos: session.run(None, {"photos": photos})[0]


def _about(detector: Detector, multiple: int, precision: Precision) -> dict[str, str]:
    """What a reader of the file alone must know."""
    return {
        "photos": "[N, H, W, 3] uint8 RGB, 0 to 255, upright, in sRGB; any N, H and W from 1 on",
        "masks": "[N, H, W] float32 in [0, 1], 1 = in focus; as the network gives them, not refined",
        "work_size": _beforehand(str(detector.work_size)),
        "padding": f"inside, by reflection, to multiples of {multiple} pixels",
        "precision": precision,
        "weights": json.dumps(dict(detector.metadata), sort_keys=True),
    }


def _beforehand(work_size: str) -> str:
    """What is to be done to photos before the model sees them."""
    if work_size == "native":
        return "native: photos keep their own size"
    side = work_size.removeprefix("max:")
    if side != work_size:
        return f"{work_size}: photos of more than {side} pixels on the longer side are reduced to {side} beforehand"
    return f"{side}: photos are resized to {side} x {side} pixels beforehand, whatever their shape"
