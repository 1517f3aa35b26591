"""A tenth of the campaign, and that it can fail: what crashes, hangs, eats memory or differs counts as such."""

import json
import os
import signal
from collections import Counter

import numpy as np
import pytest

from . import ROOT, TESTS, batches, commands, decoding, hostile, kills
from .__main__ import main
from .cases import Case, Crashed, Family, Lost, Skipped, attempt, table, try_all
from .commands import Command
from .mutations import lie, mutate
from .samples import PHOTOS, sample

STUB = "campaign.stubs:misbehave"


def ends(cases):
    return [(case.seed, case.outcome) for case in cases]


# That it can fail.


def test_a_batch_finds_the_case_that_kills_its_process_or_eats_and_goes_on_after_it(tmp_path):
    cases = list(batches.run(STUB, [1, 3, 5, 6, 7, 8, 9], tmp_path, seconds=60, memory=250_000_000))
    assert ends(cases) == list(
        zip([1, 3, 5, 6, 7, 8, 9], ["survived", "crashed", "lost", "crashed", "survived", "skipped", "survived"])
    )
    details = {case.seed: case.detail for case in cases}
    assert details[1] == "an answer"
    assert "SIGSEGV" in details[3]
    assert "GB" in details[5] or "memory" in details[5]
    assert details[6].startswith("KeyError: 'six', at stubs.py:")
    assert details[7] == "refused: 7: is no photo; remove it"
    assert details[8] == "it is the eighth"


def test_a_batch_ends_a_case_that_hangs_and_goes_on_after_it(tmp_path):
    cases = list(batches.run(STUB, [4, 9], tmp_path, seconds=1))
    assert ends(cases) == [(4, "hung"), (9, "survived")]
    assert cases[0].detail == "no end after 1 s"


def test_a_batch_whose_process_cannot_start_is_a_crash_of_each_case(tmp_path):
    cases = list(batches.run("campaign.nowhere:nothing", [4, 5], tmp_path))
    assert ends(cases) == [(4, "crashed"), (5, "crashed")]
    assert "ModuleNotFoundError" in cases[0].detail


def test_a_trial_ends_as_it_raises():
    def fail():
        raise Lost("one step")

    def break_():
        raise ZeroDivisionError

    def leave():
        raise Skipped("no root")

    cases = [attempt(7, "x", trial) for trial in (lambda: "fine", fail, break_, leave)]
    assert ends(cases) == [(7, "survived"), (7, "lost"), (7, "crashed"), (7, "skipped")]


def test_a_command_that_dies_shows_a_traceback_or_does_not_name_its_trouble_is_no_survival(tmp_path):
    def python(text):
        (tmp_path / "trouble.py").write_text(text)
        path = os.pathsep.join(map(str, (ROOT, TESTS, tmp_path)))
        return Command(tmp_path / "work", [], ["trouble"], environment={"PYTHONPATH": path})

    with pytest.raises(Crashed, match="SIGSEGV"):
        python(f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})").end()
    with pytest.raises(Crashed, match="ZeroDivisionError"):
        python("1 / 0").end()
    with pytest.raises(Lost, match="no error names disk"):
        python("import sys; print('error: a.png: cannot be read', file=sys.stderr); sys.exit(2)").refuse("disk")
    with pytest.raises(Lost, match="ended with 0"):
        python("pass").refuse("disk")
    with pytest.raises(Lost, match="ended with 3"):
        python("import sys; sys.exit(3)").succeed()


def test_results_that_differ_are_named(tmp_path):
    for name, row in {"a": {"path": "x", "seconds": 1}, "b": {"path": "x", "seconds": 2}, "c": {"path": "y"}}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.jsonl").write_text(json.dumps(row) + "\n")
        (tmp_path / name / ".writing-x").write_text(name)
    first, second, third = (commands.folder_results(tmp_path / name) for name in "abc")
    commands.assert_same(first, second)
    with pytest.raises(Lost, match="report.jsonl"):
        commands.assert_same(first, third)
    with pytest.raises(Lost, match="x.mask.png"):
        commands.assert_same(first, first | {"x.mask.png": "1"})


