"""A training as commands show it: bars, a stop on request, and a table at the end."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from sgdbd_jax.cli.progress import Bar
from sgdbd_jax.cli.stopping import stopping
from sgdbd_jax.config import Config
from sgdbd_jax.training.trials import Trials


def run_training(config: Config, workdir: Path) -> int:
    """Trains, or goes on, with progress on standard error.

    Args:
        config: as it was asked for.
        workdir: folder of the run.

    Returns:
        The exit code: 0 finished; 143 stopped by SIGTERM, or 130 by Ctrl-C, after saving.

    Raises:
        UserError: as `training.recipe.train`, and what `load_start` and `load_photos` refuse.
    """
    from sgdbd_jax.data.training_sets import check_sets, load_photos
    from sgdbd_jax.files import check_folder
    from sgdbd_jax.training.recipe import train
    from sgdbd_jax.training.run import Run, Stopped
    from sgdbd_jax.training.start import load_start

    config, vgg16 = load_start(config)  # what it refuses is refused before photos are read
    check_sets(config)
    check_folder(workdir, ("config.json", "generator.safetensors", "metrics.jsonl"))
    bar = Bar()
    try:
        photos = load_photos(config, progress=bar.photos)
    finally:
        bar.close()
    for name in ("source", "clear", "blur"):
        skipped = getattr(getattr(photos.training, name), "skipped", ())
        if skipped:
            print(f"{name}: {len(skipped)} files could not be read and are left out", file=sys.stderr)
    with stopping() as signals:  # from here on there is something to save
        run = Run(config, workdir, photos, vgg16, bar.reporter(), should_stop=lambda: bool(signals))
        try:
            train(run)
        except Stopped as stopped:
            bar.close()
            print(f"{stopped}; the same command goes on", file=sys.stderr)
            return 128 + (signals[0] if signals else signal.SIGTERM)  # or another process was asked to stop
        finally:
            bar.close()
    if run.main:
        _print_result(workdir)
    return 0


def train_trial(trials: Trials, name: str, seed: int, *, photos: Mapping[str, str] | None = None) -> int:
    """Trains one trial, or finishes it, and first what it starts from; none that is there already.

    Args:
        trials: all of them.
        name, seed: the one.
        photos: as `Trials.check` takes it.

    Returns:
        The exit code, as of `run_training`.

    Raises:
        UserError: as `run_training`, and `Trials.check` of a training that is there.
    """
    trial = trials.trials[name]
    code = train_trial(trials, trial.after, seed, photos=photos) if trial.after else 0
    if code:
        return code
    if trials.generator(name, seed).exists():
        trials.check(name, seed, photos=photos)
        return 0
    print(f"{name}, seed {seed}: {trial.says}", file=sys.stderr)
    return run_training(trials.config(name, seed), trials.workdir(name, seed))


def _print_result(workdir: Path) -> None:
    path = workdir / "result.json"
    if path.exists():
        result = json.loads(path.read_text())
        scores = {"this run": result, **{f"all {name}": floor for name, floor in result["floors"].items()}}
        print(f"protocol {result['protocol']}, {result['images']} images   F       MAE")
        for name, score in scores.items():
            print(f"  {name:28} {score['f_measure']:.3f}   {score['mae']:.3f}")
    print(
        f"in {workdir}: generator.safetensors, samples.png, learning_curve.png, metrics.jsonl"
        + (", result.json" if path.exists() else "")
    )
