"""The table of what each part of the recipe is worth: `python -m experiments.results --images DIR --masks DIR ...`.

    python -m experiments.results --images DIR --masks DIR --masks_white blurred --names cuhk:validation --out DIR
    python -m experiments.results ... --train warm,game --source DIR --source_names cuhk:train --clear DIR --seeds 0,1,2

scores the shipped weights, and every run of `ROWS` that is in `--runs`, on photos whose masks are known (protocol
`paper`), and writes `results.md` and `results.json`. With `--train` it first trains those that are not there: an hour
or so each on 2 cores. Stopped, the same command goes on, and nothing in `--out` is scored twice. The photos scored
must not be those of `--source_names`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sgdbd_jax.cli import allocator, command, compiled
from sgdbd_jax.config import flatten
from sgdbd_jax.errors import UserError
from sgdbd_jax.evaluation.kept import REFINEMENTS, SIZES, Scoring

if TYPE_CHECKING:
    from sgdbd_jax.data.sources import PhotoSet


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        says: what it is, for the table.
        options: of `experiments.train`, beside `--preset robust` and the photos.
        after: the row whose generator of the same seed it starts from, instead of pastes of its own.
        needs_masks: whether it may see masks: the upper bound alone.
    """

    says: str
    options: str = ""
    after: str = ""
    needs_masks: bool = False


RATES = "--generator_optimiser.learning_rate 5e-4 --generator_optimiser.momentum 0.9 --generator_optimiser.trunk 0.2"
GAME = "--steps 75 --taught_steps 0"
# The release's discriminators, which begin at random and norm real and fake batches apart.
RELEASED = (
    "--discriminator.channels (64,64,128,128,256,512,512) --discriminator.strides (1,2,1,2,1,1,2)"
    " --discriminator.trunk random --discriminator.norm batch --discriminator.pool false --disc_warm_steps 0"
    " --disc_optimiser.learning_rate 4e-4"
)
ALONE = (
    "--warm_steps 0 --steps 200 --taught_steps 0 --paste_weight 0 --bilateral_weight 1"
    " --classifier_steps 150 --classifier_batch 8"
)
ROWS = {
    "game": Row("the game alone: no pastes for the generator", ALONE),
    "game_control": Row("the game alone, less what its discriminators say", f"{ALONE} --eta 0 --disc_warm_steps 0"),
    "game_plain": Row("the game alone, less its bilateral loss", f"{ALONE} --bilateral_weight 0"),
    "game_released": Row("the game alone, with the release's discriminators", f"{ALONE} {RELEASED}"),
    "warm": Row("pastes alone, whose mask is known", "--taught_steps 0"),
    "warm_game": Row("pastes, then the game", GAME, after="warm"),
    "warm_control": Row("pastes, then the game, less what its discriminators say", f"{GAME} --eta 0", after="warm"),
    "warm_released": Row("pastes, then the game with the release's discriminators", f"{GAME} {RELEASED}", after="warm"),
    "robust": Row("pastes, then its own masks: preset `robust`"),
    "game_taught": Row("pastes, the game, then its own masks", after="warm_game"),
    "again": Row(
        "pastes, the game, its own masks, these again on larger crops",
        "--taught_steps 400 --crop 272 --warm_batch 4",
        after="game_taught",
    ),
    "supervised": Row(
        "as Ours(S): our generator trained on masks", f"--supervised --steps 800 --batch 8 {RATES}", needs_masks=True
    ),
}
SHIPPED = "the shipped weights"


