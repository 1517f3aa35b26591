"""The parts of a benchmark: each yields its rows as they are measured, so that a part that fails keeps what it has."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from experiments import COMMANDS
from experiments.benchmark import timing
from experiments.benchmark.apart import Apart
from experiments.benchmark.report import Row
from experiments.benchmark.sides import OURS, Detecting, Game, gpu, make_prediction, make_step, noise, torch_device
from sgdbd_jax.config import Config
from sgdbd_jax.data.batches import ExampleMakers, TrainingSets, make_batch
from sgdbd_jax.data.listing import list_photos
from sgdbd_jax.data.sources import load_folder
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import replace, to_dict
from sgdbd_jax.presets import RELEASE
from sgdbd_jax.weights import save_weights

# What this process has set for itself, and a command that is measured sets anew.
SET = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "GLIBC_TUNABLES")
# How many times as fast as a twin ours must be.
STEP_RATIOS = {"torch release": 1.5, "torch best": 1.1}
PREDICT_RATIOS = {"torch best": 1.3}
PREDICTED = (320, 640)  # sides for which they are asked
GPU_RATIOS = {"torch best": 1.5, "torch compiled": 1.1}
# What is asked of a GPU: part, what, unit, at least, at most.
ON_GPU: tuple[tuple[str, str, str, float | None, float | None], ...] = (
    ("step", "ours", "s", None, 0.04),
    ("step", "ours against torch best", "times as fast", 1.5, None),
    ("step", "ours against torch compiled", "times as fast", 1.1, None),
    ("predict", "a photo of 320x320, batch 16 or more", "ms", None, 1),
    ("predict", "share of bfloat16 products", "%", 40, None),
    ("predict", "ours against torch best", "times as fast", 1.5, None),
    ("predict", "ours against torch compiled", "times as fast", 1.1, None),
)
CPU_MATRIX, GPU_MATRIX = 2048, 16384  # sides of the matrices whose product is the machine's ceiling


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    config: Config  # of the step; its generator predicts
    twins: Sequence[str]  # keys of `sides.TWINS`
    rounds: int  # timed runs of each side
    step_rounds: int  # the same of a step
    sides: Sequence[int]  # of predicted photos
    batches: Sequence[int]
    photos: int  # in a folder that is decoded
    names: int  # in a folder that is indexed

    def target(self, value: float | None) -> float | None:
        """A target that holds for the release's networks and step alone; `None` with others."""
        return value if self.config == RELEASE else None


def machine(plan: Plan, known: Sequence[Row]) -> Iterator[Row]:
    """The rates of large matrix products."""
    side = GPU_MATRIX if gpu() else CPU_MATRIX
    yield Row("machine", "jax, float32 matrix product", timing.jax_matrix_rate(side), "GFLOP/s")
    if plan.twins:
        rate = timing.torch_matrix_rate(side, torch_device())
        yield Row("machine", "torch, float32 matrix product", rate, "GFLOP/s")
    bfloat16 = timing.jax_matrix_rate(side, "bfloat16") if gpu() else None
    yield Row("machine", "jax, bfloat16 matrix product", bfloat16, "GFLOP/s", note="" if gpu() else "no GPU")


def step(plan: Plan, known: Sequence[Row]) -> Iterator[Row]:
    """A step of the game: time, operations, memory."""
    config = plan.config
    operations = Game.of(config).operations()
    with contextlib.ExitStack() as stack:
        sides = {who: stack.enter_context(Apart(who, make_step, config)) for who in (OURS, *plan.twins)}
        seconds = timing.in_turn(sides, plan.step_rounds, what="step", warm_up=3 if gpu() else 1)
        yield from _times(plan, "step", seconds, config.crops.crop, config.game.batch, STEP_RATIOS)
        yield Row("step", "operations", operations / 1e9, "GFLOP", note="of plain convolutions and matrix products")
        for who, runs in seconds.items():
            yield _rate("step", who, operations / statistics.median(runs), known)
        memory = {who: side.memory() for who, side in sides.items()}
    used = {}
    for who, measured in memory.items():
        used[who] = measured["peak"] - measured["before"]
        limit = None if gpu() or who != OURS else plan.target(4)
        note = f"{measured['before'] / 1e9:.2f} GB before networks and batch"
        yield Row("step", f"peak memory, {who}", measured["peak"] / 1e9, "GB", at_most=limit, note=note)
    for twin in plan.twins:
        share, note = used[OURS] / used[twin], "less what was there before"
        yield Row("step", f"peak memory, ours over {twin}", share, "times", at_most=plan.target(1.2), note=note)
    yield from _on_gpu(plan, "step")


