"""The parts of a benchmark: each yields its rows as they are measured, so that a part that fails keeps what it has."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import os
import statistics
import tempfile
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.benchmark import timing
from experiments.benchmark.apart import Apart
from experiments.benchmark.plan import (
    FIT_RATIOS,
    GPU_PHOTO,
    GPU_RATIOS,
    PREDICT_RATIOS,
    STEP_RATIOS,
    Limits,
    Plan,
    on_gpu,
    rate,
    rates,
    times,
)
from experiments.benchmark.processes import folder, startup, write_photos
from experiments.benchmark.report import Row
from experiments.benchmark.sides import (
    FIT_TWINS,
    ONNX,
    OURS,
    Detecting,
    Fit,
    Game,
    Size,
    bfloat16_unit,
    gpu,
    make_fit,
    make_prediction,
    make_step,
    noise,
    square,
    told,
    torch_device,
)
from sgdbd_jax.data.batches import ExampleMakers, TrainingSets, make_batch
from sgdbd_jax.data.listing import list_photos
from sgdbd_jax.data.sources import load_folder
from sgdbd_jax.fields import replace

CPU_MATRIX, GPU_MATRIX = 2048, 16384  # sides of the matrices whose product is the machine's ceiling
PREDICTED = [(320, 320), (640, 640)]  # sizes for which so many times is asked
LITE_PREDICTED = [*PREDICTED, (683, 1024)]


def machine(plan: Plan, known: Sequence[Row]) -> Iterator[Row]:
    """The rates of large matrix products."""
    side = GPU_MATRIX if gpu() else CPU_MATRIX
    yield Row("machine", "jax, float32 matrix product", timing.jax_matrix_rate(side), "GFLOP/s")
    if plan.twins:
        speed = timing.torch_matrix_rate(side, torch_device())
        yield Row("machine", "torch, float32 matrix product", speed, "GFLOP/s")
    bfloat16 = timing.jax_matrix_rate(side, "bfloat16") if gpu() else None
    yield Row("machine", "jax, bfloat16 matrix product", bfloat16, "GFLOP/s", note="" if gpu() else "no GPU")


def step(plan: Plan, known: Sequence[Row]) -> Iterator[Row]:
    """A step of the game: time, operations, memory."""
    config = plan.config
    operations = Game.of(config).operations()
    with contextlib.ExitStack() as stack:
        sides = {who: stack.enter_context(Apart(who, make_step, config)) for who in (OURS, *plan.twins)}
        seconds = timing.in_turn(sides, plan.step_rounds, what="step", warm_up=3 if gpu() else 1)
        limit = plan.target(0.04) if gpu() else None
        ratios = GPU_RATIOS if gpu() else STEP_RATIOS
        crop = square(config.crops.crop)
        yield from times(plan, "step", seconds, crop, config.game.batch, ratios, at_most=limit)
        yield from rates("step", seconds, operations, known)
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
    yield from on_gpu(plan, "step")


def fit(plan: Plan, known: Sequence[Row]) -> Iterator[Row]:
    """A step of a generator's own training, by cross-entropy on masks: time and operations."""
    config = plan.config
    operations = Fit.of(config).operations()
    twins = [twin for twin in FIT_TWINS if plan.twins and (gpu() or "compile" not in FIT_TWINS[twin])]
    in_bfloat16 = [twin for twin in twins if "bfloat16" in FIT_TWINS[twin] and not bfloat16_unit()]
    twins = [twin for twin in twins if twin not in in_bfloat16]
    with contextlib.ExitStack() as stack:
        sides = {who: stack.enter_context(Apart(who, make_fit, config)) for who in (OURS, *twins)}
        seconds = timing.in_turn(sides, plan.step_rounds, what="fit", warm_up=3 if gpu() else 1)
    ratios = {} if gpu() else FIT_RATIOS
    yield from times(plan, "fit", seconds, square(config.crops.crop), config.pastes.warm_batch, ratios)
    yield from rates("fit", seconds, operations, known)
    for twin in in_bfloat16:
        least = plan.target(*FIT_RATIOS[twin])
        yield Row("fit", f"ours against {twin}", None, "times as fast", least, note="no avx512_bf16 or amx_bf16 here")


