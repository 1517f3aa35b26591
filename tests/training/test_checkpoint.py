"""Checkpoints: whole or not there, the newest and the best kept, and a work folder bound to one config."""

import contextlib
import errno
import os
import resource
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sgdbd_jax.errors import UserError
from sgdbd_jax.training.checkpoint import Checkpoints
from sgdbd_jax.training.state import FitState, NetState


def make_state(seed=0, size=3):
    """A network's state with Adam's, of values that no rounding would keep."""
    rng = np.random.default_rng(seed)
    params = {
        "conv": {"kernel": jnp.asarray(rng.normal(size=(size, 2)), jnp.float32), "bias": jnp.float32([-0.0, 1e-45])},
        "head": jnp.asarray(rng.normal(size=2), jnp.float32),
    }
    moments = [jax.tree.map(lambda leaf, factor=factor: leaf * factor, params) for factor in (jnp.pi, 1 / 3)]
    scale = optax.ScaleByAdamState(jnp.asarray(2**31 - 1, jnp.int32), *moments)
    return FitState(jnp.asarray(7, jnp.int32), NetState(params, {}, (scale, optax.EmptyState())))


def assert_same_bits(one, other):
    chex.assert_trees_all_equal_structs(one, other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert (a.dtype, a.shape, np.asarray(a).tobytes()) == (b.dtype, b.shape, np.asarray(b).tobytes())


@contextlib.contextmanager
def opened(folder, keep=2):
    checkpoints = Checkpoints(folder, keep=keep)
    try:
        yield checkpoints
    finally:
        checkpoints.close()


def saved(folder, steps, **options):
    """A folder with a checkpoint of `make_state(step)` for each step, and its score if it has one."""
    with opened(folder, **options) as checkpoints:
        for step, score in steps.items():
            checkpoints.save(step, make_state(step), None if score is None else {"f_measure": score, "mae": 0.1})
    return folder


def kept(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def test_a_fresh_folder_has_neither_a_latest_nor_a_best(tmp_path):
    with opened(tmp_path / "new" / "game") as checkpoints:
        assert (checkpoints.latest(), checkpoints.best()) == (None, None)


def test_a_restored_state_is_the_saved_one_bit_by_bit(tmp_path):
    with opened(saved(tmp_path, {3: None})) as checkpoints:
        assert_same_bits(checkpoints.restore(3, make_state(99)), make_state(3))


def test_batch_statistics_come_back_too(tmp_path):
    state = make_state()
    state = state.replace(net=state.net.replace(batch_stats={"conv": {"mean": jnp.float32([1.5, -2.5])}}))
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, state)
    with opened(tmp_path) as checkpoints:
        assert_same_bits(checkpoints.restore(1, jax.tree.map(jnp.zeros_like, state)), state)


def test_a_restored_state_can_be_donated_without_touching_what_was_saved(tmp_path):
    grow = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + 1, state), donate_argnums=0)
    with opened(saved(tmp_path, {1: None})) as checkpoints:
        grow(checkpoints.restore(1, make_state(1)))
        assert_same_bits(checkpoints.restore(1, make_state(1)), make_state(1))


def test_a_saved_state_may_be_donated_at_once(tmp_path):
    grow = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + 1, state), donate_argnums=0)
    state = make_state(1)
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        grow(state)
        assert_same_bits(checkpoints.restore(1, make_state(1)), make_state(1))


def test_the_newest_few_and_the_best_are_kept(tmp_path):
    saved(tmp_path, {1: 0.5, 2: 0.9, 3: 0.4, 4: None, 5: 0.6})
    assert kept(tmp_path) == [2, 4, 5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "4", "5"]  # and nothing else remains
    with opened(tmp_path) as checkpoints:
        assert (checkpoints.latest(), checkpoints.best()) == (5, 2)
        assert_same_bits(checkpoints.restore(2, make_state()), make_state(2))


def test_the_best_survives_reopening_again_and_again(tmp_path):
    saved(tmp_path, {1: 0.9}, keep=1)
    for step in (2, 3, 4):
        saved(tmp_path, {step: 0.1 * step}, keep=1)
        assert kept(tmp_path) == [1, step]
    saved(tmp_path, {5: 0.95}, keep=1)
    assert kept(tmp_path) == [5]


