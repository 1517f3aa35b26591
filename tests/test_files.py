"""A folder for results is refused before the work, and left as it was; of unfinished files ours alone are removed."""

import os
import tempfile

import pytest

from sgdbd_jax.errors import UserError
from sgdbd_jax.files import TEMPORARY, atomic_file, check_folder, remove_unfinished


def test_a_folder_that_can_be_made_or_written_passes_and_nothing_is_left_in_it(tmp_path):
    check_folder(tmp_path / "a" / "b", ["result.json"])
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "result.json").touch()
    check_folder(tmp_path / "there", ["result.json"])
    assert [files for _, _, files in os.walk(tmp_path)] == [[], ["result.json"]]


@pytest.mark.parametrize("place", ["file", "file/out", "file/out/deeper", "link"])
def test_a_file_in_the_place_of_the_folder_or_above_it_is_refused(tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    there = place.partition("/")[0]
    with pytest.raises(UserError, match=rf"{place}: cannot be written \(.*{there} is no folder\)"):
        check_folder(tmp_path / place)


def test_a_folder_in_the_place_of_a_result_is_refused(tmp_path):
    (tmp_path / "result.json").mkdir()
    with pytest.raises(UserError, match=r"result\.json: cannot be written \(it is a folder\)"):
        check_folder(tmp_path, ["curves.csv", "result.json"])


def test_a_folder_that_may_not_be_written_is_refused(tmp_path, monkeypatch):
    """Root may write everywhere, so the system's refusal is made up."""

    def refuse(**options):
        raise PermissionError(13, "Permission denied", str(options["dir"]))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"out: cannot be written \(Permission denied\)"):
        check_folder(tmp_path / "out")


def test_files_that_a_kill_left_are_removed_and_those_of_others_are_not(tmp_path):
    with atomic_file(tmp_path / "a"):
        (left,) = os.listdir(tmp_path)
    names = [left, f"{TEMPORARY}notes.txt", f"{TEMPORARY}a", f"{TEMPORARY}Document"]
    for name in names:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1, 1))
    remove_unfinished(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(["a", *names[1:]])
