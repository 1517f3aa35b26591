"""The table of what each part of the recipe is worth: `python -m experiments.results --images DIR --masks DIR ...`.

    python -m experiments.results --images DIR --masks DIR --masks_white blurred --names cuhk:validation --out DIR
    python -m experiments.results ... --train warm,game --source DIR --source_names cuhk:train --clear DIR --seeds 0,1,2

scores the shipped weights, and every training of `TRIALS` that is in `--runs`, on photos whose masks are known
(protocol `paper`), and with `--pairs` on scenes photographed twice; writes `results.md` and `results.json`. With
`--train` it first trains those that are not there: an hour or so each on 2 cores. Stopped, the same command goes on,
and nothing in `--out` is scored twice. The photos scored must not be those of `--source_names`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments._trials import TRIALS
from sgdbd_jax.backend import start_jax
from sgdbd_jax.cli import allocator, command, compiled
from sgdbd_jax.cli.training import train_trial
from sgdbd_jax.errors import UserError
from sgdbd_jax.presets import SELF_TRAINED
from sgdbd_jax.training.trials import Trials

if TYPE_CHECKING:
    from sgdbd_jax.evaluation.score_cache import ScoreCache

WIDTH = max(map(len, TRIALS))
Files = dict[str, Sequence[tuple[int | None, Path]]]  # by row, and by seed where there is one
Table = dict[tuple[str, str, str], Any]  # scores by row, size and refinement


def main(argv: list[str] | None = None) -> int:
    """Parses `argv`, trains what is asked for, scores, writes and prints the table."""
    options = _parser().parse_args(argv)
    wanted = options.train.split(",") if options.train else []
    unknown = sorted(set(wanted) - TRIALS.keys())
    if unknown:
        raise UserError(f"train: {', '.join(unknown)}: no such trial; there are {', '.join(TRIALS)}")
    compiled.keep()
    start_jax()
    trials = _trials(options)

    from sgdbd_jax.data.names import read_names
    from sgdbd_jax.data.sources import load_pairs
    from sgdbd_jax.detection.shipped import weight_file
    from sgdbd_jax.evaluation.score_cache import ScoreCache
    from sgdbd_jax.evaluation.trial_table import SHIPPED_ROWS, markdown, score_floors, two_focus_markdown
    from sgdbd_jax.evaluation.two_focus import MEASURES, load_two_focus, score_two_focus
    from sgdbd_jax.files import check_folder, write_atomically

    check_folder(options.out, ("results.md", "results.json"))
    check_folder(options.out / "scores")
    if wanted:
        check_folder(options.runs)
    names = read_names(options.names) if options.names is not None else None
    photos = load_pairs(options.images, options.masks, white=options.masks_white, size=None, names=names)
    if wanted:
        _keep_apart(options, photos.names)
    pairs = None if options.pairs is None else load_two_focus(options.pairs)
    for what in ("source", "clear"):
        given = getattr(options, what)
        if wanted and pairs is not None and given is not None and options.pairs.resolve() in given.resolve().parents:
            raise UserError(f"{what}: {given} lies in --pairs, which are to be scored; choose another folder")
    caches = [ScoreCache(photos, options.out / "scores")]
    if pairs is not None:
        caches.append(
            ScoreCache(pairs, options.out / "scores", score=score_two_focus, sizes=("own",), measures=MEASURES)
        )
    for name in wanted:
        for seed in options.seeds:
            code = train_trial(trials, name, seed)
            if code:
                return code
    files: Files = {row: [(None, weight_file(name))] for name, row in SHIPPED_ROWS.items()}
    files |= {name: list(trials.finished(name).items()) for name in TRIALS}
    tables, failed = _score(files, caches, trials, scored_names=options.names)
    floors = score_floors(photos)
    says = {name: trial.says for name, trial in TRIALS.items()}
    text = markdown(floors, tables[0], says=says, count=len(photos.names))
    rows = [
        [{"row": name, "size": size, "refinement": how, **vars(scores)} for (name, size, how), scores in table.items()]
        for table in tables
    ]
    result = {"protocol": "paper", "images": len(photos.names), "floors": floors, "rows": rows[0]}
    if pairs is not None:
        scenes = len(pairs.names) // 2
        text += "\n" + two_focus_markdown(tables[1], says=says, count=scenes)
        result["pairs"] = {"scenes": scenes, "rows": rows[1]}
    write_atomically(options.out / "results.md", text.encode())
    write_atomically(options.out / "results.json", (json.dumps(result, indent=1) + "\n").encode())
    print(text, end="")
    missing = [name for name, found in files.items() if not found]
    if missing:
        print(f"not trained: {', '.join(missing)}; --train {','.join(missing)}", file=sys.stderr)
    return 1 if failed else 0


def _score(
    files: Files, caches: Sequence[ScoreCache], trials: Trials, *, scored_names: str | None
) -> tuple[list[Table], int]:
    """Scores all files; one that cannot be used, or is not its trial's, costs the others nothing.

    Returns:
        A table for each of `caches`, and how many files failed.
    """
    from tqdm import tqdm

    from sgdbd_jax.evaluation.trial_table import TrialScores, TwoFocusScores

    tables: list[Table] = [{} for _ in caches]
    failed = 0
    for name, weights in files.items():
        for seed, path in weights:
            label = name if seed is None else f"{name}, seed {seed}"
            found = []
            try:
                if seed is not None:
                    trials.check(name, seed, scored_names=scored_names)
                for cache in caches:
                    with tqdm(desc=label, total=len(cache.photos.names), unit="photo", delay=1, leave=False) as bar:
                        found.append(cache.of(path, label=label, progress=lambda *_: bar.update()))
            except UserError as error:
                print(f"error: {error}", file=sys.stderr)
                failed += 1
                continue
            for kind, table, scored in zip((TrialScores, TwoFocusScores), tables, found):
                for key, values in scored.items():
                    scores = table.setdefault((name, *key), kind())
                    for measure, value in {"seeds": seed, **values}.items():
                        getattr(scores, measure).append(value)
    return tables, failed


def _parser() -> argparse.ArgumentParser:
    def seeds(text: str) -> list[int]:
        return [int(seed) for seed in text.split(",")]

    parser = argparse.ArgumentParser(
        prog="python -m experiments.results",
        description="Score the shipped weights and the trainings they are compared with.",
        epilog="trials:\n" + "\n".join(f"  {name:{WIDTH}} {trial.says}" for name, trial in TRIALS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--images", required=True, type=Path, metavar="DIR", help="photos to score on")
    parser.add_argument("--masks", required=True, type=Path, metavar="DIR", help="their ground truths, named alike")
    parser.add_argument("--masks_white", required=True, choices=("blurred", "focused"), help="what white means there")
    parser.add_argument("--names", metavar="FILE", help="file that names the photos to take, or cuhk:validation; all")
    parser.add_argument(
        "--pairs",
        type=Path,
        metavar="DIR",
        help="also score on scenes photographed twice, focused at two depths: input/NAME/NAME_A.*, NAME_B.*, and"
        " vote/NAME.png, white where A is in focus, black where B is, 128 where it is unknown",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder of results.md, results.json, and scores/, kept for the next time",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/results"), metavar="DIR", help="%(default)s")
    parser.add_argument("--train", metavar="TRIALS", help="trials to train first, as game,warm")
    parser.add_argument("--seeds", type=seeds, default=[0], metavar="N,...", help="of the trainings; 0")
    parser.add_argument("--source", type=Path, metavar="DIR", help="to train: partly blurred photos")
    parser.add_argument("--source_names", metavar="FILE", help="to train: only these of them, as cuhk:train; all")
    parser.add_argument("--clear", type=Path, metavar="DIR", help="to train: photos in focus throughout")
    return parser


def _keep_apart(options: argparse.Namespace, scored: Collection[str]) -> None:
    """Refuses to train on photos that are scored.

    Raises:
        UserError: there are some.
    """
    from sgdbd_jax.data.apart import refuse_scored

    for what in ("source", "clear"):
        if getattr(options, what) is None:
            raise UserError(f"{what}: a training needs photos: --{what} DIR")
    refuse_scored("source", options.source, options.source_names, scored_in=options.images, scored=scored)


def _trials(options: argparse.Namespace) -> Trials:
    """The trials over the photos that the command names."""
    photos = {"source": options.source, "names": options.source_names, "clear": options.clear}
    photos = {name: str(value) for name, value in photos.items() if value is not None}
    masks = {"masks": str(options.masks), "masks_white": options.masks_white}
    return Trials(TRIALS, SELF_TRAINED, options.runs, photos, masks)


def start() -> int:
    """The whole process: starts over for huge pages where it trains, once the command line is understood."""
    if _parser().parse_args().train:
        allocator.use_huge_pages()
    return main()


if __name__ == "__main__":
    command.run(start)
