"""Trains a detector: `python -m experiments.train [--preset NAME] [--workdir DIR] [--FIELD VALUE ...]`.

Without arguments, the preset `demo` learns from scenes that it makes itself, in minutes on a CPU. Killed or stopped,
the same command goes on from the last checkpoint. Exit code: 0 finished; 2 bad input; 143 stopped by SIGTERM, or 130 by
Ctrl-C, after saving.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sgdbd_jax.backend import start_jax
from sgdbd_jax.cli import allocator, command, compiled
from sgdbd_jax.cli.options import add_fields, read_fields
from sgdbd_jax.cli.training import run_training
from sgdbd_jax.config import Config
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import replace
from sgdbd_jax.presets import PAPER, PRESETS
from sgdbd_jax.training.workdir import check_name

HELP = {
    "demo": "small networks, scenes made here; minutes on 2 cores",
    "paper": "the paper's networks, Adam, ImageNet VGG16",
    "release": "the authors' program: BatchNorm, SGD, random start, mask terms",
    "self_trained": "what made weights `accurate`: pastes, then its own masks; --steps 75 plays the game between",
    "game": "what made weights `game`: the game alone, by light networks; 45 minutes on 2 cores",
    "lite": "what made weights `lite`: a light generator learns from the masks of `accurate`; an hour on 2 cores",
}


def main(argv: list[str] | None = None) -> int:
    """Parses `argv`, trains, says where the results are, and returns the exit code."""
    options, config = parse(argv)
    if options.coordinator is None:
        compiled.keep()
    else:  # of several processes that compile together none may have a program that the others have not
        _join(options)
    start_jax()
    return run_training(config, options.workdir)


def parse(argv: list[str] | None) -> tuple[argparse.Namespace, Config]:
    """The command line, and the config it asks for.

    Raises:
        UserError: a value that the config refuses, or a work folder in which nothing can be saved.
    """
    presets = "\n".join(f"  {name:12} {text}" for name, text in HELP.items())
    parser = argparse.ArgumentParser(
        prog="python -m experiments.train",
        usage="%(prog)s [--preset NAME] [--workdir DIR] [--FIELD VALUE ...]",
        description="Trains a defocus blur detector without masks.",
        epilog=f"presets:\n{presets}\n\nIn brackets: what preset paper has.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--preset", choices=list(PRESETS), default="demo", help="where the fields start from; demo")
    parser.add_argument("--workdir", type=Path, help="folder of the run; runs/PRESET")
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="several hosts: the address of process 0")
    parser.add_argument("--num_processes", type=int, help="several hosts: how many processes")
    parser.add_argument("--process_id", type=int, help="several hosts: which of them this is, from 0")
    add_fields(parser, PAPER)
    options = parser.parse_args(argv)
    preset = PRESETS[options.preset]
    changes = read_fields(options, preset)
    places = {f"sets.{name}" for name in ("source", "clear", "masks", "names")}
    if "sets.data" not in changes and places & changes.keys():
        changes["sets.data"] = "folders"
    config = replace(preset, changes)
    options.workdir = options.workdir or Path("runs") / options.preset
    check_name(options.workdir)
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


def _join(options: argparse.Namespace) -> None:
    """Joins the other processes; on CPUs they talk through gloo."""
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(options.coordinator, options.num_processes, options.process_id)
    except RuntimeError as error:
        raise UserError(f"coordinator: cannot join the others at {options.coordinator} ({error})") from error


def start() -> int:
    """The whole process: starts over for huge pages, once the command line is understood, and trains."""
    parse(None)
    allocator.use_huge_pages()
    return main()


if __name__ == "__main__":
    command.run(start)
