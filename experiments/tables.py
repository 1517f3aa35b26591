"""The paper's ablations as trainings and one table each: `python -m experiments.tables --table 1|2|4 --out DIR`.

    python -m experiments.tables --table 1 --out DIR
    python -m experiments.tables --table 4 --out DIR --seeds 0,1,2
    python -m experiments.tables --table 1 --out DIR --source DIR --source_names cuhk:train --clear DIR \\
        --images DIR --masks DIR --masks_white blurred --names cuhk:validation

Without photos, the schemes of a table are trained on scenes made here, as preset `demo` is, and scored on 64 others; on
photos, as preset `game` is, and scored on those of `--images`. Writes `table1.md`, with the paper's row beside each,
`table1.json`, and `table1.png`, the masks of each scheme (of Table 1 its composites too: Figure 4). No mask chooses a
checkpoint: a scheme is scored as it ends. A training that is there is not made again, rows that tables share are
trained once, and stopped, the same command goes on.
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
from sgdbd_jax.config import MADE, Config
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import replace
from sgdbd_jax.presets import DEMO, GAME
from sgdbd_jax.training.trials import Trial, Trials

if TYPE_CHECKING:
    import numpy as np

    from sgdbd_jax.data.sources import PhotoSet

LAST = {"validate_every": 10**9}  # so that the last step is scored and delivered, whatever masks say of those before
SHOWN, PAPER_SIDE = 3, 320  # photos in a picture; their side in pixels, where they are not scenes
Scores = dict[str, dict[int, dict[str, float]]]  # by scheme and seed: F and MAE


def main(argv: list[str] | None = None) -> int:
    """Parses `argv`, trains what is not there, writes and prints the table."""
    options = _parser().parse_args(argv)
    table = TABLES[options.table]
    trials, left_out = _trials(options, table)
    compiled.keep()
    start_jax()

    from sgdbd_jax.files import check_folder, write_atomically

    name = f"table{options.table}"
    check_folder(options.out, (f"{name}.md", f"{name}.json", f"{name}.png"))
    check_folder(trials.folder)
    if options.source is not None:
        _keep_apart(options)
    for seed in options.seeds:
        for scheme in trials.trials:
            code = train_trial(trials, scheme, seed)
            if code:
                return code
    results = {
        scheme: {seed: json.loads((trials.workdir(scheme, seed) / "result.json").read_text()) for seed in options.seeds}
        for scheme in trials.trials
    }
    data = "photos" if options.source else "scenes"
    text = markdown(options.table, table, results, data=data, left_out=left_out)
    write_atomically(options.out / f"{name}.md", text.encode())
    rows = [
        {
            "scheme": scheme,
            "says": trials.trials[scheme].says,
            "seeds": [{"seed": seed, **_scores(result)} for seed, result in found.items()],
            "paper": _published(table, scheme),
        }
        for scheme, found in results.items()
    ]
    first = next(iter(next(iter(results.values())).values()))
    content = {"table": options.table, "protocol": first["protocol"], "data": data, "images": first["images"]}
    content |= {"floors": _floors(results), "rows": rows, "left_out": left_out}
    write_atomically(options.out / f"{name}.json", (json.dumps(content, indent=1) + "\n").encode())
    write_atomically(options.out / f"{name}.png", _picture(trials, options.seeds[0], composites=table.composites))
    print(text, end="")
    print(f"in {options.out}: {name}.md, {name}.json, {name}.png; runs/ has the trainings")
    return 0


def markdown(
    number: int,
    table: PaperTable,
    results: Mapping[str, Mapping[int, Mapping[str, Any]]],
    *,
    data: str,
    left_out: Mapping[str, str],
) -> str:
    """The table in Markdown: a line a scheme, ours beside the paper's.

    Args:
        number: of the table.
        table: its rows and what the paper prints.
        results: `result.json` by scheme and seed.
        data: "scenes" or "photos".
        left_out: why, by scheme.
    """
    first = next(iter(next(iter(results.values())).values()))
    seeds = ", ".join(map(str, next(iter(results.values()))))
    lines = [
        f"Table {number}: {table.title}. Protocol {first['protocol']}, {first['images']} {data}, seeds {seeds}; of"
        " several, mean ± standard deviation. The paper's are of other photos and longer games: what can be compared is"
        " the order.",
        "",
        f"| | F / MAE, {data} | paper, CUHK | paper, DUT |",
        "|---|---|---|---|",
    ]
    for scheme in table.rows:
        paper = table.paper.get(scheme)
        published = [f"{f:.3f} / {mae:.3f}" for f, mae in (paper[:2], paper[2:])] if paper else ["", ""]
        if scheme in results:
            found = results[scheme].values()
            ours = " / ".join(_spread([each[measure] for each in found]) for measure in ("f_measure", "mae"))
        else:
            ours = left_out[scheme]
        lines.append(f"| {SCHEMES[scheme].says} | {ours} | {' | '.join(published)} |")
    for name, floor in _floors(results).items():
        lines.append(f"| a mask of {name} | {floor['f_measure']:.3f} / {floor['mae']:.3f} | | |")
    return "\n".join(lines) + "\n"


def _scores(result: Mapping[str, Any]) -> dict[str, float]:
    return {measure: result[measure] for measure in ("f_measure", "mae")}


def _floors(results: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    """The constant masks' scores, mean over the seeds: each has scenes of its own."""
    found = list(next(iter(results.values())).values())
    return {
        name: {
            measure: sum(result["floors"][name][measure] for result in found) / len(found)
            for measure in ("f_measure", "mae")
        }
        for name in ("zeros", "ones")
    }


