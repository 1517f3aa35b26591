"""The paper's ablations as trainings and one table each: `python -m experiments.tables --table 1|2|4 --out DIR`.

    python -m experiments.tables --table 1 --out DIR
    python -m experiments.tables --table 4 --out DIR --seeds 0,1,2
    python -m experiments.tables --table 1 --out DIR --source DIR --source_names cuhk:train --clear DIR \\
        --images DIR --masks DIR --masks_white blurred --names cuhk:validation

Without photos, the schemes of a table are trained on scenes made here, as preset `demo` is, and scored on 64 others. On
photos they are trained as preset `game` is, but with the bilateral loss, and eta as on scenes, where a row does not
say, and scored on those of `--images`, by the masks of the network alone. Writes `table1.md`, with the paper's row
beside each, `table1.json`, and `table1.png`, the masks of each scheme (of Table 1 its composites too: Figure 4). No
mask chooses a checkpoint: a scheme is scored as it ends. A training that is there is not made again, rows that tables
share are trained once, and stopped, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments._tables import SCHEMES, TABLES, PaperTable
from sgdbd_jax.backend import start_jax
from sgdbd_jax.cli import allocator, command, compiled
from sgdbd_jax.cli.progress import Bar
from sgdbd_jax.cli.training import train_trial
from sgdbd_jax.config import Config
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import replace
from sgdbd_jax.presets import DEMO, GAME
from sgdbd_jax.training.trials import Trial, Trials

if TYPE_CHECKING:
    import numpy as np

    from sgdbd_jax.data.sources import PhotoSet
    from sgdbd_jax.data.training_sets import Photos

LAST = {"validate_every": 10**9}  # so that the last step is scored and delivered, whatever masks say of those before
SHOWN, PAPER_SIDE = 3, 320  # photos in a picture; their side in pixels, where they are not scenes
MEASURES = ("f_measure", "mae")
SETTLED = 100  # rounds at the end, of whose masks the mean is told
Results = Mapping[str, Mapping[int, Mapping[str, Any]]]  # by scheme and seed, as `_result`


def main(argv: list[str] | None = None) -> int:
    """Parses `argv`, trains what is not there, writes and prints the table."""
    options = _parser().parse_args(argv)
    table = TABLES[options.table]
    trials, left_out = _trials(options, table)
    compiled.keep()
    start_jax()

    from sgdbd_jax.data.training_sets import fingerprints
    from sgdbd_jax.files import check_folder, write_atomically

    name = f"table{options.table}"
    check_folder(options.out, (f"{name}.md", f"{name}.json", f"{name}.png"))
    check_folder(trials.folder)
    if options.source is not None:
        _keep_apart(options)
    config = trials.config(list(trials.trials)[-1], options.seeds[0])  # the last has a blurred set, if any has
    few = {} if options.source is not None else {"scenes": SHOWN}
    photos = _load(replace(config, few))  # before hours of training: what cannot be read is refused now
    prints = fingerprints(photos) if options.source is not None else None  # of scenes, the config tells all
    shown = _shown(photos, config)
    del photos
    for seed in options.seeds:
        for scheme in trials.trials:
            code = train_trial(trials, scheme, seed, photos=prints)
            if code:
                return code
    results = {
        scheme: {seed: _result(trials.workdir(scheme, seed)) for seed in options.seeds} for scheme in trials.trials
    }
    data = "scenes" if options.source is None else "photos"
    text = markdown(options.table, table, results, preset=trials.preset, data=data, left_out=left_out)
    content = _content(options.table, table, results, preset=trials.preset, data=data, left_out=left_out)
    write_atomically(options.out / f"{name}.md", text.encode())
    write_atomically(options.out / f"{name}.json", (json.dumps(content, indent=1) + "\n").encode())
    picture = _picture(trials, options.seeds[0], *shown, composites=table.composites)
    write_atomically(options.out / f"{name}.png", picture)
    print(text, end="")
    print(f"in {options.out}: {name}.md, {name}.json, {name}.png; runs/ has the trainings")
    return 0


def markdown(
    number: int, table: PaperTable, results: Results, *, preset: Config, data: str, left_out: Mapping[str, str]
) -> str:
    """The table in Markdown: a line a scheme, ours beside the paper's.

    Args:
        number: of the table.
        table: its rows and what the paper prints.
        results: of the schemes that were run: as `_result` gives them.
        preset: what the schemes change.
        data: "scenes" or "photos".
        left_out: why the others were not run, by scheme.
    """
    first = next(iter(next(iter(results.values())).values()))
    seeds = ", ".join(map(str, next(iter(results.values()))))
    game = preset.game
    lines = [
        f"Table {number}: {table.title.format(eta=game.eta)}. F / MAE by protocol {first['protocol']},"
        f" {first['images']} {data}, {game.steps} rounds, seeds {seeds}; of several, mean ± standard deviation. Beside"
        f" the paper's losses, G is pressed to decide by a weight of {game.binarisation_weight}. The paper's numbers"
        " are of other photos and longer games: what can be compared is the order. Coverage: the mean of the"
        f" training's own masks in its last {SETTLED} rounds.",
        "",
        f"| | coverage | {data} | paper, CUHK | paper, DUT |",
        "|---|---|---|---|---|",
    ]
    for scheme, says in table.rows.items():
        paper = table.paper.get(scheme)
        published = [f"{f:.3f} / {mae:.3f}" for f, mae in (paper[:2], paper[2:])] if paper else ["", ""]
        if scheme in results:
            found = results[scheme].values()
            coverage = _spread([each["coverage"] for each in found], digits=2)
            ours = " / ".join(_spread([each[measure] for each in found]) for measure in MEASURES)
        else:
            coverage, ours = "", left_out[scheme]
        lines.append(f"| {says.format(eta=game.eta)} | {coverage} | {ours} | {' | '.join(published)} |")
    for name, floor in _floors(results).items():
        coverage = {"zeros": "0", "ones": "1"}[name]
        lines.append(f"| a mask of {name} | {coverage} | {floor['f_measure']:.3f} / {floor['mae']:.3f} | | |")
    return "\n".join(lines) + "\n"


def _content(
    number: int, table: PaperTable, results: Results, *, preset: Config, data: str, left_out: Mapping[str, str]
) -> dict[str, Any]:
    """The table as JSON has it."""
    first = next(iter(next(iter(results.values())).values()))
    rows = []
    for scheme, says in table.rows.items():
        paper = table.paper.get(scheme)
        rows.append(
            {
                "scheme": scheme,
                "says": says.format(eta=preset.game.eta),
                "seeds": [
                    {"seed": seed, **{name: result[name] for name in (*MEASURES, "coverage")}}
                    for seed, result in results.get(scheme, {}).items()
                ],
                "left_out": left_out.get(scheme),
                "paper": paper and {"CUHK": dict(zip(MEASURES, paper[:2])), "DUT": dict(zip(MEASURES, paper[2:]))},
            }
        )
    game = {name: getattr(preset.game, name) for name in ("steps", "eta", "bilateral_weight", "binarisation_weight")}
    content = {"table": number, "protocol": first["protocol"], "data": data, "images": first["images"]}
    return content | {"preset": game, "floors": _floors(results), "rows": rows}


def _floors(results: Results) -> dict[str, dict[str, float]]:
    """The constant masks' scores, mean over the seeds: each has scenes of its own."""
    found = list(next(iter(results.values())).values())
    return {
        name: {measure: sum(result["floors"][name][measure] for result in found) / len(found) for measure in MEASURES}
        for name in ("zeros", "ones")
    }


