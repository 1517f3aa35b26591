"""The report of a cluster's work: rows of Parquet in the files of a folder, which together are one table."""

from __future__ import annotations

import fnmatch
import io
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sgdbd_jax.cluster.places import REPORT, Folder
from sgdbd_jax.errors import UserError
from sgdbd_jax.extra import needed
from sgdbd_jax.folders.record import Record, focus_row
from sgdbd_jax.folders.report import focus_cells

if TYPE_CHECKING:
    import pyarrow as pa

FLOATS = ("score", "share", "unknown", "centre_x", "centre_y", "sharpness", "seconds")
WHOLE = ("width", "height", "left", "top", "right", "bottom")
TEXTS = ("path", "name", "status", "error", "flags", "taken", "settings", "identity")


@dataclass(frozen=True)
class Done:
    """What an earlier run says of a photo.

    Attributes:
        name: of its results.
        done: whether they were made.
        settings, identity: what they were made with, and of.
        files: the end of a file's name -> bytes.
    """

    name: str
    done: bool
    settings: str
    identity: str
    files: dict[str, int]


def schema() -> pa.Schema:
    """The columns: as those of `report.csv`, and what `--resume` goes by."""
    pa = needed("pyarrow", "--ray")
    kinds = (TEXTS, pa.string()), (WHOLE, pa.int32()), (FLOATS, pa.float64())
    columns = [(name, kind) for names, kind in kinds for name in names]
    return pa.schema([*columns, ("files", pa.map_(pa.string(), pa.int64()))])


def row(record: Record, identity: str) -> dict[str, Any]:
    """A photo's row."""
    cells = {name: value for name, value in vars(record).items() if name not in ("focus", "photo", "burst", "best")}
    cells |= {"identity": identity, "files": list(record.files.items())}
    if not record.width:
        cells |= {"width": None, "height": None}
    if record.focus is None:
        return cells
    numbers = focus_row(record.focus)
    return cells | focus_cells(numbers) | {"sharpness": numbers["sharpness"]}


def table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows that `row` gives, as a table."""
    return needed("pyarrow", "--ray").Table.from_pylist(rows, schema=schema())


def write(folder: Folder, tables: Sequence[pa.Table]) -> None:
    """Adds rows, which outlast all that comes.

    Raises:
        UserError: they cannot be written.
    """
    _write_part(folder, f"{REPORT}/part-{time.time_ns():020}.parquet", needed("pyarrow", "--ray").concat_tables(tables))


def read(folder: Folder) -> dict[str, Done]:
    """What earlier runs say, by path.

    Raises:
        UserError: it cannot be read.
    """
    columns = ["path", "name", "status", "settings", "identity", "files"]
    return {
        cells.pop("path"): Done(done=cells.pop("status") == "done", **cells | {"files": dict(cells["files"] or ())})
        for part in _parts(folder)
        for cells in _read_part(folder, part, columns).to_pylist()
    }


def take_out(folder: Folder, paths: Collection[str]) -> None:
    """Takes rows out, file by file, so that a kill costs none of the others.

    Raises:
        UserError: a file cannot be read or written.
    """
    for part in _parts(folder) if paths else ():
        rows = _read_part(folder, part)
        stays = np.array([path not in paths for path in rows["path"].to_pylist()], bool)
        if not stays.any():
            folder.remove(part)
        elif not stays.all():
            _write_part(folder, part, rows.filter(stays))


def _parts(folder: Folder) -> Iterator[str]:
    return iter(fnmatch.filter(sorted(folder.sizes(REPORT)), f"{REPORT}/part-*.parquet"))


def _read_part(folder: Folder, part: str, columns: list[str] | None = None) -> pa.Table:
    data = folder.read(part)
    try:
        return needed("pyarrow.parquet", "--ray").read_table(io.BytesIO(data), columns=columns)
    except Exception as error:
        raise UserError(f"{folder.url}/{part}: is no part of a report; move it away, or name another --out") from error


def _write_part(folder: Folder, part: str, rows: pa.Table) -> None:
    file = io.BytesIO()
    needed("pyarrow.parquet", "--ray").write_table(rows, file)
    folder.write(part, file.getvalue())
