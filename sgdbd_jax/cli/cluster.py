"""The options of `sgdbd` for working on the machines of a cluster."""

import argparse
import os
import re

from sgdbd_jax.cli import command

# Options that mean nothing there: they work on one folder of one machine, or are of clips.
WITHOUT = ("bursts", "xmp", "no_clips", "mask_names", "sharpest")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--ray` and what goes with it."""
    group = parser.add_argument_group("a cluster", "photos, and --out, are then also URLs: s3://, gs://, http://, ...")
    group.add_argument(
        "--ray",
        nargs="?",
        const="",
        type=_address,
        metavar="ADDRESS",
        help="works by Ray on the machines of the cluster at HOST:PORT, which this one is part of, or auto; without an"
        " ADDRESS on this machine alone. The report is report.parquet",
    )
    group.add_argument(
        "--ray_workers",
        type=command.whole_number,
        metavar="N",
        help="how many detectors are at work; one a GPU or, without GPUs, one a machine",
    )


def check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends the process where options do not go together."""
    if options.ray is not None:
        for name in WITHOUT:
            if getattr(options, name) not in (None, False):
                parser.error(f"argument --{name}: is not done with --ray")
        return
    if options.ray_workers is not None:
        parser.error("argument --ray_workers: means something with --ray only")
    for text in (options.out, *options.paths):
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) and not os.path.lexists(text):
            parser.error(f"{text}: URLs are read and written with --ray only")


def _address(text: str) -> str:
    if text in ("", "auto") or re.fullmatch(r"[^/:]+:\d+|\[[0-9a-fA-F:]+\]:\d+", text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is no address as HOST:PORT, nor auto; paths come before --ray")
