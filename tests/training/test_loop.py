"""One stage of a run, with a step that is plain Python: what is saved, logged, told and refused, and when."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_game import CONFIG

from sgdbd_jax.data.batches import TrainingSets
from sgdbd_jax.data.sources import PhotoSet
from sgdbd_jax.data.training_sets import Photos
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import replace
from sgdbd_jax.training.checkpoint import Checkpoints
from sgdbd_jax.training.log import read_log
from sgdbd_jax.training.loop import Stage, run_stage
from sgdbd_jax.training.run import Reporter, Run, Stopped
from sgdbd_jax.training.state import FitState, NetState


class Told(Reporter):
    """Remembers what it is told."""

    def __init__(self):
        self.stages, self.means, self.warnings = [], [], []

    def stage(self, name, done, steps):
        self.stages.append((name, done, steps))

    def step(self, metrics):
        self.means.append(metrics)

    def warn(self, text):
        self.warnings.append(text)


class Toy:
    """A stage that counts: at step n its weight becomes n, and its metric `loss` is n.

    `metrics` and `weights` replace those of some steps; `stop_at` is the step at which the run is asked to stop.
    """

    def __init__(self, workdir, *, metrics=None, weights=None, stop_at=None, **changes):
        photos = PhotoSet(tuple("abcd"), np.zeros((4, 16, 16, 3), np.uint8))
        fields = {"checkpoint_every": 2, "log_every": 1, **changes}
        self.metrics, self.weights, self.stop_at = metrics or {}, weights or {}, stop_at
        self.told, self.batches, self.number = Told(), [], 0
        self.run = Run(
            replace(CONFIG, fields),
            workdir,
            Photos(TrainingSets(photos, photos, None), None, None),
            reporter=self.told,
            should_stop=lambda: self.number == self.stop_at,
        )

    def step(self, state, frozen, batch):
        self.number = int(state.step) + 1
        self.batches.append(batch["draw"].tolist())
        weight = jnp.asarray(self.weights.get(self.number, self.number), jnp.float32)
        metrics = {"loss": self.number, **self.metrics.get(self.number, {})}
        return FitState(state.step + 1, NetState({"weight": weight}, {}, ())), metrics

    def go(self, steps=10):
        def example(rng, draw):
            return {"draw": np.array([draw.position, rng.integers(1000)])}

        start = FitState(jnp.zeros((), jnp.int32), NetState({"weight": jnp.zeros(())}, {}, ()))
        stage = Stage("toy", example, stream=99, steps=steps, batch=2, makes_masks=False)
        return run_stage(self.run, stage, start, self.step)


def kept(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints" / "toy").iterdir())


def restored(workdir, step):
    checkpoints = Checkpoints(workdir / "checkpoints" / "toy", keep=2)
    like = FitState(jnp.zeros((), jnp.int32), NetState({"weight": jnp.zeros(())}, {}, ()))
    try:
        return float(checkpoints.restore(step, like).net.params["weight"])
    finally:
        checkpoints.close()


def steps_logged(workdir):
    return [row["step"] for row in read_log(workdir, "toy")]


def test_a_stage_takes_its_steps_and_saves_every_so_many_and_at_the_end(tmp_path):
    toy = Toy(tmp_path, keep=9, checkpoint_every=4)
    assert float(toy.go().net.params["weight"]) == 10
    assert kept(tmp_path) == [4, 8, 10]
    assert steps_logged(tmp_path) == list(range(1, 11))
    assert toy.told.stages == [("toy", 0, 10)] and len(toy.told.means) == 10


def test_a_row_of_the_log_is_the_mean_since_the_row_before(tmp_path):
    toy = Toy(tmp_path, log_every=3, checkpoint_every=100)
    toy.go(steps=7)
    assert [(row["step"], row["loss"]) for row in read_log(tmp_path)] == [(3, 2.0), (6, 5.0), (7, 7.0)]
    assert all(row["seconds_per_step"] > 0 for row in read_log(tmp_path))
    assert [means is not None for means in toy.told.means] == [False, False, True, False, False, True, True]


def test_on_a_cpu_no_step_is_called_before_the_last_is_done(tmp_path):
    """A step holds its memory from the call on."""
    given = []

    @jax.jit
    def slow(weight):
        square = jnp.full((300, 300), weight / 300)
        return jax.lax.fori_loop(0, 100, lambda _, x: x @ square / weight, square).mean()  # some 0.1 s

    class Slow(Toy):
        def step(self, state, frozen, batch):
            assert all(metric.is_ready() for metric in given)
            new, metrics = super().step(state, frozen, batch)
            given.append(slow(new.net.params["weight"]))
            return new, {**metrics, "loss": given[-1]}

    Slow(tmp_path, log_every=100, checkpoint_every=100).go(steps=5)
    assert len(given) == 5


def test_time_saves_too(tmp_path):
    Toy(tmp_path, keep=99, checkpoint_every=100, checkpoint_minutes=0.0).go(steps=5)
    assert kept(tmp_path) == [1, 2, 3, 4, 5]


def test_a_stop_saves_where_it_is_and_the_stage_goes_on_from_there_with_the_batches_to_come(tmp_path):
    whole = Toy(tmp_path / "whole")
    whole.go()
    first = Toy(tmp_path / "cut", stop_at=5)
    with pytest.raises(Stopped, match="stopped at step 5 of 10 of stage toy, checkpoint saved"):
        first.go()
    assert kept(tmp_path / "cut") == [4, 5] and steps_logged(tmp_path / "cut") == [1, 2, 3, 4, 5]
    second = Toy(tmp_path / "cut")
    assert float(second.go().net.params["weight"]) == 10
    assert second.told.stages == [("toy", 5, 10)]
    assert first.batches + second.batches == whole.batches
    assert steps_logged(tmp_path / "cut") == list(range(1, 11))


def test_a_stop_at_the_last_step_is_an_end(tmp_path):
    assert float(Toy(tmp_path, stop_at=10).go().net.params["weight"]) == 10


def test_a_finished_stage_gives_its_last_state_and_takes_no_step(tmp_path):
    Toy(tmp_path).go()
    again = Toy(tmp_path)
    assert float(again.go().net.params["weight"]) == 10
    assert (again.batches, again.told.stages) == ([], [("toy", 10, 10)])


def test_a_metric_that_is_not_finite_stops_before_anything_of_it_is_saved(tmp_path):
    """It is looked for when something is to be written: at step 8, which then is not; the message tells the step."""
    toy = Toy(tmp_path, metrics={7: {"loss": float("nan")}}, checkpoint_every=4, log_every=100)
    with pytest.raises(UserError, match="step 7: loss is nan; the run stops, and its last checkpoint is from before"):
        toy.go()
    assert kept(tmp_path) == [4] and steps_logged(tmp_path) == [4]
    assert restored(tmp_path, 4) == 4


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 1e30])
def test_a_state_that_is_not_finite_or_about_to_be_is_not_saved_though_its_metrics_are(tmp_path, weight):
    """A step's metrics are of the state before it, which an absurd learning rate then throws away."""
    toy = Toy(tmp_path, weights={6: weight})
    with pytest.raises(UserError, match="step 6: net/params/weight is not finite; the run stops"):
        toy.go()
    assert kept(tmp_path) == [2, 4]
    assert restored(tmp_path, 4) == 4