def predict(plan: Plan, known: Sequence[Row]) -> Iterator[Row]:
    """Masks of photos, by size and batch."""
    detecting = Detecting.of(plan.config)
    for side in plan.sides:
        operations = detecting.operations(side)
        for batch in plan.batches:
            size = f"{side}x{side}, batch {batch}"
            with contextlib.ExitStack() as stack:
                runs = {
                    who: stack.enter_context(Apart(who, make_prediction, plan.config, side, batch))
                    for who in (OURS, *plan.twins)
                }
                seconds = timing.in_turn(runs, plan.rounds, what=f"predict {size}", warm_up=3 if gpu() else 1)
            yield from _times(plan, "predict", seconds, side, batch, PREDICT_RATIOS)
            rate = batch * operations / statistics.median(seconds[OURS])
            yield _rate("predict", f"{OURS}, {size}", rate, known)
            if gpu() and batch >= 16:
                took = 1000 * statistics.median(seconds[OURS]) / batch
                limit = plan.target(1) if side == 320 else None
                yield Row("predict", f"a photo, {OURS}, {size}", took, "ms", at_most=limit)
                share = rate / 1e9 / next(row.value or 0 for row in known if "bfloat16" in row.what)
                least = plan.target(40) if batch == max(plan.batches) else None
                yield Row("predict", f"share of bfloat16 products, {size}", 100 * share, "%", at_least=least)
    yield from _on_gpu(plan, "predict")


