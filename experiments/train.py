"""Trains a detector: `python -m experiments.train [--preset NAME] [--workdir DIR] [--FIELD VALUE ...]`.

Without arguments, the preset `demo` learns from scenes that it makes itself, in minutes on a CPU. Killed or stopped,
the same command goes on from the last checkpoint. Exit code: 0 finished; 2 bad input; 143 stopped by SIGTERM, or 130 by
Ctrl-C, after saving.
"""

from __future__ import annotations

import argparse
import ast
import json
import signal
import sys
from pathlib import Path
from typing import Any

from sgdbd_jax.cli import allocator, command, compiled
from sgdbd_jax.cli.stopping import stopping
from sgdbd_jax.config import Config, flatten, replace
from sgdbd_jax.errors import UserError
from sgdbd_jax.presets import PRESETS

HELP = {
    "demo": "small networks, scenes made here; minutes on 2 cores",
    "paper": "the paper's networks, Adam, ImageNet VGG16",
    "release": "the authors' program: BatchNorm, SGD, random start, mask terms",
    "robust": "what made the shipped weights: pastes, then its own masks; --steps 75 plays the game between",
}


def main(argv: list[str] | None = None) -> int:
    """Parses `argv`, trains, says where the results are, and returns the exit code."""
    options, config = parse(argv)
    if argv is None:  # of a process of its own
        allocator.use_huge_pages()
    if options.coordinator is None:
        compiled.keep()
    else:  # of several processes that compile together none may have a program that the others have not
        _join(options)

    from sgdbd_jax.data.training_sets import load_photos
    from sgdbd_jax.training.loop import Stopped
    from sgdbd_jax.training.pretrain import load_given
    from sgdbd_jax.training.run import Run, train

    config, trunk = _trunk(config)
    if config.generator_weights:  # refused before photos are read
        load_given(config.generator_weights, "generator", config.generator)
    bar = Bar()
    try:
        photos = load_photos(config, progress=bar.photos)
    finally:
        bar.close()
    for name in ("source", "clear", "blurred"):
        skipped = getattr(getattr(photos.training, name), "skipped", ())
        if skipped:
            print(f"{name}: {len(skipped)} files could not be read and are left out", file=sys.stderr)
    with stopping() as signals:  # from here on there is something to save
        run = Run(config, options.workdir, photos, trunk, bar.reporter(), should_stop=lambda: bool(signals))
        try:
            train(run)
        except Stopped as stopped:
            bar.close()
            print(f"{stopped}; the same command goes on", file=sys.stderr)
            return 128 + (signals[0] if signals else signal.SIGTERM)  # or it was another process that was told to
        finally:
            bar.close()
    if run.main:
        _report(options.workdir)
    return 0


def parse(argv: list[str] | None) -> tuple[argparse.Namespace, Config]:
    """The command line, and the config it asks for.

    Raises:
        UserError: a value that the config refuses.
    """
    presets = "\n".join(f"  {name:8} {text}" for name, text in HELP.items())
    parser = argparse.ArgumentParser(
        prog="python -m experiments.train",
        description="Trains a defocus blur detector without masks.",
        epilog=f"presets:\n{presets}\n\nEvery other option is a field of sgdbd_jax/config.py, where each is explained.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--preset", choices=list(PRESETS), default="demo", help="where the fields start from; demo")
    parser.add_argument("--workdir", type=Path, help="folder of the run; runs/PRESET")
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="several hosts: the address of process 0")
    parser.add_argument("--num_processes", type=int, help="several hosts: how many processes")
    parser.add_argument("--process_id", type=int, help="several hosts: which of them this is, from 0")
    fields = parser.add_argument_group("config fields")
    for name, default in flatten(Config()).items():
        extra: dict[str, Any] = {"nargs": "?", "const": "true"} if isinstance(default, bool) else {}
        fields.add_argument(f"--{name}", dest=name, metavar=type(default).__name__.upper(), **extra)
    options = parser.parse_args(argv)
    given = {name: value for name in flatten(Config()) if (value := getattr(options, name)) is not None}
    preset = PRESETS[options.preset]
    if "data" not in given and {"source", "clear", "masks", "names"} & given.keys():
        given["data"] = "folders"
    defaults = flatten(preset)
    config = replace(preset, {name: _value(name, text, defaults[name]) for name, text in given.items()})
    options.workdir = options.workdir or Path("runs") / options.preset
    several = [options.coordinator, options.num_processes, options.process_id]
    if any(value is not None for value in several) and None in several:
        raise UserError("coordinator, num_processes, process_id: give all three, or none")
    if options.coordinator is not None:
        host, _, port = options.coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise UserError(f"coordinator: {options.coordinator!r} is not HOST:PORT")
        if not 0 <= options.process_id < options.num_processes:
            raise UserError(f"process_id: {options.process_id} is not from 0 to num_processes - 1")
    return options, config


def _value(name: str, text: str, default: Any) -> Any:
    """A field's value from its text, of the type that the field has."""
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise UserError(f"{name}: {text!r} is neither true nor false")
    try:
        return _like(default, ast.literal_eval(text))
    except (ValueError, TypeError, SyntaxError) as error:
        raise UserError(f"{name}: {text!r} is not of the kind that {default!r} is") from error


