"""Whole processes, from start to end: what starting costs, and what `sgdbd` makes of a folder of photos."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from experiments import COMMANDS
from experiments.benchmark import timing
from experiments.benchmark.plan import Plan
from experiments.benchmark.report import Row
from experiments.benchmark.sides import Detecting, Size, told
from sgdbd_jax.detection.shipped import DEFAULT, weight_file
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import to_dict
from sgdbd_jax.weights import save_weights

# What this process has set for itself, and a command that is measured sets anew.
SET = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "GLIBC_TUNABLES")
TIMED = ("accurate", "lite")  # shipped weights, one a network: `game` has that of `lite`
LARGE, SMALL = (4000, 6000), (427, 640)  # sizes of photos
SECONDS = {LARGE: 0.5, SMALL: 0.2}  # that one of many may take


def startup(plan: Plan, known: Sequence[Row]) -> Iterator[Row]:
    """Processes from start to end: an import, each command's help, one prediction twice."""
    calls = {"import sgdbd_jax": ["-c", "import sgdbd_jax"]}
    calls |= {f"{name} --help": ["-m", f"experiments.{name}", "--help"] for name in COMMANDS}
    processes = {what: functools.partial(_python, arguments) for what, arguments in calls.items()}
    for what, runs in timing.in_turn(processes, plan.rounds, what="startup").items():
        yield Row.timed("startup", what, runs, at_most=0.5 if "help" in what else 0.3)

    with tempfile.TemporaryDirectory() as folder:
        photos, weights, masks, cache = (str(Path(folder, name)) for name in ("photos", "weights", "masks", "cache"))
        write_photos(Path(photos), 1, (480, 640))
        metadata = {"kind": "generator", "config": to_dict(plan.config.generator)}
        save_weights(weights, Detecting.of(plan.config).variables, metadata)
        predict_one = ["-m", "experiments.predict", photos, "--weights", weights, "--out", masks]
        kept: set[Path] = set()
        for number in ("first", "second"):
            start = time.perf_counter()
            _python(predict_one, {"XDG_CACHE_HOME": cache})
            yield Row.timed("startup", f"predict one photo, {number} run", [time.perf_counter() - start])
            new = set(Path(cache).rglob("*-cache")) - kept
            kept |= new
            what, again = f"programs that the {number} run compiled", number == "second"
            yield Row("startup", what, len(new), "", at_most=0 if again else None, note="by what the cache gained")


@dataclass(frozen=True)
class Program:
    """What makes masks of a folder of photos: `python -m MODULE PHOTOS --out DIR OPTIONS`."""

    name: str
    module: str
    options: tuple[str, ...] = ()
    asked: bool = False  # whether there are targets for it


def folder(plan: Plan, known: Sequence[Row]) -> Iterator[Row]:
    """Masks of all photos of a folder: seconds a photo among many, of one from a cold start, and memory."""
    ours = []
    for name in TIMED:
        program = sgdbd(name)
        try:
            weight_file(name)
        except UserError as error:
            yield Row("folder", f"a photo, {program.name}", None, "s", note=str(error))
        else:
            ours.append(program)
    others = [Program("blur-detector", "experiments.benchmark.hifst")] if plan.blur_detector else []
    for size, count, rivals in ((LARGE, plan.large_photos, []), (SMALL, plan.small_photos, others)):
        counts = dict.fromkeys(ours, count) | {program: max(1, count // 10) for program in rivals}
        seconds = {}
        for row in _over_folder(counts, size, plan.step_rounds):
            yield row
            if "who" in row.about:
                seconds[row.about["who"]] = row.value or 0
        for program in ours:
            for rival in rivals:
                value = seconds[rival.name] / seconds[program.name]
                yield Row("folder", f"{program.name} against {rival.name}, {told(size)}", value, "times as fast")


def sgdbd(name: str) -> Program:
    """`sgdbd` with weights that come with it; those that it takes by itself, and the light ones, have targets."""
    if name == DEFAULT:
        return Program(f"sgdbd ({name} weights)", "experiments.predict", asked=True)
    options = ("--weights", name)
    return Program(f"sgdbd {' '.join(options)}", "experiments.predict", options, asked=name == "lite")


def _over_folder(counts: Mapping[Program, int], size: Size, rounds: int) -> Iterator[Row]:
    """Three rows a program: seconds of one photo more, from runs of `count` and of twice that; of one alone; memory.

    Compiled programs are made before, and kept.
    """
    what = told(size)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write_photos(place / "all", 2 * max(counts.values(), default=0), size, sharp=0.6)
        sides: dict[str, timing.Run] = {}
        peaks: dict[Program, list[int]] = {program: [] for program in counts}
        for program, count in counts.items():
            for photos in sorted({1, count, 2 * count}):
                run = functools.partial(_masks, program, _first(place / "all", photos), place / "cache")
                sides[f"{program.name}, {photos}"] = functools.partial(_noting, peaks[program], run)
            sides[f"{program.name}, 1"]()
        seconds = timing.in_turn(sides, rounds, what=f"photos of {what}", warm_up=0)
    for program, count in counts.items():
        one, some, twice = (seconds[f"{program.name}, {photos}"] for photos in (1, count, 2 * count))
        more = [(b - a) / count for a, b in zip(some, twice, strict=True)]
        limits = (SECONDS[size], 3, 1) if program.asked else (None, None, None)
        about = {"who": program.name, "size": what, "batch": 1}
        note = f"{2 * count} photos less {count}"
        yield Row.timed("folder", f"a photo of {what}, {program.name}", more, at_most=limits[0], note=note, about=about)
        yield Row.timed("folder", f"one photo of {what}, cold start, {program.name}", one, at_most=limits[1])
        peak = max(peaks[program]) / 1e9
        yield Row("folder", f"peak memory, {what}, {program.name}", peak, "GB", at_most=limits[2])


def _noting(peaks: list[int], run: Callable[[], int]) -> None:
    peaks.append(run())


def _masks(program: Program, photos: Path, cache: Path) -> int:
    """Runs a program over a folder in a process of its own; gives the most bytes that it held."""
    with tempfile.TemporaryDirectory() as out:
        peak = Path(out, "peak")
        watched = ["-m", "experiments.benchmark.watched", str(peak), program.module]
        _python(
            [*watched, str(photos), "--out", str(Path(out, "masks")), *program.options], {"XDG_CACHE_HOME": str(cache)}
        )
        return int(peak.read_text())


def _first(photos: Path, count: int) -> Path:
    """A folder beside this one with its first photos."""
    folder = photos.with_name(f"{count}")
    if not folder.exists():
        folder.mkdir()
        for path in sorted(photos.iterdir())[:count]:
            (folder / path.name).hardlink_to(path)
    return folder


def _python(arguments: Sequence[str], more: Mapping[str, str] | None = None) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in SET} | dict(more or {})
    ended = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)
    if ended.returncode:
        last = (ended.stderr.splitlines() or ["no message"])[-1]
        raise UserError(f"python {' '.join(arguments[:2])}: ended with code {ended.returncode} ({last})")


def write_photos(folder: Path, count: int, size: Size, *, sharp: float = 1.0) -> None:
    """JPEGs of a photo's usual weight: clouds, and a little grain on the left, on that share of the width."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    height, width = size
    for index in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (15, 20, 3), np.uint8))
        photo = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
        edge = round(sharp * width)
        photo[:, :edge] += (8 * rng.standard_normal((height, edge, 1), np.float32)).astype(np.int16)
        Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(folder / f"{index:04d}.jpg", quality=90)