def data(plan: Plan, known: Sequence[Row]) -> Iterator[Row]:
    """Decoding, batches of decoded photos, and the index of a large folder."""
    config, cores = plan.config, os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        _write_photos(Path(folder), plan.photos)
        read = functools.partial(load_folder, folder, size=config.sets.photo_size or None)
        readers = {"one thread": functools.partial(read, workers=1), "first epoch's": read}
        seconds = timing.in_turn(readers, plan.rounds, what="decode")
        photos = read()
    for who, runs in seconds.items():
        rate = plan.photos / statistics.median(runs)
        yield Row("data", f"decoding JPEGs of 640x480, {who}", rate, "photos/s", runs=runs)
    gain = timing.ratio(seconds["first epoch's"], seconds["one thread"])
    yield Row("data", f"the latter over the former, on {cores} cores", gain, "times", at_least=0.75 * cores)

    steps = [row.value for row in known if row.part == "step" and row.about.get("who") == OURS]
    for what, blurred in (("from a folder", photos), ("made on the way", None)):
        make = _batches(ExampleMakers(TrainingSets(photos, photos, blurred), config))
        runs = timing.in_turn({"": make}, 4 * plan.rounds, warm_up=3)[""]
        yield Row.timed("data", f"a cached batch, blurred photos {what}", runs)
        times = steps[0] / statistics.median(runs) if steps and steps[0] else None
        note = "" if times else "needs --what step"
        yield Row("data", f"our step over that, blurred photos {what}", times, "times", at_least=20, note=note)

    with tempfile.TemporaryDirectory() as folder:
        a_name = []
        for count in (max(1, plan.names // 10), plan.names):
            where = Path(folder, str(count))
            where.mkdir()
            for index in range(count):
                (where / f"photo{index:07d}.jpg").touch()
            tracemalloc.start()
            list_photos(where)
            a_name.append(tracemalloc.get_traced_memory()[1] / count)
            tracemalloc.stop()
        runs = timing.in_turn({"": lambda: list_photos(where)}, plan.rounds)[""]
    yield Row.timed("data", f"indexing {plan.names} names", runs, at_most=10)
    yield Row("data", "peak memory of that, a name", a_name[1], "bytes")
    grown = a_name[1] / a_name[0]  # 10 if memory grew with the square; tables that double make it 0.5 to 2
    yield Row("data", "the same over that of a tenth of the names", grown, "times", at_most=2)


def startup(plan: Plan, known: Sequence[Row]) -> Iterator[Row]:
    """Processes from start to end: an import, each command's help, one prediction twice."""
    calls = {"import sgdbd_jax": ["-c", "import sgdbd_jax"]}
    calls |= {f"{name} --help": ["-m", f"experiments.{name}", "--help"] for name in COMMANDS}
    processes = {what: functools.partial(_python, arguments) for what, arguments in calls.items()}
    for what, runs in timing.in_turn(processes, plan.rounds, what="startup").items():
        yield Row.timed("startup", what, runs, at_most=0.5 if "help" in what else 0.3)

    with tempfile.TemporaryDirectory() as folder:
        photos, weights, masks, cache = (str(Path(folder, name)) for name in ("photos", "weights", "masks", "cache"))
        _write_photos(Path(photos), 1)
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


def growth(plan: Plan, known: Sequence[Row]) -> Iterator[Row]:
    """Time against side at batch 1, and against batch at a middle side, up to the plan's (a step's: the config's)."""
    config, detecting = plan.config, Detecting.of(plan.config)

    def detect(side: int, batch: int) -> timing.Run:
        return functools.partial(detecting.ours(side), noise(batch, side))

    def play(side: int, batch: int) -> timing.Run:
        sizes = {"crop": side, "photo_size": side, "classifier.input_size": side, "batch": batch}
        return Game.of(replace(config, sizes)).our_step()[0]

    for kind, call, largest, most in (
        ("predict", detect, max(plan.sides), max(plan.batches)),
        ("step", play, config.crops.crop, config.game.batch),
    ):
        sides = sorted({max(min(32, largest), round(share * largest / 16) * 16) for share in (0.2, 0.4, 0.6, 0.8, 1)})
        middle = sides[len(sides) // 2]
        points = [(side, 1, "batch 1") for side in sides]
        points += [(middle, 2**power, f"{middle} x {middle}") for power in range(1, most.bit_length())]
        pixels, medians = [], []
        for side, batch, series in points:
            what = f"{kind}, {side}x{side}, batch {batch}"
            runs = timing.in_turn({"": call(side, batch)}, plan.rounds, what=what)[""]
            pixels.append(batch * side**2)
            medians.append(statistics.median(runs))
            about = {"kind": kind, "series": series, "side": side, "batch": batch, "pixels": pixels[-1]}
            yield Row.timed("growth", what, runs, about=about)
        if len(points) > 2:
            line = timing.fit_line(pixels, medians)
            note = f"and {1e3 * line.fixed:.3g} ms for any size"
            about = {"kind": kind, "line": (line.fixed, line.slope)}
            yield Row("growth", f"{kind}, slope of the line", 1e6 * line.slope, "s a megapixel", note=note, about=about)
            least, note = plan.target(0.99), f"no point is more than {line.departure:.0%} off"
            yield Row("growth", f"{kind}, R² of the line", line.r_squared, "", at_least=least, note=note)


PARTS = {"machine": machine, "step": step, "predict": predict, "data": data, "startup": startup, "growth": growth}


def _batches(examples: ExampleMakers) -> timing.Run:
    """A call that makes the game's next batch."""
    batch, steps = examples.config.game.batch, itertools.count()
    return lambda: make_batch(examples.game, seed=0, stream=0, step=next(steps), batch=batch, places=range(batch))


def _times(
    plan: Plan, part: str, seconds: Mapping[str, Sequence[float]], side: int, batch: int, ratios: Mapping[str, float]
) -> Iterator[Row]:
    """Each side's time, and ours against each twin's."""
    size = f"{side}x{side}, batch {batch}"
    for who, runs in seconds.items():
        limit = plan.target(0.04) if part == "step" and who == OURS and gpu() else None
        about = {"who": who, "side": side, "batch": batch}
        yield Row.timed(part, f"{who}, {size}", runs, at_most=limit, about=about)
    for twin in plan.twins:
        value = timing.ratio(seconds[OURS], seconds[twin])
        least = plan.target((GPU_RATIOS if gpu() else ratios).get(twin))
        least = least if part == "step" or side in PREDICTED else None
        yield Row(part, f"ours against {twin}, {size}", value, "times as fast", at_least=least)


def _rate(part: str, what: str, operations: float, known: Sequence[Row]) -> Row:
    """Operations a second, beside the machine's."""
    ceiling = max(row.value or 0 for row in known if "float32 matrix product" in row.what)
    note = f"{operations / 1e9 / ceiling:.0%} of the fastest float32 product, operations as counted above"
    return Row(part, f"rate, {what}", operations / 1e9, "GFLOP/s", note=note)


def _on_gpu(plan: Plan, part: str) -> Iterator[Row]:
    for of, what, unit, at_least, at_most in ON_GPU:
        if of == part and not gpu():
            yield Row(part, f"on a GPU: {what}", None, unit, plan.target(at_least), plan.target(at_most), "no GPU")


def _python(arguments: Sequence[str], more: Mapping[str, str] | None = None) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in SET} | dict(more or {})
    ended = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)
    if ended.returncode:
        last = (ended.stderr.splitlines() or ["no message"])[-1]
        raise UserError(f"python {' '.join(arguments[:2])}: ended with code {ended.returncode} ({last})")


def _write_photos(folder: Path, count: int) -> None:
    """JPEGs of 640x480 pixels and a photo's usual weight: clouds and a little grain."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (15, 20, 3), np.uint8))
        clouds = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC))
        photo = np.clip(clouds + rng.normal(0, 8, (480, 640, 1)), 0, 255).astype(np.uint8)
        Image.fromarray(photo).save(folder / f"{index:04d}.jpg", quality=90)
