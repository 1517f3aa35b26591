"""What was measured, as a table, as JSON and as two plots."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sgdbd_jax.files import write_atomically
from sgdbd_jax.pictures import figure_png


@dataclass(frozen=True)
class Row:
    """One figure, and what it should be."""

    part: str  # of the command's `--what`
    what: str  # was measured
    value: float | None  # None: not measured, and the note says why
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""
    runs: Sequence[float] = ()  # seconds of each
    about: Mapping[str, Any] = field(default_factory=dict)  # what the plots go by: `who`, `size`, `batch`, ...

    @classmethod
    def timed(cls, part: str, what: str, runs: Sequence[float], **rest: Any) -> Row:
        """The median of some runs."""
        return cls(part, what, statistics.median(runs), "s", runs=runs, **rest)

    @property
    def target(self) -> str:
        """In words; "" without one."""
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return "" if self.at_most is None else f"at most {self.at_most:g}"

    @property
    def met(self) -> bool | None:
        """Whether the target is met; `None` without one, and where nothing was measured."""
        if self.value is None or not self.target:
            return None
        return self.value >= self.at_least if self.at_least is not None else self.value <= (self.at_most or 0)


def table(rows: Sequence[Row]) -> str:
    """A line a row."""
    verdicts = {True: "met", False: "NOT MET", None: ""}
    lines = [("part", "what", "measured", "target", "", "")]
    for row in rows:
        measured = "not measured" if row.value is None else f"{row.value:.4g} {row.unit}"
        lines.append((row.part, row.what, measured, row.target, verdicts[row.met], row.note))
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    import jax

    installed = {item.name: item.version for item in importlib.metadata.distributions()}
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load before": os.getloadavg(),
        "devices": [device.device_kind for device in jax.local_devices()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {
            name: installed.get(name)
            for name in ("jax", "jaxlib", "flax", "numpy", "torch", "onnxruntime", "blur-detector")
        },
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def write(folder: Path, about: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Writes `benchmark.json` and, of what there is to plot this far, `benchmark.png` and `growth.png`.

    Args:
        folder: is made.
        about: what can be written as JSON, beside the rows.
        rows: this far.

    Raises:
        UserError: a file cannot be written.
    """
    values = [asdict(row) | {"met": row.met} for row in rows]
    write_atomically(folder / "benchmark.json", json.dumps({**about, "rows": values}, indent=1).encode())
    for name, key, draw in (("benchmark", "who", _bars), ("growth", "kind", _growth)):
        panels: dict[str, list[Row]] = {}
        for row in rows:
            if key in row.about:
                panels.setdefault(row.about.get("kind", row.part), []).append(row)
        if panels:
            write_atomically(folder / f"{name}.png", _picture(panels, draw))


def _picture(panels: Mapping[str, Sequence[Row]], draw: Any) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1 + 5 * len(panels), 4), layout="constrained")
    for axes, (title, rows) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        draw(axes, rows)
        axes.set_title(title)
        axes.legend()
    return figure_png(figure)


def _bars(axes: Any, rows: Sequence[Row]) -> None:
    """Seconds a photo: a group of bars a size, a bar a side."""
    groups = list(dict.fromkeys(_size(row) for row in rows))
    names = list(dict.fromkeys(row.about["who"] for row in rows))
    width = 1 / (len(names) + 1)
    for place, name in enumerate(names):
        mine = [row for row in rows if row.about["who"] == name]
        at = [groups.index(_size(row)) + (place - (len(names) - 1) / 2) * width for row in mine]
        axes.bar(at, [statistics.median(row.runs) / row.about["batch"] for row in mine], width, label=name)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel("seconds a photo")


def _size(row: Row) -> str:
    return f"{row.about['size']}\nbatch {row.about['batch']}"


def _growth(axes: Any, rows: Sequence[Row]) -> None:
    """Seconds against pixels, and the line through them."""
    for row in rows:
        if "line" in row.about:
            ends = [0, max(other.about.get("pixels", 0) for other in rows)]
            fixed, slope = row.about["line"]
            axes.plot([end / 1e6 for end in ends], [fixed + slope * end for end in ends], "k-", label="least squares")
    for series in dict.fromkeys(row.about["series"] for row in rows if "series" in row.about):
        mine = [row for row in rows if row.about.get("series") == series]
        axes.plot([row.about["pixels"] / 1e6 for row in mine], [row.value for row in mine], "o", label=series)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("megapixels of a batch")
    axes.set_ylabel("seconds")
