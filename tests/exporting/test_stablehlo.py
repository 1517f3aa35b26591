"""The StableHLO program gives the detector's masks, of any size."""

import jax
import numpy as np
import pytest
from twins import random_variables, small

from sgdbd_jax.config import GeneratorConfig
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.exporting.stablehlo import PLATFORMS, stablehlo_program
from sgdbd_jax.models.networks import make_generator
from sgdbd_jax.weights import halve

pytest.importorskip("flatbuffers", reason="flatbuffers is not installed: pip install -e '.[export]'")


ALIGNED = GeneratorConfig(width=0.05, align_corners=True, blocks=(((80, 3),),) * 4, skips=("",) * 4)


@pytest.mark.parametrize(
    ("config", "multiple", "size", "platforms"),
    [(small("lite").generator, 64, (40, 70), PLATFORMS), (ALIGNED, 16, (7, 20), ("cpu",))],
)
def test_masks_are_the_detector_s(config, multiple, size, platforms):
    """Aligned corners, as the release's, are placed by a size that is not known yet."""
    variables = random_variables(make_generator(config), 32, np.random.default_rng(0))
    held = halve(variables)
    detect = Detector(config, held, work_size="native")
    written = stablehlo_program(config, held, multiple=multiple, platforms=platforms).serialize()
    program = jax.export.deserialize(bytearray(written))
    convolutions = [line for line in program.mlir_module().splitlines() if "stablehlo.convolution" in line]
    assert convolutions and all("HIGHEST" in line for line in convolutions)  # on GPUs too
    assert program.platforms == platforms
    assert [(each.dtype, str(each.shape)) for each in program.in_avals] == [(np.uint8, "(N, H, W, 3)")]
    photos = np.random.default_rng(1).integers(0, 256, (2, *size, 3), np.uint8)
    masks = np.asarray(program.call(photos))
    assert (masks.shape, masks.dtype) == ((2, *size), np.float32)
    np.testing.assert_allclose(masks, detect(photos), atol=1e-5)
    assert masks.std() > 0.01