def test_of_equal_scores_the_newest_is_the_best_however_many_are_kept(tmp_path):
    """So a run that was interrupted, which may have saved more often, ends with the same one."""
    scores = {1: 0.5, 2: 0.5, 3: 0.5, 4: 0.2, 5: None, 6: 0.1}
    for keep in (1, 2, 9):
        with opened(saved(tmp_path / str(keep), scores, keep=keep), keep=keep) as checkpoints:
            assert checkpoints.best() == 3


def test_a_score_of_zero_counts_and_none_does_not(tmp_path):
    with opened(saved(tmp_path, {1: 0.0, 2: None, 3: None, 4: None})) as checkpoints:
        assert checkpoints.best() == 1
    with opened(saved(tmp_path / "none", {1: None, 2: None, 3: None})) as checkpoints:
        assert checkpoints.best() is None
    assert kept(tmp_path / "none") == [2, 3]


def test_checkpoints_without_scores_are_saved_without_a_word(tmp_path, capfd):
    saved(tmp_path, {1: None, 2: None})
    assert capfd.readouterr() == ("", "")


def test_what_a_killed_save_left_is_neither_read_nor_kept(tmp_path):
    """Orbax writes under another name; a kill leaves that folder, half full."""
    saved(tmp_path, {1: None, 2: 0.5})
    half = shutil.copytree(tmp_path / "2", tmp_path / "3.orbax-checkpoint-tmp")
    (half / "default" / "manifest.ocdbt").unlink()
    with opened(tmp_path) as checkpoints:
        assert (checkpoints.latest(), checkpoints.best()) == (2, 2)
        checkpoints.save(3, make_state(3))
        assert_same_bits(checkpoints.restore(3, make_state()), make_state(3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]


def test_what_a_killed_removal_left_is_neither_read_nor_kept(tmp_path):
    saved(tmp_path, {1: None, 2: None, 3: None})
    half = shutil.copytree(tmp_path / "2", tmp_path / "removed" / "1")
    (half / "default" / "manifest.ocdbt").unlink()
    with opened(tmp_path) as checkpoints:
        assert checkpoints.latest() == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]


def test_a_run_killed_before_it_wrote_the_checksums_goes_on(tmp_path):
    saved(tmp_path, {1: 0.5})
    (tmp_path / "1" / "checksums.json").unlink()
    with opened(tmp_path) as checkpoints:
        assert checkpoints.best() == 1
        assert_same_bits(checkpoints.restore(1, make_state()), make_state(1))


def damage(path, how):
    data = path.read_bytes()
    if how == "deleted":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("how", ["deleted", "cut", "altered"])
def test_a_checkpoint_with_any_file_damaged_is_refused_with_the_remedy(tmp_path, capfd, how):
    whole = saved(tmp_path / "whole", {4: 0.5, 6: 0.4})
    files = [path.relative_to(whole) for path in (whole / "6").rglob("*") if path.is_file()]
    files = [path for path in files if path.name != "checksums.json"]
    assert len(files) > 5
    for file in files:
        copy = shutil.copytree(whole, tmp_path / "copy")
        damage(copy / file, how)
        with pytest.raises(UserError) as error, opened(copy) as checkpoints:
            checkpoints.restore(checkpoints.latest(), make_state())
        assert str(error.value).startswith(f"{copy / '6'}: the checkpoint cannot be read, perhaps truncated (")
        assert str(error.value).endswith("remove that folder to continue from the one before")
        shutil.rmtree(copy / "6")  # as told
        with opened(copy) as checkpoints:
            assert_same_bits(checkpoints.restore(checkpoints.latest(), make_state()), make_state(4))
        shutil.rmtree(copy)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("how", ["cut", "altered"])
def test_damaged_checksums_are_refused_too(tmp_path, how):
    saved(tmp_path, {4: 0.5})
    damage(tmp_path / "4" / "checksums.json", how)
    with pytest.raises(UserError, match=f"{tmp_path / '4'}: the checkpoint cannot be read"):
        Checkpoints(tmp_path, keep=2)


