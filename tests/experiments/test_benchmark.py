"""The benchmark: its clock, its arithmetic, and the whole command on networks that take milliseconds."""

import json
import math
import os
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_game
from PIL import Image

from experiments.benchmark import __main__ as benchmark
from experiments.benchmark import apart, measures, report, sides, timing
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import replace
from sgdbd_jax.models.convolution import convolve
from sgdbd_jax.presets import DEMO, PRESETS

SIZE = 16
FIELDS = {
    "generator.width": 0.05,
    "classifier.width": 0.05,
    "classifier.norm": False,  # as in the tiny game
    "discriminator.channels": (4, 4, 4),
    "discriminator.strides": (1, 2, 2),
    "crop": SIZE,
    "photo_size": SIZE,
    "batch": 4,
    "warm_batch": 2,
}
TINY = replace(DEMO, FIELDS)


def test_sides_are_timed_in_turn_and_warm_up_is_not_counted():
    now, calls = [0.0], []

    def side(name, *takes):
        takes = iter(takes)

        def run():
            calls.append(name)
            now[0] += next(takes)

        return run

    a, b = side("a", 100.0, 1.0, 9.0, 2.0), side("b", 50.0, 4.0, 4.0, 6.0)
    seconds = timing.in_turn({"a": a, "b": b}, 3, clock=lambda: now[0])
    assert "".join(calls) == "abababab"
    assert seconds == {"a": [1.0, 9.0, 2.0], "b": [4.0, 4.0, 6.0]}
    assert timing.ratio(seconds["a"], seconds["b"]) == 2.0  # a takes 2 s, b 4: a is twice as fast


def test_a_line_is_found_and_what_departs_from_it_is_told():
    line = timing.fit_line([1, 2, 4], [3.5, 4.0, 5.0])
    assert (line.fixed, line.slope, line.r_squared) == pytest.approx((3.0, 0.5, 1.0))
    assert line.departure < 1e-9
    bent = timing.fit_line([0, 1, 2], [1.0, 1.0, 4.0])  # the line 0.5 + 1.5 x; half a second off, or one
    assert (bent.fixed, bent.slope, bent.r_squared, bent.departure) == pytest.approx((0.5, 1.5, 0.75, 1.0))


def test_a_rate_is_of_the_multiplications_and_additions_of_a_matrix_product():
    assert 20 < timing.matrix_rate(lambda: time.sleep(0.05), 1000) <= 40  # 1000^3 of each in 0.05 s
    assert timing.jax_matrix_rate(512) > 1


def test_peak_memory_sees_what_a_call_holds_and_forgets_what_others_held():
    def holding(megabytes):
        return lambda: np.ones(megabytes * 10**6, np.uint8)

    timing.peak_memory(holding(400))
    before = timing.resident_memory()
    assert timing.peak_memory(holding(200)) - before == pytest.approx(200e6, rel=0.1)