@dataclass
class Scores:
    """What there is of a row at one size and refinement; a value a seed.

    Attributes:
        seeds: `None` for a file of which the seed does not matter.
        f_measure, mae: by protocol `paper`.
        correlation: of predicted and true in-focus share over photos; `None` where one of them does not vary.
        seconds: a photo, by the clock: of the network, or of a refinement.
    """

    seeds: list[int | None] = field(default_factory=list)
    f_measure: list[float] = field(default_factory=list)
    mae: list[float] = field(default_factory=list)
    correlation: list[float | None] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def main(argv: list[str] | None = None) -> int:
    """Parses `argv`, trains what is asked for, scores, writes and prints the table."""
    options = _parser().parse_args(argv)
    wanted = options.train.split(",") if options.train else []
    unknown = sorted(set(wanted) - ROWS.keys())
    if unknown:
        raise UserError(f"train: {', '.join(unknown)}: no such row; there are {', '.join(ROWS)}")
    if wanted and argv is None:  # trains, in a process of its own
        allocator.use_huge_pages()
    compiled.keep()

    from sgdbd_jax.data.names import read_names
    from sgdbd_jax.data.sources import load_pairs
    from sgdbd_jax.detection.shipped import shipped
    from sgdbd_jax.files import write_atomically

    names = read_names(options.names) if options.names is not None else None
    photos = load_pairs(options.images, options.masks, white=options.masks_white, size=None, names=names)
    if wanted:
        _keep_apart(options, photos.names)
    scoring = Scoring(photos, options.out / "scores")
    for name in wanted:
        for seed in options.seeds:
            code = _train(options, name, seed)
            if code:
                return code
    files: dict[str, dict[int | None, Path]] = {SHIPPED: {None: shipped()}}
    files |= {name: _trained(options.runs / name) for name in ROWS}
    failed = 0
    table: dict[tuple[str, str, str], Scores] = {}  # by row, size and refinement
    for name, weights in files.items():
        for seed, path in weights.items():
            try:
                if seed is not None:
                    _check_recipe(options, name, seed)
                scored = scoring.of(path, label=name if seed is None else f"{name}, seed {seed}")
            except UserError as error:  # a damaged file, or another's, costs the others nothing
                print(f"error: {error}", file=sys.stderr)
                failed += 1
                continue
            for key, values in scored.items():
                scores = table.setdefault((name, *key), Scores())
                for measure, value in {"seeds": seed, **values}.items():
                    getattr(scores, measure).append(value)
    floors = _floors(photos)
    text = _markdown(floors, table, count=len(photos.names))
    rows = [
        {"row": name, "size": size, "refinement": how, **vars(scores)} for (name, size, how), scores in table.items()
    ]
    result = {"protocol": "paper", "images": len(photos.names), "floors": floors, "rows": rows}
    write_atomically(options.out / "results.md", text.encode())
    write_atomically(options.out / "results.json", (json.dumps(result, indent=1) + "\n").encode())
    print(text, end="")
    missing = [name for name, found in files.items() if not found]
    if missing:
        print(f"not trained: {', '.join(missing)}; --train {','.join(missing)}", file=sys.stderr)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    def seeds(text: str) -> list[int]:
        return [int(seed) for seed in text.split(",")]

    parser = argparse.ArgumentParser(
        prog="python -m experiments.results",
        description="Score the shipped weights and the trainings they are compared with.",
        epilog="rows:\n" + "\n".join(f"  {name:14} {row.says}" for name, row in ROWS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--images", required=True, type=Path, metavar="DIR", help="photos to score on")
    parser.add_argument("--masks", required=True, type=Path, metavar="DIR", help="their ground truths, named alike")
    parser.add_argument("--masks_white", required=True, choices=("blurred", "focused"), help="what white means there")
    parser.add_argument("--names", metavar="FILE", help="file that names the photos to take, or cuhk:validation; all")
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder of results.md, results.json, and scores/, kept for the next time",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/results"), metavar="DIR", help="%(default)s")
    parser.add_argument("--train", metavar="ROWS", help="rows to train first, as game,warm")
    parser.add_argument("--seeds", type=seeds, default=[0], metavar="N,...", help="of the trainings; 0")
    parser.add_argument("--source", type=Path, metavar="DIR", help="to train: partly blurred photos")
    parser.add_argument("--source_names", metavar="FILE", help="to train: only these of them, as cuhk:train; all")
    parser.add_argument("--clear", type=Path, metavar="DIR", help="to train: photos in focus throughout")
    return parser


def _trained(folder: Path) -> dict[int | None, Path]:
    """The generators of a row, by seed; folders that are not named by one are passed over, and said."""
    found = {path.parent.name: path for path in sorted(folder.glob("*/generator.safetensors"))}
    seeds = {int(name): path for name, path in found.items() if name.isdecimal() and str(int(name)) == name}
    for path in sorted(set(found.values()).difference(seeds.values())):
        print(f"{path.parent}: passed over, its name is no seed", file=sys.stderr)
    return dict(sorted(seeds.items()))


def _keep_apart(options: argparse.Namespace, scored: Collection[str]) -> None:
    """Refuses to train on photos that are scored.

    Raises:
        UserError: there are some.
    """
    from sgdbd_jax.data.names import read_names
    from sgdbd_jax.data.photos import list_photos, photo_stem

    for what in ("source", "clear"):
        if getattr(options, what) is None:
            raise UserError(f"{what}: a training needs photos: --{what} DIR")
    if options.source.resolve() != options.images.resolve():
        return
    given = options.source_names
    names = read_names(given) if given else [path.name for path in list_photos(options.source)]
    both = sorted({photo_stem(name) for name in names} & {photo_stem(name) for name in scored})
    if both:
        raise UserError(
            f"source: {len(both)} of its photos are to be scored, {both[0]} among them; choose others, as by"
            " --source_names cuhk:train"
        )


def _train(options: argparse.Namespace, name: str, seed: int) -> int:
    """Trains one row, or finishes it, and first what it starts from; the exit code of `experiments.train`."""
    from experiments import train

    row = ROWS[name]
    code = _train(options, row.after, seed) if row.after else 0
    if code:
        return code
    if _generator(options, name, seed).exists():
        _check_recipe(options, name, seed)
        return 0
    print(f"{name}, seed {seed}: {row.says}", file=sys.stderr)
    return train.main(_command(options, name, seed))


