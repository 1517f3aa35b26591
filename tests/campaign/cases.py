"""What a campaign is made of: families of cases, how a case may end, and the table of all ends."""

import json
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

CACHE = "campaign_cache"  # a folder
OUTCOMES = ("survived", "lost", "crashed", "hung", "skipped")


class Ended(Exception):
    """A case that did not survive; the message says why."""

    outcome = ""


class Lost(Ended):
    """Work or a promise was lost: another result, work done twice, more memory than allowed."""

    outcome = "lost"


class Crashed(Ended):
    """A process died, or showed its user a traceback."""

    outcome = "crashed"


class Hung(Ended):
    """It took longer than allowed."""

    outcome = "hung"


class Skipped(Ended):
    """It cannot be tried on this machine."""

    outcome = "skipped"


@dataclass(frozen=True)
class Case:
    """One fault, and what came of it."""

    family: str
    seed: int  # with the family's name, what is needed to try it again
    what: str  # the fault
    outcome: str  # one of `OUTCOMES`
    detail: str
    seconds: float


@dataclass(frozen=True)
class Family:
    """Cases of one kind.

    Attributes:
        name: for the command line.
        title: for the table.
        count: how many cases it has.
        quick: how many of them a quick campaign tries.
        run: tries the cases of some seeds, with a folder to work in.
    """

    name: str
    title: str
    count: int
    quick: int
    run: Callable[[Sequence[int], Path], Iterator[Case]]


def attempt(seed: int, what: str, trial: Callable[[], str]) -> Case:
    """Tries one case in this process; a failure of the campaign itself counts as one of the program's."""
    started = time.monotonic()
    try:
        outcome, detail = "survived", trial()
    except Ended as error:
        outcome, detail = error.outcome, str(error)
    except Exception as error:
        outcome, detail = "crashed", f"{one_line(error)}, at {place(error)}"
    return Case("", seed, what, outcome, detail, round(time.monotonic() - started, 3))


def one_line(error: BaseException) -> str:
    """An exception's kind and words."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def place(error: BaseException) -> str:
    """The last line of code that an exception went through."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def try_all(
    families: Iterable[tuple[Family, Sequence[int]]], out: Path, *, progress: Callable[[Case], object]
) -> list[Case]:
    """Tries cases, and writes `cases.jsonl` as they end and `table.md` after the last.

    Args:
        families: with the seeds to try of each.
        out: folder for these, and for the families' work.
        progress: called after each case.
    """
    (out / CACHE).mkdir(parents=True, exist_ok=True)  # what the families' commands compile
    cases = []
    with (out / "cases.jsonl").open("w") as lines:
        for family, seeds in families:
            folder = out / family.name
            folder.mkdir(exist_ok=True)
            for case in _all_of(family, seeds, folder):
                case = replace(case, family=family.name)
                cases.append(case)
                lines.write(json.dumps(asdict(case)) + "\n")
                lines.flush()
                progress(case)
    (out / "table.md").write_text(table([family for family, _ in families], cases) + "\n")
    return cases


def _all_of(family: Family, seeds: Sequence[int], folder: Path) -> Iterator[Case]:
    """The cases of a family; if it breaks off, that is one more, and the other families go on."""
    try:
        yield from family.run(seeds, folder)
    except Exception as error:
        yield Case("", seeds[0], "the rest of the family", "crashed", f"{one_line(error)}, at {place(error)}", 0.0)


def table(families: Iterable[Family], cases: Sequence[Case]) -> str:
    """A Markdown table, a row a family; below it every case that did not survive, and why others were not tried."""
    lines = ["| fault | tried | survived | lost | crashed | hung | not tried |", "|---|--:|--:|--:|--:|--:|--:|"]
    for title, chosen in [
        *((family.title, [case for case in cases if case.family == family.name]) for family in families),
        ("all", list(cases)),
    ]:
        ends = [case.outcome for case in chosen]
        tried = len(ends) - ends.count("skipped")
        lines.append(f"| {title} | {tried} | " + " | ".join(str(ends.count(end)) for end in OUTCOMES) + " |")
    failed = [case for case in cases if case.outcome not in ("survived", "skipped")]
    lines += ["", *(f"- {c.outcome}: `--only {c.family} --seed {c.seed}` ({c.what}): {c.detail}" for c in failed)]
    reasons: dict[tuple[str, str], int] = {}
    for case in cases:
        if case.outcome == "skipped":
            reasons[case.family, case.detail] = reasons.get((case.family, case.detail), 0) + 1
    lines += [f"- not tried: {count} of {family}: {why}" for (family, why), count in reasons.items()]
    return "\n".join(lines).rstrip()