def test_scores_that_are_no_json_are_refused_without_checksums_too(tmp_path):
    saved(tmp_path, {4: 0.5})
    (tmp_path / "4" / "checksums.json").unlink()
    (tmp_path / "4" / "metrics" / "metrics").write_text("")
    with pytest.raises(UserError, match=f"{tmp_path}: a checkpoint cannot be read"):
        Checkpoints(tmp_path, keep=2)


def test_a_checkpoint_of_another_structure_or_shape_is_refused(tmp_path):
    saved(tmp_path, {4: None})
    other = make_state()
    fewer = other.replace(net=other.net.replace(params={"conv": other.net.params["conv"]}))
    with opened(tmp_path) as checkpoints:
        for like in (make_state(size=4), make_state(size=2), fewer):
            with pytest.raises(UserError, match=f"{tmp_path / '4'}: the checkpoint cannot be read"):
                checkpoints.restore(4, like)


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/game: cannot keep checkpoints here \(Not a directory\)"):
        Checkpoints(tmp_path / "file" / "game", keep=2)


def assert_goes_on_after(folder, error):
    """The checkpoint before is what it was, nothing says that there is a later one, and there is room for it."""
    assert str(error.value).startswith(f"{folder / '2'}: the checkpoint cannot be saved (")
    assert "free some space and run the same command again" in str(error.value)
    with opened(folder) as checkpoints:
        assert checkpoints.latest() == 1
        assert_same_bits(checkpoints.restore(1, make_state()), make_state(1))
        checkpoints.save(2, make_state(2))
        assert_same_bits(checkpoints.restore(2, make_state()), make_state(2))


def test_a_disk_without_room_is_found_before_anything_is_written(tmp_path, monkeypatch, capfd):
    saved(tmp_path, {1: 0.5})
    with opened(tmp_path) as checkpoints, monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 99))
        with pytest.raises(UserError, match=r"it needs 0\.0 MB, and 0\.0 MB are free") as error:
            checkpoints.save(2, make_state(2))
    assert kept(tmp_path) == [1]
    assert capfd.readouterr() == ("", "")
    assert_goes_on_after(tmp_path, error)


def test_a_disk_that_fills_while_a_checkpoint_is_written_costs_none_of_the_others(tmp_path, monkeypatch):
    saved(tmp_path, {1: 0.5})
    with opened(tmp_path) as checkpoints:

        def full(*_, **__):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(checkpoints._manager, "save", full)
        with pytest.raises(UserError, match="No space left on device") as error:
            checkpoints.save(2, make_state(2))
    assert_goes_on_after(tmp_path, error)


def test_a_write_that_the_system_refuses_costs_none_of_the_others(tmp_path):
    """For once really: no file may hold a byte. Python ignores the signal and gets the error."""
    saved(tmp_path, {1: 0.5})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(tmp_path) as checkpoints:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            with pytest.raises(UserError, match="File too large") as error:
                checkpoints.save(2, make_state(2))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_goes_on_after(tmp_path, error)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="only Linux tells which files are open")
def test_where_too_few_files_can_be_opened_nothing_begins_and_nothing_is_lost(tmp_path):
    """Orbax's threads would print tracebacks, and what cannot be opened would be called damaged."""
    saved(tmp_path, {1: 0.5})

    def all_refuse(*calls):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken = {int(name) for name in os.listdir("/proc/self/fd")}
        eighth = [number for number in range(len(taken) + 8) if number not in taken][7]
        resource.setrlimit(resource.RLIMIT_NOFILE, (eighth + 1, hard))
        try:
            for call in calls:
                with pytest.raises(UserError, match=r"open files at once \(Too many open files\); raise the limit"):
                    call()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    with opened(tmp_path) as checkpoints:
        all_refuse(
            lambda: checkpoints.save(2, make_state(2)),
            lambda: checkpoints.restore(1, make_state(9)),
            lambda: Checkpoints(tmp_path, keep=2),
        )
        assert_same_bits(checkpoints.restore(1, make_state(9)), make_state(1))
    assert kept(tmp_path) == [1]
