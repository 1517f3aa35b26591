"""Writes a generator as a model file that other programs run: `python -m experiments.export --format onnx --out FILE`.

Photos in, `[N, H, W, 3]` uint8 RGB of any size; masks out, `[N, H, W]` float32 in [0, 1], as the network gives them.
Before the file is written its masks of three sizes are compared with the detector's: seconds, or a minute or two of
`accurate`. Needs `pip install -e '.[export]'`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sgdbd_jax.backend import start_jax
from sgdbd_jax.cli import command, compiled


def main(argv: list[str] | None = None) -> int:
    """Parses `argv`, exports, checks, and writes the file."""
    options = _parser().parse_args(argv)
    compiled.keep()
    start_jax()

    from sgdbd_jax.detection.detector import Detector
    from sgdbd_jax.detection.shipped import DEFAULT, weight_file
    from sgdbd_jax.errors import Unavailable, UserError, shown
    from sgdbd_jax.exporting.exported import Exported
    from sgdbd_jax.files import check_folder, file_sha256, write_atomically

    check_folder(options.out.parent, [options.out.name])
    weights = weight_file(options.weights or DEFAULT)
    same = options.out.exists() and weights.exists() and options.out.samefile(weights)
    if same or options.out.suffix == ".safetensors":
        raise UserError(f"{shown(options.out)}: weights are kept there, and would be lost; name another file")
    detector = Detector.load(weights)
    exported = Exported(
        detector, options.format, precision=options.precision, about={"weights_sha256": file_sha256(weights)}
    )
    try:
        error = exported.check()
        print(f"masks of three sizes are a detector's of these weights, as {options.precision}, to {error:.0e}")
    except Unavailable as reason:
        print(f"warning: not checked; {reason}", file=sys.stderr)
    write_atomically(options.out, exported.data)
    print(f"{shown(options.out)}: {len(exported.data) / 1e6:.1f} MB, from {shown(weights)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.export", description="Write a generator as a model file that other programs run."
    )
    parser.add_argument(
        "--format",
        choices=("onnx", "stablehlo"),
        required=True,
        help="onnx: opset 17, for onnxruntime and its like, browsers too; stablehlo: for `jax.export.deserialize`",
    )
    command.add_weights(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")
    parser.add_argument(
        "--half",
        dest="precision",
        action="store_const",
        const="float16",
        default="float32",
        help="weights as float16: half the file, and the same masks of weights that are float16, as the shipped ones;"
        " others are rounded, which moves masks a little",
    )
    return parser


if __name__ == "__main__":
    command.run(main)
