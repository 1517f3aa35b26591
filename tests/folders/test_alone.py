"""One run in a folder: who is kept out, and who is not."""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sgdbd_jax.errors import UserError
from sgdbd_jax.folders.alone import alone

fcntl = pytest.importorskip("fcntl")
ROOT = Path(__file__).parents[2]


def other(folder: Path) -> subprocess.Popen:
    """A process that is in the folder until it is killed."""
    script = f"""
import time
from pathlib import Path
from sgdbd_jax.folders.alone import alone
with alone(Path({str(folder)!r}), say=print):
    print("in", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "in\n"
    return process


def test_another_process_keeps_us_out_until_it_is_killed(tmp_path):
    """With all that it leaves lying about."""
    with other(tmp_path / "out") as process:
        for _ in range(2):
            with (
                pytest.raises(UserError, match="out: another run is writing"),
                alone(tmp_path / "out", say=pytest.fail),
            ):
                pytest.fail("let in")
        process.send_signal(signal.SIGKILL)
    with alone(tmp_path / "out", say=pytest.fail):
        assert os.listdir(tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []
    with alone(tmp_path / "out", say=pytest.fail):
        pass


def test_other_folders_are_free(tmp_path):
    with alone(tmp_path / "a", say=pytest.fail), alone(tmp_path / "b", say=pytest.fail):
        pass


def test_an_error_frees_the_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), alone(tmp_path, say=pytest.fail):
        _ = 1 / 0
    with alone(tmp_path, say=pytest.fail):
        pass


def test_a_lock_that_its_owner_removes_meanwhile_is_none(tmp_path, monkeypatch):
    """Who opened it before would hold a file that nobody else finds."""
    flock, taken = fcntl.flock, []

    def late(descriptor, operation):
        if not taken:
            taken.append(descriptor)
            (tmp_path / ".sgdbd.lock").unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with alone(tmp_path, say=pytest.fail):
        assert (tmp_path / ".sgdbd.lock").exists()
        with pytest.raises(UserError, match="another run"), alone(tmp_path, say=pytest.fail):
            pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF])
def test_where_there_are_no_locks_the_run_goes_on_and_says_so(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    lines, before = [], len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else None
    with alone(tmp_path, say=lines.append):
        pass
    assert lines == [
        f"warning: {tmp_path}: cannot be locked ({os.strerror(number)}); start no other run into it meanwhile"
    ]
    assert before is None or len(os.listdir("/proc/self/fd")) == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: cannot be written"), alone(tmp_path / "file", say=pytest.fail):
        pass

    def refuse(path, *_):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)
    with (
        pytest.raises(UserError, match=r"out: cannot be written \(Permission denied\)"),
        alone(tmp_path / "out", say=pytest.fail),
    ):
        pass


def test_a_lock_that_another_user_left_is_no_obstacle(tmp_path, monkeypatch):
    (tmp_path / ".sgdbd.lock").touch()
    opening = os.open

    def refuse(path, flags, *rest):
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opening(path, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)
    with alone(tmp_path, say=pytest.fail):
        pass


@pytest.mark.parametrize("removed", [False, True])
def test_a_run_whose_folder_is_another_leaves_the_lock_of_the_next(tmp_path, removed):
    """Or a third would get in beside it."""
    out = tmp_path / "out"
    with contextlib.ExitStack() as first:
        first.enter_context(alone(out, say=pytest.fail))
        if removed:
            shutil.rmtree(out)
        else:
            out.rename(tmp_path / "moved")
        with alone(out, say=pytest.fail):
            first.close()
            with pytest.raises(UserError, match="another run"), alone(out, say=pytest.fail):
                pytest.fail("let in")
    assert os.listdir(out) == []
