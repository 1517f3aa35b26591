"""Converts a network of the authors' released PyTorch program into a weight file of ours; needs `pip install torch`.

    python -m experiments.convert_release --generator FILE.pth --out weights/release_generator.safetensors
    python -m experiments.convert_release --discriminator FILE.pth --out weights/release_disc_clear.safetensors

Seconds. The generator then gives the release's mask of a photo, to 1e-3 a pixel.
"""

import argparse
from pathlib import Path

from sgdbd_jax.cli import command


def main(argv: list[str] | None = None) -> int:
    """Parses `argv` and converts one file."""
    options = _parser().parse_args(argv)

    from sgdbd_jax.fields import to_dict
    from sgdbd_jax.files import check_folder, file_sha256
    from sgdbd_jax.porting.formats import read_torch
    from sgdbd_jax.porting.release import convert_discriminator, convert_generator
    from sgdbd_jax.presets import RELEASE_DISCRIMINATOR, RELEASE_GENERATOR
    from sgdbd_jax.weights import save_weights

    check_folder(options.out.parent, [options.out.name])
    if options.generator is not None:
        kind, source, config = "generator", options.generator, to_dict(RELEASE_GENERATOR)
        variables = convert_generator(read_torch(source), where=str(source))
    else:
        kind, source, config = "discriminator", options.discriminator, to_dict(RELEASE_DISCRIMINATOR)
        variables = convert_discriminator(read_torch(source), where=str(source))
    metadata = {"kind": kind, "config": config, "source": source.name, "sha256": file_sha256(source)}
    path = save_weights(options.out, variables, metadata)
    print(f"{path}: the release's {kind}, from {source}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.convert_release", description="Convert the authors' released weights to ours."
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--generator", type=Path, metavar="FILE.pth", help="the release's generator")
    which.add_argument("--discriminator", type=Path, metavar="FILE.pth", help="a discriminator of the release")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the .safetensors file to write")
    return parser


if __name__ == "__main__":
    command.run(main)