def _result(workdir: Path) -> dict[str, Any]:
    """A training's `result.json`, and `coverage`, the mean of its masks in its last rounds; `None` without a log."""
    from sgdbd_jax.training.log import read_log

    rows = read_log(workdir, "game")
    last = [row["coverage"] for row in rows if row["step"] > rows[-1]["step"] - SETTLED and "coverage" in row]
    coverage = sum(last) / len(last) if last else None
    return json.loads((workdir / "result.json").read_text()) | {"coverage": coverage}


def _spread(found: Sequence[float | None], digits: int = 3) -> str:
    import numpy as np

    values = [value for value in found if value is not None]
    if len(values) < len(found):
        return ""
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else mean


def _picture(
    trials: Trials, seed: int, scored: PhotoSet, clear: np.ndarray, blur: np.ndarray, *, composites: bool
) -> bytes:
    """Photos, their truth, and each scheme's mask as the network gives it; with `composites`, these below each mask.

    Args:
        trials, seed: the trainings.
        scored, clear, blur: of `_shown`.
        composites: whether they are shown.

    Returns:
        A PNG file.
    """
    import cv2
    import jax.numpy as jnp
    import numpy as np

    from sgdbd_jax import pictures
    from sgdbd_jax.detection.detector import Detector
    from sgdbd_jax.game import composites as game

    own = [np.asarray(image) for image in scored.images]
    side = clear.shape[1]

    def squashed(image: np.ndarray) -> np.ndarray:
        """`[H, W]` or `[H, W, 3]` as floats in [0, 1] of the picture's size."""
        unit = image.astype(np.float32) / (255 if image.dtype == np.uint8 else 1)
        return cv2.resize(unit, (side, side), interpolation=cv2.INTER_AREA)

    photos = [np.stack([squashed(image) for image in images]) for images in (own, clear, blur)]

    def column(masks: Sequence[np.ndarray]) -> np.ndarray:
        """Masks as pictures, `[N, H, W, 3]`, or `[3 N, H, W, 3]` with the composites."""
        mask = jnp.stack([squashed(mask) for mask in masks])[..., None]
        seen = [jnp.repeat(mask, 3, axis=-1), *(game.composites(mask, *map(jnp.asarray, photos)) if composites else ())]
        return np.stack(seen, axis=1).reshape(-1, side, side, 3)

    first = np.stack(photos if composites else photos[:1], axis=1).reshape(-1, side, side, 3)
    columns = {"photo, clear, blurred" if composites else "photo": first, "truth": column(scored.masks or ())}
    for scheme in trials.trials:
        detect = Detector.load(trials.generator(scheme, seed), refine=False)
        columns[scheme] = column([detect(image) for image in own])
    return pictures.sample_grid(columns)


