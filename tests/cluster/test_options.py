"""What `sgdbd` refuses of a cluster, in one line."""

import sys

import pytest

from experiments.predict import main
from sgdbd_jax.errors import Unavailable, UserError


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main([*arguments])
    assert end.value.code == 2
    return capsys.readouterr().err.splitlines()[-1].partition("error: ")[2]


@pytest.mark.parametrize("option", ["--bursts", "--xmp", "--no_clips", "--mask_names=colmap", "--sharpest=2"])
def test_options_that_are_not_done_on_a_cluster(capsys, option):
    name = option.partition("=")[0]
    assert refused(capsys, "a.jpg", "--out", "o", option, "--ray") == f"argument {name}: is not done with --ray"


def test_what_needs_a_cluster(capsys):
    only = "means something with --ray only"
    assert refused(capsys, "a.jpg", "--out", "o", "--ray_workers", "2") == f"argument --ray_workers: {only}"
    needs = "URLs are read and written with --ray only"
    assert refused(capsys, "s3://b/a.jpg", "--out", "o") == f"s3://b/a.jpg: {needs}"
    assert refused(capsys, "a.jpg", "--out", "s3://b/o") == f"s3://b/o: {needs}"


@pytest.mark.parametrize("address", ["photo.jpg", "ray://head:10001", "head", "a/b:1"])
def test_what_is_no_address(capsys, address):
    said = refused(capsys, "--out", "o", "--ray", address)
    assert said == f"argument --ray: {address!r} is no address as HOST:PORT, nor auto; paths come before --ray"


def test_without_the_extra_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(Unavailable, match=r"^--ray: needs Ray Data; pip install 'sgdbd_jax\[ray\]'$"):
        main([str(tmp_path), "--out", str(tmp_path / "out"), "--ray"])


def test_one_folder_is_not_for_runs_of_both_kinds(tmp_path):
    """Neither knows the names that the other gave."""
    pytest.importorskip("ray.data")
    pytest.importorskip("fsspec")
    (tmp_path / "a.jpg").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.jsonl").touch()
    with pytest.raises(UserError, match="out: holds results of a run without --ray; name another folder"):
        main([str(tmp_path / "a.jpg"), "--out", str(tmp_path / "out"), "--ray"])
    (tmp_path / "out" / "report.jsonl").rename(tmp_path / "out" / "report.parquet")
    with pytest.raises(UserError, match="out: holds results of a run with --ray; name another folder"):
        main([str(tmp_path / "a.jpg"), "--out", str(tmp_path / "out")])
