"""Measures speed and memory: `python -m experiments.benchmark [--against WHOM,...] [--what PART,...] --out DIR`.

Prints a table with the targets beside what was measured, and writes `benchmark.json`, `benchmark.png` and `growth.png`
after each part, so that nothing is lost to a later one. All of it takes tens of minutes on a CPU, and wants the machine
to itself. Exit code: 0; 1 if a part failed, though the others are done; 2 bad input.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from sgdbd_jax.backend import start_jax
from sgdbd_jax.cli import allocator, command, compiled
from sgdbd_jax.config import MULTIPLES, Config
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import replace
from sgdbd_jax.files import check_folder
from sgdbd_jax.presets import PRESETS

PARTS = ("step", "fit", "predict", "folder", "data", "startup", "growth")
# Whom ours is measured against: what Python must be able to import, and where that comes from.
EXTRA = "`pip install -e '.[benchmark]'` brings it"
AGAINST = {
    "torch": (("torch",), EXTRA),
    "onnxruntime": (("torch", "onnx", "onnxscript", "onnxruntime"), EXTRA),
    "blur-detector": (
        ("cv2", "skimage", "blur_detector"),
        "`pip install 'scikit-image<0.27'`, then `pip install --no-deps blur-detector`, for it names another OpenCV",
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Parses `argv`, measures, prints the table, and returns the exit code."""
    options = _parser().parse_args(argv)
    parts = options.what.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        raise UserError(f"--what: {unknown[0]!r} is none of {', '.join(PARTS)}")
    parts = [part for part in PARTS if part in parts]  # each once; data looks at what a step takes
    for name in ("rounds", "photos", "names", "large_photos", "small_photos"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise UserError(f"--{name}: {getattr(options, name)} must be at least 1")
    config, sizes, against = _config(options), _sizes(options.sides), _against(options.against)
    batches = _numbers("batches", options.batches) if options.batches else None
    check_folder(options.out, ("benchmark.json", "benchmark.png", "growth.png"))
    compiled.keep()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs some of a GPU's memory too
    start_jax()

    from tqdm import tqdm

    from experiments.benchmark import measures, report
    from experiments.benchmark.plan import Plan
    from experiments.benchmark.sides import TWINS, check_has_twin, gpu

    multiple = MULTIPLES[config.generator.network]
    if "torch" in against and (config.crops.crop, options.batch) == (multiple, 1):
        raise UserError(
            f"--batch: one crop of {multiple} pixels is too little for PyTorch's BatchNorm; take more, or 2"
        )
    if "torch" in against and "step" in parts:
        check_has_twin(config)
    if "onnxruntime" in against and gpu():
        raise UserError("--against onnxruntime: is for CPUs; JAX_PLATFORMS=cpu has ours run there too")
    plan = Plan(
        config,
        [name for name, way in TWINS.items() if "torch" in against and (gpu() or "compile" not in way)],
        options.rounds or 5,
        options.rounds or 3,
        sizes,
        batches or ([1, 8, 16, 64] if gpu() else [1, 8]),
        options.photos,
        options.names,
        "onnxruntime" in against,
        options.large_photos,
        options.small_photos,
        "blur-detector" in against,
    )
    about = {"options": {name: str(value) for name, value in vars(options).items()}, "machine": report.machine()}
    rows: list[report.Row] = []
    if (load := os.getloadavg()[0]) > 0.5:
        tqdm.write(f"warning: the machine is busy (load {load:.1f}): times, PyTorch's first, will mislead", sys.stderr)
    report.write(options.out, about, rows)
    failed = []
    for part in ("machine", *parts):
        try:
            for row in measures.PARTS[part](plan, rows):
                rows.append(row)
        except (UserError, RuntimeError, MemoryError) as error:  # a RuntimeError: no memory, says the compiler
            failed.append(part)
            tqdm.write(f"error: {error}", file=sys.stderr)
        finally:
            report.write(options.out, about, rows)
    print(report.table(rows))
    print(f"in {options.out}: benchmark.json and plots" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmark",
        description="Times training steps, predictions, folders, data, startup and growth, beside their targets.",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for benchmark.json and plots")
    parser.add_argument(
        "--against",
        default="",
        metavar="WHOM,...",
        help=f"any of {','.join(AGAINST)}: also time these, in turn with ours. PyTorch trains and predicts, onnxruntime"
        " predicts, blur-detector makes maps of a folder",
    )
    parser.add_argument("--what", default=",".join(PARTS), metavar="PART,...", help=f"any of {','.join(PARTS)}; all")
    parser.add_argument("--rounds", type=int, metavar="N", help="timed runs of each side; 5, of steps and folders 3")
    parser.add_argument("--preset", choices=list(PRESETS), default="release", help="networks and step; release")
    parser.add_argument("--size", type=int, metavar="N", help="side in pixels of a step's crops; the preset's")
    parser.add_argument("--batch", type=int, metavar="N", help="of a step; the preset's")
    parser.add_argument(
        "--sides",
        default="320,640",
        metavar="N|WxH,...",
        help="of predicted photos, in pixels, such as 320 or 1024x683, reflected up to what the network takes; 320,640",
    )
    parser.add_argument("--batches", metavar="N,...", help="of predicted photos; 1,8, and on a GPU 16,64 too")
    parser.add_argument("--photos", type=int, default=200, metavar="N", help="photos to decode; 200")
    parser.add_argument("--large_photos", type=int, default=3, metavar="N", help="of 6000x4000, of a folder; 3")
    parser.add_argument("--small_photos", type=int, default=20, metavar="N", help="of 640x427, of another; 20")
    parser.add_argument("--names", type=int, default=100_000, metavar="N", help="names to index; 100000")
    return parser


def _config(options: argparse.Namespace) -> Config:
    """The preset with the sizes asked for."""
    changes: dict[str, Any] = {}
    if options.size is not None:
        changes |= dict.fromkeys(("crop", "photo_size", "classifier.input_size"), options.size)
    if options.batch is not None:
        changes |= dict.fromkeys(("batch", "warm_batch"), options.batch)
    return replace(PRESETS[options.preset], changes)


def _against(text: str) -> list[str]:
    """Whom ours is to be measured against, each of them installed."""
    names = text.split(",") if text else []
    for name in names:
        if name not in AGAINST:
            raise UserError(f"--against: {name!r} is none of {', '.join(AGAINST)}")
        modules, remedy = AGAINST[name]
        if missing := [module for module in modules if importlib.util.find_spec(module) is None]:
            raise UserError(f"--against {name}: {missing[0]} is not installed; {remedy}")
    return names


def _sizes(text: str) -> list[tuple[int, int]]:
    """The (height, width) of a list such as 320,1024x683, growing, each once."""
    sizes = set()
    for entry in text.split(","):
        width, cross, height = entry.partition("x")
        sides = [width, height if cross else width]
        if not all(side.isdecimal() and int(side) for side in sides):
            raise UserError(f"--sides: {entry!r} is no size such as 320 or 1024x683")
        sizes.add((int(sides[1]), int(sides[0])))
    return sorted(sizes, key=lambda size: (size[0] * size[1], size))


def _numbers(name: str, text: str) -> list[int]:
    """The numbers of a list with commas, growing, each once."""
    try:
        numbers = sorted({int(number) for number in text.split(",")})
    except ValueError as error:
        raise UserError(f"--{name}: {text!r} is not a list of numbers such as 1,2") from error
    if numbers[0] < 1:
        raise UserError(f"--{name}: {numbers[0]} is not a positive number")
    return numbers


def start() -> int:
    """The whole process: starts over for huge pages, once the command line is understood, and measures."""
    _parser().parse_args()
    allocator.use_huge_pages()
    return main()


if __name__ == "__main__":
    command.run(start)