def _load(config: Config) -> Photos:
    """The photos of a training, with a bar.

    Raises:
        UserError: as `check_sets` and `load_photos`.
    """
    from sgdbd_jax.data.training_sets import check_sets, load_photos

    check_sets(config)
    bar = Bar()
    try:
        return load_photos(config, progress=bar.photos)
    finally:
        bar.close()


def _shown(photos: Photos, config: Config) -> tuple[PhotoSet, np.ndarray, np.ndarray]:
    """A few of the photos that are scored, at their own size; of the clear and the blurred ones, `[N, S, S, 3]` uint8.

    Where no blurred set is given, they are as blurred as those of the paper's FCSB(5D).
    """
    import numpy as np

    from sgdbd_jax.data.blur import fcsb
    from sgdbd_jax.data.resizing import resize_photo

    scored = photos.held_out or photos.validation
    assert scored is not None  # scenes have some, and of photos they were asked for
    side = config.crops.crop if photos.held_out else PAPER_SIDE
    sets = [scored, photos.training.clear, *filter(None, [photos.training.blur])]
    count = min(SHOWN, *(len(photo_set.names) for photo_set in sets))

    def few(photo_set: PhotoSet) -> np.ndarray:
        return np.stack([resize_photo(np.asarray(image), (side, side)) for image in photo_set.images[:count]])

    clear, blurred = few(photos.training.clear), photos.training.blur
    return scored.only(range(count)), clear, few(blurred) if blurred else np.stack([fcsb(each, 5) for each in clear])


