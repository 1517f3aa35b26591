"""Ports ImageNet's VGG16 from another program into the one file that every network starts from.

    python -m experiments.port_vgg16 --source torchvision             downloads 528 MB; needs `pip install torch`
    python -m experiments.port_vgg16 --source keras                   downloads 57 MB; needs `pip install h5py`
    python -m experiments.port_vgg16 --source FILE.npz --input hed

A download that broke off is continued by the same command; one that is finished is kept in the cache. Seconds, besides.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sgdbd_jax.cli import command

if TYPE_CHECKING:
    from sgdbd_jax.porting.vgg16 import Published


def main(argv: list[str] | None = None) -> int:
    """Parses `argv`, fetches the source if it is a published one, and ports it."""
    parser = _parser()
    options = parser.parse_args(argv)

    from sgdbd_jax.files import check_folder
    from sgdbd_jax.porting import vgg16

    check_folder(options.out.parent, [options.out.name])  # before half a gigabyte is fetched
    source = Path(options.source)
    if options.source in vgg16.PUBLISHED:
        if options.input is not None:
            parser.error(f"--input is for files; the published weights of {options.source} come with theirs")
        source = fetch(vgg16.PUBLISHED[options.source], options.cache)
    weights = vgg16.read_vgg16(source, source_input=options.input)
    path = vgg16.save_vgg16(options.out, weights, source=source)
    print(f"{path}: the {len(weights.params)} convolutions of VGG16, from {source}")
    return 0


def fetch(published: Published, folder: Path) -> Path:
    """Downloads a published file under a progress bar, unless the folder has it.

    The library that reads the file is asked for first: not to have it is better known before half a gigabyte.
    """
    from tqdm import tqdm

    from sgdbd_jax.porting.download import download
    from sgdbd_jax.porting.formats import require

    require(published.library, f"reading {published.name}")
    with tqdm(desc=published.name, unit="B", unit_scale=True, unit_divisor=1024, delay=0.5) as bar:

        def show(held: int, total: int | None) -> None:
            bar.total = total
            bar.update(held - bar.n)

        return download(published.url, folder / published.name, sha256=published.sha256, progress=show)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.port_vgg16", description="Port ImageNet's VGG16 from another program's weights."
    )
    parser.add_argument(
        "--source",
        required=True,
        metavar="torchvision|keras|FILE",
        help="published weights to download, or a .pth, .h5, .npz or .safetensors file",
    )
    parser.add_argument(
        "--input",
        choices=("torchvision", "keras", "hed"),
        help="whose input a FILE's weights expect; .npz and foreign .safetensors files do not say",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("weights") / "vgg16.safetensors", metavar="FILE", help="%(default)s"
    )
    cache = command.cache_folder()
    parser.add_argument("--cache", type=Path, default=cache, metavar="DIR", help="keeps downloads; %(default)s")
    return parser


if __name__ == "__main__":
    command.run(main)