def test_a_step_s_memory_holds_its_variables_and_is_that_of_its_own_process(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ballast = np.ones(10**9, np.uint8)
    plainer = {"bilateral_weight": 0.0, "generator.trunk_norm": False, "generator.decoder_norm": False}
    with apart.Apart(sides.OURS, sides.make_step, replace(TINY, plainer)) as step:
        step()
        measured = step.memory()
    assert 50e6 < measured["before"] < measured["peak"] < ballast.nbytes


def test_a_side_whose_process_ends_is_told():
    with (
        pytest.raises(UserError, match="the process of one side ended, perhaps for want of memory"),
        apart.Apart(sides.OURS, ending_run) as step,
    ):
        step()


def ending_run(who):
    return lambda: os._exit(1)


@pytest.mark.parametrize(
    ("value", "limits", "target", "met"),
    [
        (1.5, {"at_least": 1.5}, "at least 1.5", True),
        (1.4, {"at_least": 1.5}, "at least 1.5", False),
        (4.0, {"at_most": 4}, "at most 4", True),
        (1.0, {"at_most": 0}, "at most 0", False),
        (None, {"at_most": 4}, "at most 4", None),
        (1.0, {}, "", None),
    ],
)
def test_a_target_is_met_or_not(value, limits, target, met):
    row = report.Row("step", "x", value, "s", **limits)
    assert (row.target, row.met) == (target, met)


def test_operations_are_those_of_plain_convolutions():
    x, kernel = np.ones((1, 8, 8, 3)), np.ones((3, 3, 3, 5))
    assert sides.count_operations(convolve, x, kernel) == 2 * 3 * 5 * 24**2  # 8 times 3 taps a side
    # Each derivative counts as much again.
    large, kernel = np.ones((4, 64, 64, 16)), np.ones((3, 3, 16, 16))
    forward = 4 * 2 * 16 * 16 * 192**2
    gradients = jax.grad(lambda x, kernel: jnp.square(convolve(x, kernel)).sum(), argnums=(0, 1))
    assert sides.count_operations(gradients, large, kernel) == 3 * forward
    # A loop counts every turn, of products too.

    def products(a):
        return jax.lax.map(lambda row: row @ row.T, a)

    assert sides.count_operations(products, np.ones((7, 4, 5))) == 7 * 2 * 4 * 4 * 5


class Here:
    """A side in this process, whose networks a test may replace."""

    def __init__(self, who, make, *arguments):
        self.run, self.who = make(who, *arguments), who

    def __call__(self):
        self.run()

    def memory(self):
        return {"before": 10**9, "peak": (3 if self.who == sides.OURS else 2) * 10**9}

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Calls the command on tiny networks; gives its exit code and the rows that it wrote."""
    monkeypatch.setitem(PRESETS, "demo", TINY)
    monkeypatch.setattr(measures, "CPU_MATRIX", 64)
    monkeypatch.setattr(measures, "Apart", Here)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def call(what, *more):
        sizes = ["--preset", "demo", "--rounds", "2", "--sides", "32,48", "--batches", "1,2"]
        counts = ["--photos", "8", "--names", "50"]
        out = tmp_path / "out"
        code = benchmark.main(["--out", str(out), "--what", what, *sizes, *counts, *more])
        told = json.loads((out / "benchmark.json").read_text())
        return code, {f"{row['part']}: {row['what']}": row for row in told["rows"]}

    return call


def is_png(path):
    with Image.open(path) as image:
        return image.format == "PNG" and min(image.size) > 300


def test_the_whole_command(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sides.Networks, "of", lambda config, axis_name=None: tiny_game.networks(axis_name))
    monkeypatch.setattr(measures.Detecting, "ours", lambda self: lambda photos: time.sleep(photos.size / 2e5))
    code, rows = run("step,fit,predict,data,growth", "--sides", "32,50x40,48")
    assert code == 0
    assert len(rows["step: ours, 16x16, batch 4"]["runs"]) == 2
    assert rows["step: peak memory, ours"]["value"] == 3.0
    assert len(rows["fit: ours, 16x16, batch 2"]["runs"]) == 2
    assert rows["predict: ours, 48x48, batch 2"]["value"] == pytest.approx(2 * 48 * 48 * 3 / 2e5, rel=0.5)
    assert rows["predict: ours, 50x40, batch 1"]["value"] == pytest.approx(64 * 48 * 3 / 2e5, rel=0.5)
    assert rows["data: our step over that, blurred photos from a folder"]["at_least"] == 20
    assert rows["data: indexing 50 names"]["met"]
    assert rows["growth: predict, R² of the line"]["value"] > 0.8
    assert rows["growth: step, 16x16, batch 4"]["value"] > 0
    assert all(math.isfinite(row["value"]) for row in rows.values() if row["value"] is not None)
    assert all(is_png(tmp_path / "out" / name) for name in ("benchmark.png", "growth.png"))
    told = capsys.readouterr().out.splitlines()
    (gpu,) = (line for line in told if "share of bfloat16 products" in line)
    assert " ".join(gpu.split()) == "predict on a GPU: share of bfloat16 products not measured no GPU"


def test_a_second_process_compiles_nothing_again(run):
    code, rows = run("startup")
    assert code == 0
    assert rows["startup: programs that the first run compiled"]["value"] > 0
    assert rows["startup: programs that the second run compiled"]["met"]
    assert rows["startup: import sgdbd_jax"]["value"] < rows["startup: predict one photo, second run"]["value"]


@pytest.mark.parametrize("kind", [UserError, RuntimeError, MemoryError])
def test_a_part_that_fails_costs_no_finished_work(run, monkeypatch, capsys, kind):
    def fail(plan, known):
        yield report.Row("predict", "done before", 1.0, "s")
        raise kind("no memory left")

    monkeypatch.setitem(measures.PARTS, "predict", fail)
    code, rows = run("predict,data")
    assert code == 1
    assert rows["predict: done before"]["value"] == 1.0
    assert "data: indexing 50 names" in rows
    told = capsys.readouterr()
    assert "error: no memory left" in told.err
    assert "failed: predict" in told.out


def test_against_torch_both_ways_predict_and_play_the_same_game(run):
    pytest.importorskip("torch")
    code, rows = run("predict", "--against", "torch", "--sides", "48", "--batches", "1")
    assert code == 0
    ours, best = (rows[f"predict: {who}, 48x48, batch 1"]["value"] for who in ("ours", "torch best"))
    assert rows["predict: ours against torch best, 48x48, batch 1"]["value"] == pytest.approx(best / ours)
    game = sides.Game.of(TINY)
    first, second = (game.torch_step(twin)() for twin in ("torch release", "torch best"))
    assert first == pytest.approx(second, rel=1e-3)


@pytest.mark.parametrize(
    ("whom", "missing", "remedy"),
    [
        ("torch", "torch", r"pip install -e '\.\[benchmark\]'"),
        ("torch,onnxruntime", "onnxscript", r"pip install -e '\.\[benchmark\]'"),
        ("onnxruntime", "torch", r"pip install -e '\.\[benchmark\]'"),
        ("blur-detector", "blur_detector", "pip install --no-deps blur-detector"),
    ],
)
def test_without_a_package_it_is_named_with_what_brings_it(run, monkeypatch, whom, missing, remedy):
    monkeypatch.setattr(benchmark.importlib.util, "find_spec", lambda name: None if name == missing else "there")
    with pytest.raises(UserError, match=f"--against {whom.split(',')[-1]}: {missing} is not installed; .*{remedy}"):
        run("predict", "--against", whom)


def test_a_folder_that_cannot_be_is_refused_before_anything_starts(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(benchmark, "start_jax", lambda: pytest.fail("started"))
    for place in ("file", "file/out"):
        with pytest.raises(UserError, match=r"benchmark\.json: cannot be written \(.*file is no folder\)"):
            benchmark.main(["--out", str(tmp_path / place)])


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("step,speed", [], r"--what: 'speed' is none of step, fit, predict, folder, data, startup, growth"),
        ("step", ["--rounds", "0"], r"--rounds: 0 must be at least 1"),
        ("step", ["--names", "-1"], r"--names: -1 must be at least 1"),
        ("folder", ["--small_photos", "0"], r"--small_photos: 0 must be at least 1"),
        ("predict", ["--sides", "32,0"], r"--sides: '0' is no size such as 320 or 1024x683"),
        ("predict", ["--sides", "32x"], r"--sides: '32x' is no size such as 320 or 1024x683"),
        ("predict", ["--sides", "32x-1"], r"--sides: '32x-1' is no size such as 320 or 1024x683"),
        ("predict", ["--sides", "x32,"], r"--sides: 'x32' is no size such as 320 or 1024x683"),
        ("predict", ["--against", "keras"], r"--against: 'keras' is none of torch, onnxruntime, "),
        ("predict", ["--batches", "0,1"], r"--batches: 0 is not a positive number"),
        ("predict", ["--batches", "one"], r"--batches: 'one' is not a list of numbers such as 1,2"),
        ("step", ["--size", "40"], r"crop: 40 must be a positive multiple of 16"),
        ("fit", ["--size", "16", "--batch", "1", "--against", "torch"], "--batch: one crop of 16 pixels is too little"),
        (
            "predict,step",
            ["--preset", "game", "--against", "torch"],
            r"discriminator\.in_blocks True, discriminator\.patches \(3, 5, 6\): the game in PyTorch has no twin",
        ),
        ("fit", ["--preset", "lite", "--size", "48"], r"crop: 48 must be a multiple of 32 for generator"),
    ],
)
def test_what_cannot_be_measured_is_refused(run, monkeypatch, what, options, message):
    monkeypatch.setattr(benchmark.importlib.util, "find_spec", lambda name: "there")
    with pytest.raises(UserError, match=message):
        run(what, *options)