def _trials(options: argparse.Namespace, table: PaperTable) -> tuple[Trials, dict[str, str]]:
    """The trainings of a table, and the rows that it goes without, with the reason.

    Raises:
        UserError: photos are named in part, or beside scenes.
    """
    schemes = {name: SCHEMES[name] for name in table.rows}
    needed = ("source", "clear", "images", "masks", "masks_white")
    given = {name: getattr(options, name) for name in needed}
    named = [name for name in (*needed, "source_names", "blur", "names") if getattr(options, name) is not None]
    if options.data and named:
        raise UserError(f"data: scenes have no --{named[0]}; leave one of the two out")
    rounds = {} if options.steps is None else {"steps": options.steps}
    if not named:
        return Trials(schemes, replace(DEMO, LAST | rounds), options.out / "runs", {}, {}), {}
    missing = [f"--{name}" for name, value in given.items() if value is None]
    if missing:
        raise UserError(f"{', '.join(missing)}: needed beside the other photos; or leave all out, for scenes made here")
    sets = {"source": options.source, "clear": options.clear, "names": options.source_names}
    sets |= {"validation_images": options.images, "validation_masks": options.masks}
    sets |= {"validation_white": options.masks_white, "validation_names": options.names}
    changes: dict[str, Any] = {name: str(value) for name, value in sets.items() if value is not None}
    blur = str(options.blur or "")
    left_out = {}
    if "disk" in schemes and not blur:  # what the last row would be is the one before it
        left_out["full"] = "not run: needs --blur DIR"
    trials = {
        name: Trial(trial.says, {**trial.changes, "blur": "" if "blur" in trial.changes else blur})
        for name, trial in schemes.items()
        if name not in left_out
    }
    base = replace(GAME, {"bilateral_weight": 1.0, "eta": DEMO.game.eta, "refine": False, **LAST, **rounds})
    return Trials(trials, base, options.out / "runs", changes, {}), left_out


def _keep_apart(options: argparse.Namespace) -> None:
    """Refuses to train on photos that are scored.

    Raises:
        UserError: there are some.
    """
    from sgdbd_jax.data.apart import refuse_scored
    from sgdbd_jax.data.listing import list_photos
    from sgdbd_jax.data.names import read_names

    names = options.names
    scored = read_names(names) if names else [path.name for path in list_photos(options.images, warn=lambda text: None)]
    for what, chosen in {"source": options.source_names, "clear": None, "blur": None}.items():
        if (folder := getattr(options, what)) is not None:
            refuse_scored(what, folder, chosen, scored_in=options.images, scored=scored)


def _parser() -> argparse.ArgumentParser:
    def seeds(text: str) -> list[int]:
        found = [int(seed) for seed in text.split(",")]
        if min(found) < 0 or len({*found}) < len(found):
            raise ValueError(text)
        return found

    titles = "\n".join(f"  {number}: {table.title.format(eta=DEMO.game.eta)}" for number, table in TABLES.items())
    parser = argparse.ArgumentParser(
        prog="python -m experiments.tables",
        description="Train and score the schemes of one of the paper's tables.",
        epilog=f"tables:\n{titles}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--table", required=True, type=int, choices=list(TABLES))
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the table, and of runs/")
    parser.add_argument("--data", choices=("scenes",), help="what it is without the photos below")
    parser.add_argument("--seeds", type=seeds, default=[0], metavar="N,...", help="0")
    parser.add_argument(
        "--steps",
        type=command.whole_number,
        metavar="N",
        help=f"rounds of the game, each N in its own --out; {DEMO.game.steps} on scenes, {GAME.game.steps} on photos",
    )
    parser.add_argument("--source", type=Path, metavar="DIR", help="partly blurred photos; scenes made here")
    parser.add_argument("--source_names", metavar="FILE", help="only these of them, as cuhk:train; all")
    parser.add_argument("--clear", type=Path, metavar="DIR", help="photos in focus throughout")
    parser.add_argument(
        "--blur", type=Path, metavar="DIR", help="photos out of focus throughout; made of the clear ones"
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="photos to score on")
    parser.add_argument("--masks", type=Path, metavar="DIR", help="their ground truths, named alike")
    parser.add_argument("--masks_white", choices=("blurred", "focused"), help="what white means there")
    parser.add_argument("--names", metavar="FILE", help="only these of them, as cuhk:validation; all")
    return parser


def start() -> int:
    """The whole process: starts over for huge pages, once the command line is understood."""
    _parser().parse_args()
    allocator.use_huge_pages()
    return main()


if __name__ == "__main__":
    command.run(start)
