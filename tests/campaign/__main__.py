"""The whole campaign, or a part of it: `python -m tests.campaign --out DIR [--quick] [--only NAME [--seed N]]`.

Writes `table.md`, and `cases.jsonl` with every case and its seed; prints the table. On 2 cores it takes a quarter of an
hour. Exit code: 0 if all that could be tried survived, else 1.
"""

import argparse
import sys
from pathlib import Path

from .cases import Case, Family, table, try_all


def families() -> list[Family]:
    """All of them, the quickest first."""
    from . import decoding, faults, hostile, kills, photos

    return [*decoding.FAMILIES, *hostile.FAMILIES, *kills.FAMILIES, *faults.FAMILIES, *photos.FAMILIES]


def main(argv: list[str] | None = None) -> int:
    """Parses `argv`, tries what is asked for and prints the table."""
    from tqdm import tqdm

    known = {family.name: family for family in families()}
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description="A fault campaign.")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the table and all work")
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    parser.add_argument("--only", choices=list(known), help="one family")
    parser.add_argument("--seed", type=int, metavar="N", help="one case of it")
    options = parser.parse_args(argv)
    if options.seed is not None and options.only is None:
        parser.error("--seed needs --only")
    chosen = [known[options.only]] if options.only else list(known.values())
    plan = [(each, range(each.quick if options.quick else each.count)) for each in chosen]
    if options.seed is not None:
        plan = [(chosen[0], range(options.seed, options.seed + 1))]

    with tqdm(total=sum(len(seeds) for _, seeds in plan), unit="case", delay=1) as bar:

        def show(case: Case) -> None:
            bar.set_description(case.family, refresh=False)
            bar.update()
            if case.outcome not in ("survived", "skipped"):
                bar.write(f"{case.outcome}: {case.family} {case.seed} ({case.what}): {case.detail}", file=sys.stderr)

        cases = try_all(plan, options.out.resolve(), progress=show)
    print(table(chosen, cases))
    return 0 if all(case.outcome in ("survived", "skipped") for case in cases) else 1


if __name__ == "__main__":
    sys.exit(main())