def _like(default: Any, value: Any) -> Any:
    """The value as the type of `default`; of a tuple, all elements as that of its first.

    Tuples of floats are ranges and colours, which have a fixed length; others list layers, as many as one likes.

    Raises:
        TypeError, ValueError: it is of another kind.
    """
    if isinstance(default, tuple):
        if not isinstance(value, (tuple, list)) or (isinstance(default[0], float) and len(value) != len(default)):
            raise ValueError(value)
        return tuple(_like(default[0], item) for item in value)
    if isinstance(value, bool) or value != type(default)(value):
        raise ValueError(value)
    return type(default)(value)


def _join(options: argparse.Namespace) -> None:
    """Joins the other processes; on CPUs they talk through gloo."""
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(options.coordinator, options.num_processes, options.process_id)
    except RuntimeError as error:
        raise UserError(f"coordinator: cannot join the others at {options.coordinator} ({error})") from error


def _trunk(config: Config) -> tuple[Config, Any]:
    """The trunk that networks start from, and the config with the input normalisation that comes with the weights."""
    from sgdbd_jax.config import InputNorm, from_dict
    from sgdbd_jax.porting.vgg16 import load_vgg16
    from sgdbd_jax.weights import load_weights, reading_metadata

    if config.generator_weights:
        _, metadata = load_weights(config.generator_weights, kind="generator")
        with reading_metadata(config.generator_weights):
            norm = from_dict(InputNorm, metadata["config"]["input"])
        config = _with_input(config, "generator", norm.mean, norm.std, source=config.generator_weights)
    plays = config.steps and not config.supervised
    in_the_game = plays and (config.bilateral_weight or config.discriminator.trunk == "vgg16")
    if config.vgg16 == "random" or (config.generator_weights and not in_the_game):
        return config, None
    if not Path(config.vgg16).is_file():
        raise UserError(
            f"{config.vgg16}: no VGG16 weights; `python -m experiments.port_vgg16 --source torchvision` makes them,"
            " --vgg16 FILE names others, --vgg16 random starts without"
        )
    trunk, mean, std = load_vgg16(config.vgg16)
    networks = ["classifier"]
    networks += [] if config.generator_weights else ["generator"]
    networks += ["discriminator"] if config.discriminator.trunk == "vgg16" else []
    for network in networks:
        config = _with_input(config, network, mean, std, source=config.vgg16)
    return config, trunk


def _with_input(config: Config, network: str, mean: Any, std: Any, *, source: str) -> Config:
    """The config with a network's input normalisation as `source` asks, unless another was asked for by hand."""
    given, default = flatten(config), flatten(Config())
    changes = {f"{network}.input.mean": mean, f"{network}.input.std": std}
    for name, value in changes.items():
        if given[name] not in (value, default[name]):
            raise UserError(f"{name}: {source} asks for {value}, not {given[name]}; leave the option out")
    return replace(config, changes)


def _report(workdir: Path) -> None:
    path = workdir / "result.json"
    if path.exists():
        result = json.loads(path.read_text())
        rows = {"this run": result, **{f"all {name}": floor for name, floor in result["floors"].items()}}
        print(f"protocol {result['protocol']}, {result['images']} images   F       MAE")
        for name, row in rows.items():
            print(f"  {name:28} {row['f_measure']:.3f}   {row['mae']:.3f}")
    print(
        f"in {workdir}: generator.safetensors, samples.png, learning_curve.png, metrics.jsonl"
        + (", result.json" if path.exists() else "")
    )


class Bar:
    """Progress bars on standard error: one while photos are read, one a stage."""

    def __init__(self) -> None:
        self._bar: Any = None

    def photos(self, name: str) -> Any:
        """A function to call as photos of a set come in."""

        def progress(done: int, count: int) -> None:
            if done == 1:
                self._open(f"reading {name}", 0, count, "photo")
            self._bar.update()

        return progress

    def reporter(self) -> Any:
        """The training loop's reporter, drawn on these bars."""
        from sgdbd_jax.training.loop import Reporter

        bar = self

        class OnBar(Reporter):
            def stage(self, name: str, done: int, steps: int) -> None:
                bar._open(name, done, steps, "step")

            def step(self, metrics: dict[str, float] | None) -> None:
                discs = ("disc_clear_accuracy", "disc_blur_accuracy")
                shown = ("loss", "accuracy", *discs, "coverage", "mask_entropy", "validation_f_measure")
                bar._bar.update()
                if metrics:
                    known = bar._known = {**bar._known, **{key: metrics[key] for key in shown if key in metrics}}
                    bar._bar.set_postfix({key: f"{value:.2f}" for key, value in known.items()})

            def say(self, text: str) -> None:
                bar._bar.write(text, file=sys.stderr)

            def warn(self, text: str) -> None:
                bar._bar.write(f"warning: {text}", file=sys.stderr)

        return OnBar()

    def close(self) -> None:
        """Ends the bar that is open, if any."""
        if self._bar is not None:
            self._bar.close()

    def _open(self, name: str, done: int, total: int, unit: str) -> None:
        from tqdm import tqdm

        self.close()
        self._known: dict[str, float] = {}
        self._bar = tqdm(desc=name, initial=done, total=total, unit=unit)


if __name__ == "__main__":
    command.run(main)
