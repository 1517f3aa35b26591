"""What the watchdog barks at, when, and how often."""

import math

import pytest

from sgdbd_jax.errors import UserError
from sgdbd_jax.training.watchdog import Watchdog


def watch(dog, *values, start=1):
    """Shows a dog one metrics dict after the other; gives (step, warning)."""
    return [(at, warning) for at, metrics in enumerate(values, start) for warning in dog.look(at, metrics)]


def eager():
    """Looks at every step alone, from the first on."""
    return Watchdog(memory=0.0, settle=1)


@pytest.mark.parametrize(
    ("quiet", "loud", "words"),
    [
        ({"coverage": 0.03}, {"coverage": 0.029}, "masks are nearly empty (mean coverage 0.029)"),
        ({"coverage": 0.97}, {"coverage": 0.971}, "masks are nearly full (mean coverage 0.971)"),
        (
            {"coverage_spread": 0.01, "mask_entropy": 0.1},
            {"coverage_spread": 0.0099, "mask_entropy": 0.1},
            "every photo gets much the same mask (spread of coverage 0.0099)",
        ),
        (  # a mask undecided everywhere is a beginning, not an end
            {"coverage_spread": 0.0, "mask_entropy": 0.5},
            {"coverage_spread": 0.0, "mask_entropy": 0.49},
            "every photo gets much the same mask",
        ),
        ({"disc_clear_accuracy": 0.98}, {"disc_clear_accuracy": 0.981}, "disc_clear is winning (accuracy 0.981)"),
        ({"disc_blur_accuracy": 0.98}, {"disc_blur_accuracy": 1.0}, "disc_blur is winning (accuracy 1.000)"),
    ],
)
def test_a_warning_comes_beyond_its_threshold_once_and_again_after_recovery(quiet, loud, words):
    barks = watch(eager(), quiet, loud, loud, quiet, loud, loud)
    assert [step for step, _ in barks] == [2, 5]
    assert all(text.startswith(f"step {step}: {words}") for step, text in barks)


def test_troubles_are_told_apart():
    bad = {"coverage": 0.0, "disc_clear_accuracy": 1.0, "disc_blur_accuracy": 1.0}
    barks = watch(eager(), {"disc_blur_accuracy": 1.0}, bad, bad)
    assert [(step, text.split()[2]) for step, text in barks] == [(1, "disc_blur"), (2, "masks"), (2, "disc_clear")]


def test_a_warning_says_what_to_do():
    bad = {"coverage": 0.0, "disc_clear_accuracy": 1.0}
    empty, winning = watch(eager(), bad)
    assert "raise coverage_weight, or eta" in empty[1]
    assert "lower disc_optimiser.learning_rate" in winning[1]
    assert "raise eta" in watch(eager(), {"coverage": 1.0})[0][1]


def test_nothing_is_said_before_averages_have_settled():
    assert [step for step, _ in watch(Watchdog(), *[{"coverage": 0.0}] * 60)] == [50]


def test_a_few_bad_steps_among_good_ones_are_no_trouble():
    """The running average over 0.98 of memory: 26 empty masks take 0.5 to 0.5 * 0.98^26 = 0.296, 139 to 0.0302."""
    dog = Watchdog()
    good, bad = [{"coverage": 0.5}] * 60, [{"coverage": 0.0}] * 139
    assert watch(dog, *good, *bad) == []
    assert dog.averages["coverage"] == pytest.approx(0.5 * 0.98**139)
    assert [step for step, _ in watch(dog, {"coverage": 0.0}, start=200)] == [200]  # 0.5 * 0.98^140 = 0.0296


def test_a_healthy_game_is_left_alone():
    metrics = {
        "coverage": 0.5,
        "coverage_spread": 0.2,
        "mask_entropy": 0.3,
        "disc_clear_accuracy": 0.7,
        "generator_grad_norm": 1e6,
    }
    assert watch(eager(), metrics, metrics) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_stops_at_once_naming_step_and_metric(value):
    with pytest.raises(UserError, match=f"step 7: d_loss_blur is {value}; the run stops, and its last checkpoint"):
        watch(Watchdog(), {"coverage": 0.5, "d_loss_blur": value, "later": math.nan}, start=7)
