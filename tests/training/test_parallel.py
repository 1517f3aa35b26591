"""The same step on one device and on many; batches that devices cannot share."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_runs import arguments

from sgdbd_jax.errors import UserError
from sgdbd_jax.training.parallel import any_process, axis_name, check_batch, pmean, process_places, split_batch

TESTS = Path(__file__).parents[1]
FOUR = "--xla_force_host_platform_device_count=4"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """`{task: {devices: {moment: {leaf: array}}}}` of `simulated_devices.py`."""
    path = tmp_path_factory.mktemp("simulated") / "states.npz"
    command = [sys.executable, "-W", "error", str(TESTS / "simulated_devices.py"), str(path)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(TESTS.parent)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, dict[int, dict[str, dict[str, np.ndarray]]]] = {}
    for name, array in np.load(path).items():
        task, count, moment, leaf = name.split("/", 3)
        found.setdefault(task, {}).setdefault(int(count), {}).setdefault(moment, {})[leaf] = array
    return found


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("task", ["play", "learn", "fit"])
def test_many_devices_move_the_state_as_one_does(simulated, task, count):
    """Parameters, BatchNorm statistics and momenta of two steps, to 1e-3 of each array's own move.

    SGD, not Adam: Adam's first step turns rounding into a full step.
    """
    one, many = simulated[task][1], simulated[task][count]
    assert one["end"].keys() == many["end"].keys()
    for leaf, start in one["start"].items():
        np.testing.assert_array_equal(many["start"][leaf], start)
        move, other = one["end"][leaf] - start, many["end"][leaf] - start
        assert move.shape == other.shape  # the state comes out whole
        # A bias before BatchNorm has no gradient but rounding: 1e-5 is none.
        np.testing.assert_allclose(other, move, atol=1e-5 + 1e-3 * np.abs(move).max(), rtol=0, err_msg=leaf)
    moved = [np.abs(one["end"][leaf] - start).max() for leaf, start in one["start"].items()]
    assert np.mean(np.array(moved) > 1e-3) > 0.5  # so that agreement says something


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("task", ["play", "learn", "fit"])
def test_many_devices_measure_what_one_does(simulated, task, count):
    one, many = simulated[task][1]["end"], simulated[task][count]["end"]
    names = [leaf for leaf in one if leaf.startswith("['metrics']")]
    assert len(names) >= 4
    for name in names:
        np.testing.assert_allclose(many[name], one[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_one_device_averages_over_nothing():
    assert axis_name(jax.devices()[:1]) is None
    assert axis_name(jax.devices()[:1] * 2) is not None
    assert pmean({"a": 1.0}, None) == {"a": 1.0}


def test_a_batch_is_split_in_order():
    split = split_batch({"photo": np.arange(12).reshape(6, 2)}, 3)
    np.testing.assert_array_equal(split["photo"], [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9], [10, 11]]])


def test_one_process_makes_all_rows_and_asks_nobody():
    assert process_places(6) == range(6)
    assert any_process(True, False) == (True, False)


@pytest.mark.parametrize("batch", [4, 8])
def test_a_batch_that_divides_is_taken(batch):
    check_batch(batch, jax.devices()[:1] * 4)


def test_a_batch_that_does_not_divide_is_refused_with_the_two_numbers():
    with pytest.raises(UserError, match="batch: 6 does not divide into 4 devices; choose a multiple of 4"):
        check_batch(6, jax.devices()[:1] * 4)


@pytest.mark.parametrize(("field", "value"), [("batch", 6), ("classifier_batch", 7)])
def test_training_refuses_it_before_anything_is_written(field, value, tmp_path):
    workdir = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "experiments.train", *arguments(workdir, **{field: value})],
        cwd=TESTS.parent,
        env=os.environ | {"XLA_FLAGS": FOUR, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    line = f"error: {field}: {value} does not divide into 4 devices; choose a multiple of 4"
    assert done.stderr.splitlines() == [line]
    assert not workdir.exists()
