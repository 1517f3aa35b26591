"""What is written and printed of a set's scores: result.json, per_image.csv, curves.csv, curves.png; and a table."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sgdbd_jax.evaluation.curves import curve_rows, plot_curves
from sgdbd_jax.evaluation.scoring import SetScores
from sgdbd_jax.files import write_atomically

FILES = ("per_image.csv", "curves.csv", "curves.png", "result.json")  # the last: where it is, the others are

COLUMNS = {  # measure -> its title in the table
    "f_measure": "F",
    "mae": "MAE",
    "precision": "precision",
    "recall": "recall",
    "max_f": "max F",
    "mean_f": "mean F",
    "s_measure": "S",
    "e_measure": "E",
    "weighted_f": "weighted F",
}


def write_report(folder: Path, scores: SetScores, *, images: Sequence[str], label: str) -> list[str]:
    """Writes the files of a set's scores.

    Args:
        folder: where to; made.
        scores: of the set.
        images: names of the photos scored, in order.
        label: what was scored.

    Returns:
        The names of the files.

    Raises:
        UserError: one cannot be written.
    """
    rows = [{"image": image} | values for image, values in zip(images, scores.per_image, strict=True)]
    result = (json.dumps(scores.result, indent=2) + "\n").encode()
    contents = (_csv(rows), _csv(curve_rows(scores)), plot_curves(scores, label=label), result)
    for name, data in zip(FILES, contents, strict=True):
        write_atomically(folder / name, data)
    return list(FILES)


def table(result: Mapping[str, Any], *, label: str) -> str:
    """The averages of a set above those of the constant masks.

    Args:
        result: of `SetScores`.
        label: what was scored.

    Returns:
        Four lines of text, the columns aligned.
    """
    rows = {label: result, "all zeros": result["floors"]["zeros"], "all ones": result["floors"]["ones"]}
    columns = {name: title for name, title in COLUMNS.items() if name in result}
    title = f"protocol {result['protocol']}, {result['images']} images"
    width = max(map(len, (title, *rows)))
    lines = [" ".join([title.ljust(width), *(f"{column:>10}" for column in columns.values())])]
    lines += [" ".join([name.ljust(width), *(f"{row[key]:10.3f}" for key in columns)]) for name, row in rows.items()]
    return "\n".join(lines)


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The lines of a table, numbers with six decimals."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: f"{value:.6f}" if isinstance(value, float) else value for name, value in row.items()} for row in rows
    )
    return text.getvalue().encode(errors="backslashreplace")  # a name that is no Unicode is shown by its bytes
