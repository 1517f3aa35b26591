"""A generator's own training in PyTorch agrees with ours, number by number; in double precision, as games do."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from twins import BATCH, black_and_white, cancelled, compiled, random_variables, small

from sgdbd_jax.config import Config
from sgdbd_jax.fields import replace
from sgdbd_jax.models.networks import make_generator
from sgdbd_jax.training.state import FitState, NetState, make_optimiser
from sgdbd_jax.training.step import make_fit_step, mask_loss

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
from experiments.benchmark import torch_fit  # noqa: E402  (after the question whether it can be)


class Fitted(NamedTuple):
    config: Config
    start: FitState
    batches: list
    states: list  # ours after each step
    losses: list  # ours of each step


@functools.cache
def fit(preset: str) -> Fitted:
    """Two steps of ours, in double precision, by Adam."""
    adam = {"warm_batch": BATCH, "warm_optimiser.name": "adam"}
    config, rng = replace(small(preset, 64), adam), np.random.default_rng(9)
    network, optimiser = make_generator(config.generator), make_optimiser(config.pastes.warm_optimiser)
    with jax.enable_x64(True):
        variables = random_variables(network, 64, rng, np.float64)
        net = NetState(variables["params"], variables["batch_stats"], optimiser.init(variables["params"])).with_ema()
        state = start = FitState(jnp.zeros((), jnp.int32), net)
        batches = [{"photo": black_and_white(config, rng), "mask": black_and_white(config, rng)[..., :1]} for _ in "ab"]
        step = make_fit_step(network, optimiser, mask_loss, ema_decay=config.ema_decay)
        run, states, losses = compiled(step, state, {}, batches[0]), [], []
        for batch in batches:
            state, metrics = run(state, {}, batch)
            states.append(jax.tree.map(np.asarray, state))
            losses.append(float(metrics["loss"]))
        return Fitted(config, jax.tree.map(np.asarray, start), batches, states, losses)


@pytest.fixture(params=["lite", "self_trained"])  # the latter slower in the trunk
def fitted(request):
    return fit(request.param)


def test_a_fit_s_losses_and_moves_agree(fitted):
    twin = torch_fit.TorchFit(fitted.config, fitted.start, dtype=torch.float64)
    for batch, state, loss in zip(fitted.batches, fitted.states, fitted.losses, strict=True):
        before = twin.variables()
        assert twin.step(batch) == pytest.approx(loss, rel=1e-5)
        after = twin.variables()
        assert jax.tree.structure(after) == jax.tree.structure(state.net.variables)
        rate = fitted.config.pastes.warm_optimiser.learning_rate
        moves = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (before["params"], after["params"])))]
        assert max(moves) > rate / 2
        pairs = [(after, state.net.variables), (twin.averages(), state.net.ema)]
        for theirs, ours in pairs:
            for (path, a), b in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
                if path[-1].key != "var":
                    np.testing.assert_allclose(b, a, rtol=0, atol=1e-2 * rate, err_msg=jax.tree_util.keystr(path))


def test_a_fit_s_gradients_agree(fitted):
    """By Adam's first moment, a tenth of the first gradient."""
    twin = torch_fit.TorchFit(fitted.config, fitted.start, dtype=torch.float64)
    twin.step(fitted.batches[0])
    ours = jax.tree.map(lambda mean: 10 * mean, optax.tree.get(fitted.states[0].net.opt_state, "mu"))
    theirs = twin.gradients()
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(ours))
    for (path, a), b in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
        name = jax.tree_util.keystr(path)
        if name == "['whole']['bias']" or cancelled(fitted.start.net.batch_stats, path):  # side4's norm takes that away
            assert max(np.abs(a).max(), np.abs(b).max()) < 1e-9 * largest
        else:
            assert np.abs(a).max() > 1e-6 * largest  # so that agreement says something
            np.testing.assert_allclose(b, a, rtol=0, atol=1e-4 * np.abs(a).max(), err_msg=name)


def test_a_fit_in_bfloat16_has_nearly_the_loss_and_moves_parameters_in_single_precision(fitted):
    twin = torch_fit.TorchFit(fitted.config, fitted.start, bfloat16=True)
    loss = twin.step(fitted.batches[0])
    assert loss == pytest.approx(fitted.losses[0], rel=0.05)
    assert loss != pytest.approx(fitted.losses[0], rel=1e-6)  # so it was not in single precision
    assert {leaf.dtype for leaf in jax.tree.leaves(twin.variables())} == {np.dtype(np.float32)}
