"""`sgdbd --ray` on two workers, of which some are killed, by a tiny generator; beside `sgdbd` without it."""

import os
import signal
import sys
import time

import numpy as np
import pytest
from PIL import Image
from tiny_generators import random_variables, save_generator

from experiments.predict import main

pytest_plugins = "local_cluster"

pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("fsspec")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # it warns of its own defaults
    pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which worker asks"),
]


@pytest.fixture
def sgdbd(tmp_path, cluster):
    """Calls the command with a small network, on two workers or without."""
    weights = save_generator(tmp_path / "g.safetensors", random_variables())
    settings = ("--weights", weights, "--work_size", "16", "--no_refine")

    def call(*arguments, ray=True):
        workers = ("--ray", cluster, "--ray_workers", "2") if ray else ()
        return main([str(each) for each in (*arguments, *settings, *workers)])

    return call


def save(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    return path


def masks(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.mask.png")}


def inodes(folder):
    """What is new where a mask was written anew."""
    return {name: (folder / name).stat().st_ino for name in masks(folder)}


def reported(out):
    """The rows by path, none of which is there twice."""
    rows = pq.read_table(out / "report.parquet").to_pylist()
    by_path = {row["path"]: row for row in rows}
    assert len(by_path) == len(rows)
    return by_path


def test_a_run_is_stopped_and_resumed_while_photos_change_and_workers_are_killed(sgdbd, web, owner, tmp_path, capsys):
    photos, out, (url, before) = tmp_path / "photos", tmp_path / "out", web
    for seed, name in enumerate(("a.bmp", "a.png", "changed.png", "deep/a.png", "gone.png")):
        save(photos / name, seed)
    (photos / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    names = [f"{number}.png" for number in range(8)]
    urls = [f"{url}/web/{save(tmp_path / 'web' / name, 10 + seed).name}" for seed, name in enumerate(names)]
    command = (photos, *urls, "--recursive", "--overlay", "--out", out)

    def stop(name, port):
        until = time.monotonic() + 100
        while len(masks(out)) < 5 and time.monotonic() < until:
            time.sleep(0.01)
        if not stopped:
            stopped.append(name)
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1.5)  # for the workers to be told
        return True

    stopped: list = []
    before["GET"] = stop
    assert sgdbd(*command) == 128 + signal.SIGTERM
    rows, first = reported(out), inodes(out)
    done = sum(row["status"] == "done" for row in rows.values())
    assert 5 < done == len(first) < 12
    assert capsys.readouterr().out == f"{done} masks and report.parquet in {out}; 1 failed; {13 - done} left\n"
    assert rows[f"{photos}/a.jpg"]["error"].startswith("cannot be decoded")
    assert [rows[f"{photos}/{name}"]["name"] for name in ("a.bmp", "a.jpg", "a.png")] == ["a", "a-2", "a-3"]
    assert rows[f"{photos}/deep/a.png"]["files"] == [
        (ending, (out / f"deep/a{ending}").stat().st_size) for ending in (".mask.png", ".overlay.png")
    ]

    save(photos / "changed.png", 6)
    (out / "gone.overlay.png").unlink()
    save(photos / "a.jpg", 7)
    save(photos / "new.png", 8)
    killed = []

    def kill(name, port):
        if name != "7.png":
            return True
        killed.append(name)
        os.kill(owner(port), signal.SIGKILL)
        return False

    before["GET"] = kill
    assert sgdbd(*command, "--resume") == 1
    said = capsys.readouterr()
    assert said.out == f"14 masks and report.parquet in {out}; {done - 2} done before; 1 failed\n"
    assert len(killed) == 3
    assert f"error: {urls[7]}: 3 workers died on it" in said.err
    rows, second = reported(out), inodes(out)
    assert {path for path, row in rows.items() if row["status"] != "done"} == {urls[7]} and len(rows) == 15
    same = {name for name in first if second[name] == first[name]}
    assert first.keys() - same == {"changed.mask.png", "gone.mask.png"}
    assert (out / "gone.overlay.png").exists()

    parts = sorted((out / "report.parquet").iterdir())
    assert sgdbd(*(each for each in command if each != urls[7]), "--resume") == 0  # without workers
    assert capsys.readouterr().out == f"14 masks and report.parquet in {out}; 14 done before\n"
    assert sorted((out / "report.parquet").iterdir()) == parts

    assert sgdbd(photos, tmp_path / "web", "--recursive", "--out", tmp_path / "plain", ray=False) == 0
    expected = masks(tmp_path / "plain")
    assert len(set(expected.values())) == 15
    del expected["7.mask.png"]
    assert masks(out) == expected