def _generator(options: argparse.Namespace, name: str, seed: int) -> Path:
    return options.runs / name / str(seed) / "generator.safetensors"


def _command(options: argparse.Namespace, name: str, seed: int) -> list[str]:
    """What `experiments.train` is given."""
    row = ROWS[name]
    given = {"source": options.source, "names": options.source_names, "clear": options.clear}
    if row.needs_masks:
        given |= {"masks": options.masks, "masks_white": options.masks_white}
    photos = [text for field, value in given.items() if value is not None for text in (f"--{field}", str(value))]
    start = ["--warm_steps", "0", "--generator_weights", str(_generator(options, row.after, seed))] if row.after else []
    workdir = options.runs / name / str(seed)
    return ["--preset", "robust", "--seed", str(seed), "--workdir", str(workdir), *photos, *start, *row.options.split()]


def _check_recipe(options: argparse.Namespace, name: str, seed: int) -> None:
    """Refuses a finished training that is not the row's: rows have changed, and will.

    Text is not compared: it is mostly places, which may move. What a training started from is, where it is still there,
    and so is whether it learned from the names that are scored.

    Raises:
        UserError: it was made with other numbers, from another generator, or from the photos that are scored.
    """
    from experiments import train
    from sgdbd_jax.training.run import digests_of_given

    workdir = options.runs / name / str(seed)
    path = workdir / "config.json"
    if not path.exists():
        print(f"{workdir}: holds no config.json, so nothing tells whether it is this row's", file=sys.stderr)
        return
    config = train.parse(_command(options, name, seed))[1]
    try:
        before = json.loads(path.read_text())
        known = {name: value for name, value in flatten(config).items() if ".input." not in name}
        wanted = {name: value for name, value in json.loads(json.dumps(known)).items() if not isinstance(value, str)}
        other = [
            f"{name} {before.get(name)!r}, not {value!r}" for name, value in wanted.items() if before[name] != value
        ]
        given = digests_of_given(config)
        other += [f"{name} {before[name]}, not {it}" for name, it in given.items() if before.get(name, it) != it]
        for name in given.keys() - before.keys():  # older than the note
            print(f"{workdir}: nothing tells from which {name.removeprefix('given ')} it started", file=sys.stderr)
        if options.names is not None and before["names"] == options.names:
            other.append(f"names {options.names}, which are scored")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path}: not the config of a training of today ({error}); move the folder away") from error
    if other:
        raise UserError(f"{workdir}: holds another training than this row's ({'; '.join(other)}); move it away")


def _floors(photos: PhotoSet) -> dict[str, dict[str, float]]:
    """The constant masks' scores."""
    import numpy as np

    from sgdbd_jax.data.photos import resize_photo
    from sgdbd_jax.evaluation.protocols import PAPER, score

    square = (PAPER.size or 0, PAPER.size or 0)
    truths = [resize_photo(truth, square).astype(np.float32) / 255 for truth in photos.masks or ()]
    return score((truth, truth) for truth in truths).result["floors"]


def _markdown(
    floors: Mapping[str, Mapping[str, float]], table: Mapping[tuple[str, str, str], Scores], *, count: int
) -> str:
    """A line a training and size, a column a refinement."""
    lines = [
        f"Protocol paper, {count} photos: F / MAE, and the correlation of predicted and true in-focus share."
        f" Own size: at most {str(SIZES['own']).removeprefix('max:')} pixels on the longer side. Of several seeds: mean"
        " ± standard deviation.",
        "",
        "| | seen at | the network's mask | cut at its edges | cut by colours too | share correlation |",
        "|---|---|---|---|---|---|",
    ]
    for name, floor in floors.items():
        lines.append(f"| a mask of {name} | | {floor['f_measure']:.3f} / {floor['mae']:.3f} | | | |")
    for name, size in dict.fromkeys((name, size) for name, size, _ in table):
        cells = [f"{_spread(s.f_measure)} / {_spread(s.mae)}" for s in (table[name, size, how] for how in REFINEMENTS)]
        seen = "own size" if size == "own" else f"{size}x{size}"
        says = ROWS[name].says if name in ROWS else name
        seeds = table[name, size, "cut"].seeds
        says += f", seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else ""
        correlation = _spread(table[name, size, "cut"].correlation)
        lines.append(f"| {says} | {seen} | {' | '.join(cells)} | {correlation} |")
    if (SHIPPED, "own", "none") in table:
        network, edges, cut = (f"{table[SHIPPED, 'own', how].seconds[0]:.2f} s" for how in REFINEMENTS)
        lines += ["", f"When it was scored, a photo at its own size took {network}; refined, {edges} or {cut} more."]
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float | None]) -> str:
    """Their mean and, of several, the standard deviation."""
    import numpy as np

    known = [value for value in values if value is not None]
    if not known:
        return "-"
    text = f"{np.mean(known):.3f}"
    return text if len(known) < 2 else f"{text} ± {np.std(known, ddof=1):.3f}"


if __name__ == "__main__":
    command.run(main)