def test_a_run_that_diverged_does_so_again_from_the_last_good_checkpoint(tmp_path):
    for _ in range(2):
        toy = Toy(tmp_path, weights={6: float("inf")})
        with pytest.raises(UserError, match="step 6"):
            toy.go()
    assert toy.told.stages == [("toy", 4, 10)]
    assert float(Toy(tmp_path).go().net.params["weight"]) == 10  # had its cause been mended


def test_warnings_of_the_watchdog_reach_whoever_watches_once(tmp_path):
    toy = Toy(tmp_path, metrics={step: {"coverage": 0.0} for step in range(1, 71)}, checkpoint_every=100)
    toy.go(steps=70)
    (warning,) = toy.told.warnings
    assert warning.startswith("step 50: masks are nearly empty")


def test_a_batch_that_cannot_be_made_ends_the_stage_with_its_error(tmp_path):
    toy = Toy(tmp_path)

    def example(rng, draw):
        raise UserError("photo.jpg: gone")

    stage = Stage("toy", example, stream=99, steps=4, batch=2, makes_masks=False)
    start = FitState(jnp.zeros((), jnp.int32), NetState({"weight": jnp.zeros(())}, {}, ()))
    with pytest.raises(UserError, match=r"photo\.jpg: gone"):
        run_stage(toy.run, stage, start, toy.step)