def predict(plan: Plan, known: Sequence[Row]) -> Iterator[Row]:
    """Masks of photos, by size and batch."""
    detecting = Detecting.of(plan.config)
    for size in plan.sizes:
        operations = detecting.operations(size)
        for batch in plan.batches:
            what = f"{told(size)}, batch {batch}"
            with contextlib.ExitStack() as stack:
                runs = {
                    who: stack.enter_context(Apart(who, make_prediction, plan.config, size, batch))
                    for who in (OURS, *plan.twins, *([ONNX] if plan.onnx else []))
                }
                seconds = timing.in_turn(runs, plan.rounds, what=f"predict {what}", warm_up=3 if gpu() else 1)
            yield from times(plan, "predict", seconds, size, batch, _asked(size, batch))
            speed = batch * operations / statistics.median(seconds[OURS])
            yield rate("predict", f"{OURS}, {what}", speed, known)
            if gpu() and batch >= 16:
                took = 1000 * statistics.median(seconds[OURS]) / batch
                limit = plan.target(*GPU_PHOTO) if size == (320, 320) else None
                yield Row("predict", f"a photo, {OURS}, {what}", took, "ms", at_most=limit)
                share = speed / 1e9 / next(row.value or 0 for row in known if "bfloat16" in row.what)
                least = plan.target(40) if batch == max(plan.batches) else None
                yield Row("predict", f"share of bfloat16 products, {what}", 100 * share, "%", at_least=least)
    yield from on_gpu(plan, "predict")


def _asked(size: Size, batch: int) -> dict[str, Limits]:
    """How many times as fast as others ours must predict: of the light network, photos one by one."""
    by_other = GPU_RATIOS if gpu() else PREDICT_RATIOS
    return {
        other: (release if size in PREDICTED else None, lite if size in LITE_PREDICTED and batch == 1 else None)
        for other, (release, lite) in by_other.items()
    }


def data(plan: Plan, known: Sequence[Row]) -> Iterator[Row]:
    """Decoding, batches of decoded photos, and the index of a large folder."""
    config, cores = plan.config, os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as place:
        write_photos(Path(place), plan.photos, (480, 640))
        read = functools.partial(load_folder, place, size=config.sets.photo_size or None)
        readers = {"one thread": functools.partial(read, workers=1), "first epoch's": read}
        seconds = timing.in_turn(readers, plan.rounds, what="decode")
        photos = read()
    for who, runs in seconds.items():
        speed = plan.photos / statistics.median(runs)
        yield Row("data", f"decoding JPEGs of 640x480, {who}", speed, "photos/s", runs=runs)
    gain = timing.ratio(seconds["first epoch's"], seconds["one thread"])
    yield Row("data", f"the latter over the former, on {cores} cores", gain, "times", at_least=0.75 * cores)

    steps = [row.value for row in known if row.part == "step" and row.about.get("who") == OURS]
    for what, blurred in (("from a folder", photos), ("made on the way", None)):
        make = _batches(ExampleMakers(TrainingSets(photos, photos, blurred), config))
        runs = timing.in_turn({"": make}, 4 * plan.rounds, warm_up=3)[""]
        yield Row.timed("data", f"a cached batch, blurred photos {what}", runs)
        ratio = steps[0] / statistics.median(runs) if steps and steps[0] else None
        note = "" if ratio else "needs --what step"
        yield Row("data", f"our step over that, blurred photos {what}", ratio, "times", at_least=20, note=note)

    with tempfile.TemporaryDirectory() as place:
        a_name = []
        for count in (max(1, plan.names // 10), plan.names):
            where = Path(place, str(count))
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


def growth(plan: Plan, known: Sequence[Row]) -> Iterator[Row]:
    """Time against side at batch 1, and against batch at a middle side, up to the plan's (a step's: the config's)."""
    config, detecting = plan.config, Detecting.of(plan.config)
    multiple = detecting.multiple

    def detect(side: int, batch: int) -> timing.Run:
        return functools.partial(detecting.ours(), noise(batch, square(side)))

    def play(side: int, batch: int) -> timing.Run:
        sizes = {"crop": side, "photo_size": side, "classifier.input_size": side, "batch": batch}
        return Game.of(replace(config, sizes)).our_step()

    for kind, call, largest, most in (
        ("predict", detect, max(math.isqrt(math.prod(size)) for size in plan.sizes), max(plan.batches)),
        ("step", play, config.crops.crop, config.game.batch),
    ):
        steps = [round(share * largest / multiple) for share in (0.2, 0.4, 0.6, 0.8, 1)]
        sides = sorted({max(multiple, min(32, largest), multiple * step) for step in steps})
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


PARTS = {
    "machine": machine,
    "step": step,
    "fit": fit,
    "predict": predict,
    "folder": folder,
    "data": data,
    "startup": startup,
    "growth": growth,
}


def _batches(examples: ExampleMakers) -> timing.Run:
    """A call that makes the game's next batch."""
    batch, steps = examples.config.game.batch, itertools.count()
    return lambda: make_batch(examples.game, seed=0, stream=0, step=next(steps), batch=batch, places=range(batch))