def _published(table: PaperTable, scheme: str) -> dict[str, dict[str, float]] | None:
    if scheme not in table.paper:
        return None
    f_cuhk, mae_cuhk, f_dut, mae_dut = table.paper[scheme]
    return {"CUHK": {"f_measure": f_cuhk, "mae": mae_cuhk}, "DUT": {"f_measure": f_dut, "mae": mae_dut}}


def _spread(values: list[float]) -> str:
    import numpy as np

    mean = f"{np.mean(values):.3f}"
    return f"{mean} ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else mean


def _picture(trials: Trials, seed: int, *, composites: bool) -> bytes:
    """A few photos, their truth, and each scheme's mask; with `composites`, below each mask what D_c and D_b see.

    Returns:
        A PNG file.
    """
    import cv2
    import jax.numpy as jnp
    import numpy as np

    from sgdbd_jax import pictures
    from sgdbd_jax.detection.detector import Detector
    from sgdbd_jax.game import composites as game

    scored, clear, blur = _shown(trials.config(next(iter(trials.trials)), seed))
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


def _shown(config: Config) -> tuple[PhotoSet, np.ndarray, np.ndarray]:
    """A few of the photos that are scored, at their own size; of the clear and the blurred ones, `[N, S, S, 3]` uint8.

    Blurred ones that are made are so as far as the paper's FCSB(5D) goes.
    """
    import numpy as np

    from sgdbd_jax.data.blur import fcsb
    from sgdbd_jax.data.resizing import resize_photo
    from sgdbd_jax.data.training_sets import load_photos

    bar = Bar()
    try:
        photos = load_photos(config, progress=bar.photos)
    finally:
        bar.close()
    scored = photos.held_out or photos.validation
    assert scored is not None  # scenes have some, and of photos they were asked for
    side = config.crops.crop if photos.held_out else PAPER_SIDE

    def few(photo_set: PhotoSet) -> np.ndarray:
        return np.stack([resize_photo(np.asarray(image), (side, side)) for image in photo_set.images[:SHOWN]])

    clear, blurred = few(photos.training.clear), photos.training.blur
    blur = few(blurred) if blurred else np.stack([fcsb(photo, 5) for photo in clear])
    return scored.only(range(min(SHOWN, len(scored.names)))), clear, blur


def _trials(options: argparse.Namespace, table: PaperTable) -> tuple[Trials, dict[str, str]]:
    """The trainings of a table, and the rows that it goes without, with the reason.

    Raises:
        UserError: photos are named in part.
    """
    schemes = {name: SCHEMES[name] for name in table.rows}
    photos = ("source", "clear", "images", "masks", "masks_white")
    given = {name: getattr(options, name) for name in photos}
    if not any(given.values()) and not options.blur:
        return Trials(schemes, replace(DEMO, LAST), options.out / "runs", {}, {}), {}
    missing = [f"--{name}" for name, value in given.items() if not value]
    if missing:
        raise UserError(f"{', '.join(missing)}: needed beside the other photos; or leave all out, for scenes made here")
    sets = {"source": options.source, "clear": options.clear, "names": options.source_names}
    sets |= {"validation_images": options.images, "validation_masks": options.masks}
    sets |= {"validation_white": options.masks_white, "validation_names": options.names}
    changes: dict[str, Any] = {name: str(value) for name, value in sets.items() if value is not None}
    natural = str(options.blur or "")
    trials, left_out = {}, {}
    for name, trial in schemes.items():
        made = trial.changes.get("blur") == MADE  # of scenes it is said so; of photos it is what none means
        if name == "natural" and not natural:
            left_out[name] = "not run: needs --blur DIR"
        else:
            trials[name] = Trial(trial.says, {**trial.changes, "blur": "" if made else natural})
    base = replace(GAME, {"bilateral_weight": 1.0, **LAST})
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
        return [int(seed) for seed in text.split(",")]

    titles = "\n".join(f"  {number}: {table.title}" for number, table in TABLES.items())
    parser = argparse.ArgumentParser(
        prog="python -m experiments.tables",
        description="Train and score the schemes of one of the paper's tables.",
        epilog=f"tables:\n{titles}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--table", required=True, type=int, choices=list(TABLES))
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the table, and of runs/")
    parser.add_argument("--seeds", type=seeds, default=[0], metavar="N,...", help="0")
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