def test_the_table_counts_ends_and_names_how_to_try_a_failure_again(tmp_path):
    def run(seeds, folder):
        yield from (Case("", seed, f"case {seed}", outcome, "why", 1.0) for seed, outcome in zip(seeds, outcomes))

    outcomes = ["survived", "lost", "crashed", "hung", "skipped", "survived"]
    family = Family("odd", "odd things", 6, 1, run)
    seen = []
    cases = try_all([(family, range(6))], tmp_path, progress=seen.append)
    assert seen == cases and {case.family for case in cases} == {"odd"}
    assert [json.loads(line)["seed"] for line in (tmp_path / "cases.jsonl").read_text().splitlines()] == list(range(6))
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[2] == "| odd things | 5 | 2 | 1 | 1 | 1 | 1 |"
    assert "- hung: `--only odd --seed 3` (case 3): why" in lines
    assert lines[-1] == "- not tried: 1 of odd: why"
    assert table([family], cases[:1]).splitlines()[-1] == "| all | 1 | 1 | 0 | 0 | 0 | 0 |"


def test_a_family_that_breaks_off_is_a_crash_and_the_others_go_on(tmp_path):
    def break_off(seeds, folder):
        yield Case("", 0, "a case", "survived", "", 1.0)
        raise FileNotFoundError("photos")

    def go_on(seeds, folder):
        yield Case("", 0, "a case", "survived", "", 1.0)

    families = [Family("one", "one", 2, 2, break_off), Family("two", "two", 1, 1, go_on)]
    cases = try_all([(family, range(family.count)) for family in families], tmp_path, progress=lambda _: None)
    assert [(case.family, case.outcome) for case in cases] == [
        ("one", "survived"),
        ("one", "crashed"),
        ("two", "survived"),
    ]


def test_the_command_tries_one_case_again_and_its_exit_code_tells_the_end(tmp_path, capsys, monkeypatch):
    assert main(["--out", str(tmp_path), "--only", "decoding", "--seed", "77"]) == 0
    assert "| photos damaged | 1 | 1 | 0 | 0 | 0 | 0 |" in capsys.readouterr().out
    (line,) = (tmp_path / "cases.jsonl").read_text().splitlines()
    assert json.loads(line)["seed"] == 77
    monkeypatch.setattr(batches, "run", lambda *_: iter([Case("", 77, "x", "hung", "", 1.0)]))
    assert main(["--out", str(tmp_path), "--only", "decoding", "--seed", "77"]) == 1


# What it tries.


def test_every_sample_is_read_as_it_is_and_nearly_every_mutation_changes_it(tmp_path):
    from sgdbd_jax.data.photos import decode_photo

    unread = {"tiff planar 16 bit", "tiff planar tiles 16 bit", "tiff signed"}  # kinds that may be refused
    for name in PHOTOS:
        try:
            data = sample(name)
        except Skipped:
            continue
        if name not in unread:
            assert decode_photo(data, name=name).ndim == 3
        rng = np.random.default_rng(1)
        changed = [mutate(data, rng, lambda: b"other")[0] != data for _ in range(40)]
        assert sum(changed) > 30, name
        lies = {lie(data, rng) for _ in range(40)}
        assert len(lies) > 10, name


def test_a_seed_is_a_case(tmp_path):
    first, second = (decoding.photo(123, tmp_path) for _ in range(2))
    assert first[0] == second[0]
    assert decoding.photo(124, tmp_path)[0] != first[0]


# The tenth.


@pytest.mark.parametrize("family", [*decoding.FAMILIES, *hostile.FAMILIES], ids=lambda family: family.name)
def test_what_is_damaged_or_hostile_is_answered_or_refused(family, tmp_path):
    cases = try_all([(family, range(family.quick))], tmp_path, progress=lambda _: None)
    assert len(cases) == family.quick
    assert [case for case in cases if case.outcome not in ("survived", "skipped")] == []
    assert Counter(case.outcome for case in cases)["survived"] > family.quick / 2


def test_a_folder_run_that_is_killed_goes_on(tmp_path):
    """Of a training, `test_resume.py` says the same."""
    (case,) = kills.folder_runs([3], tmp_path)
    assert case.outcome == "survived", case.detail
