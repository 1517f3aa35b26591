"""Weight files: what goes in comes out, a whole file or none, and strict merging."""

import errno
import json
import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from sgdbd_jax.errors import UserError
from sgdbd_jax.files import write_atomically
from sgdbd_jax.weights import halve, load_weights, merge, save_weights

TREE = {
    "params": {
        "conv1_1": {
            "kernel": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
            "bias": np.float32([-0.0, np.inf, 1e-45]),
        },
        "head": {"kernel": np.zeros((0, 4), np.float32)},
    },
    "counts": {"step": np.array(7, np.int32), "half": np.float16([0.5]), "bf": np.ones(2, ml_dtypes.bfloat16)},
}
METADATA = {"kind": "generator", "config": {"width": 0.5, "skips": ["conv4_3", ""]}, "step": 12}


@pytest.fixture
def path(tmp_path):
    return save_weights(tmp_path / "new" / "folder" / "g.safetensors", TREE, METADATA)


def flat(tree, prefix=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value


def test_a_file_gives_back_the_tree_bit_by_bit_and_its_metadata(path):
    loaded, metadata = load_weights(path, kind="generator")
    assert metadata == METADATA
    expected = dict(flat(TREE))
    assert dict(flat(loaded)).keys() == expected.keys()
    for name, value in flat(loaded):
        assert (value.dtype, value.shape) == (expected[name].dtype, expected[name].shape)
        assert value.tobytes() == expected[name].tobytes()


def test_arrays_that_lie_transposed_in_memory_are_stored_as_they_read(tmp_path):
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    loaded, _ = load_weights(save_weights(tmp_path / "w", {"a": turned}, {"kind": "x"}))
    np.testing.assert_array_equal(loaded["a"], [[0, 3], [1, 4], [2, 5]])


def test_equal_weights_make_equal_files_whichever_process_writes(path, tmp_path):
    """The library itself orders metadata at random, anew in every process."""
    script = (
        "import sys; from sgdbd_jax.weights import load_weights, save_weights;"
        "tree, metadata = load_weights(sys.argv[1]);"
        "[save_weights(f'{sys.argv[2]}/{i}', tree, dict(reversed(metadata.items()))) for i in range(3)]"
    )
    subprocess.run([sys.executable, "-c", script, path, tmp_path], check=True)
    assert {(tmp_path / str(i)).read_bytes() for i in range(3)} == {path.read_bytes()}


def test_a_file_of_another_kind_is_refused(path):
    with pytest.raises(UserError, match=r"g\.safetensors: holds weights of kind 'generator', 'vgg16' was asked for"):
        load_weights(path, kind="vgg16")


@pytest.mark.parametrize("length", [0, 5, 60, -1])
def test_a_truncated_file_is_refused(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match=r"g\.safetensors: not a readable safetensors file, perhaps truncated"):
        load_weights(path)


@pytest.mark.parametrize(
    ("name", "words"),
    [("params/head", "params/head is both a tensor and what others lie in"), ("params", "params is both a tensor")],
)
def test_a_tensor_in_the_place_of_a_branch_is_refused(tmp_path, name, words):
    file = tmp_path / "g.safetensors"
    tensors = {each: np.ones(2, np.float32) for each in (name, "params/head/bias")}
    save_file(tensors, file, {"format": "sgdbd_jax/1"})
    with pytest.raises(UserError, match=rf"g\.safetensors: {words}"):
        load_weights(file)


def test_numbers_of_a_type_that_numpy_has_not_are_refused(tmp_path):
    entry = {"dtype": "F8_E5M2", "shape": [2], "data_offsets": [0, 2]}
    header = json.dumps({"__metadata__": {"format": "sgdbd_jax/1"}, "a": entry}).encode()
    path = tmp_path / "g.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(2))
    with pytest.raises(UserError, match=r"g\.safetensors: holds numbers of a type that cannot be read .*float8_e5m2"):
        load_weights(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path, words in ((tmp_path / "none", "no such weight file"), (tmp_path, "a folder; name the weight file in it")):
        with pytest.raises(UserError, match=f"{path}: {words}"):
            load_weights(path)


def test_metadata_that_are_no_json_or_too_deep_for_it_are_refused(tmp_path):
    for text in ("{", "[" * 100_000):
        save_file({"a": np.ones(2, np.float32)}, tmp_path / "g.safetensors", {"format": "sgdbd_jax/1", "config": text})
        with pytest.raises(UserError, match=r"g\.safetensors: its metadata cannot be read"):
            load_weights(tmp_path / "g.safetensors")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_safetensors_file_of_another_program_is_refused_with_the_way_to_port_it(tmp_path, metadata):
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "foreign.safetensors", metadata)
    with pytest.raises(UserError, match="of another program; port it with `python -m experiments.port_vgg16`"):
        load_weights(tmp_path / "foreign.safetensors")


def test_a_writing_that_fails_leaves_the_earlier_file_and_nothing_else(path, monkeypatch):
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    for step in ("fsync", "replace"):  # before and after all is written
        with monkeypatch.context() as patch:
            patch.setattr(os, step, full)
            with pytest.raises(UserError, match=r"g\.safetensors: cannot be written \(No space left on device\)"):
                save_weights(path, {"a": np.ones(3, np.float32)}, {"kind": "generator"})
        assert path.read_bytes() == before
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match=r"out/a\.json: cannot be written \("):
        write_atomically(tmp_path / "out" / "a.json", b"{}")


def test_a_written_file_replaces_the_one_before_and_may_be_read_by_all(tmp_path):
    for data in (b"long, long ago", b"now"):
        write_atomically(tmp_path / "a", data)
    assert (tmp_path / "a").read_bytes() == b"now"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_merging_takes_the_loaded_values_as_float32_in_the_networks_own_tree():
    expected = {"params": {"a": np.zeros((2, 1)), "b": np.zeros(3)}}
    merged = merge(expected, {"params": {"b": np.float16([1, 2, 0.5]), "a": np.full((2, 1), 4.0)}}, where="f")
    assert list(merged["params"]) == ["a", "b"]
    np.testing.assert_array_equal(merged["params"]["a"], [[4], [4]])
    np.testing.assert_array_equal(merged["params"]["b"], [1, 2, 0.5])
    assert {value.dtype for _, value in flat(merged)} == {np.dtype(np.float32)}


def test_merging_lists_what_is_missing_what_is_extra_and_what_has_another_shape():
    expected = {"params": {"a": np.zeros(2), "b": np.zeros((3, 1)), "c": np.zeros(1)}}
    loaded = {"params": {"b": np.zeros((1, 3)), "c": np.zeros(1), "d": np.zeros(4)}}
    with pytest.raises(UserError) as error:
        merge(expected, loaded, where="g.safetensors")
    assert str(error.value) == (
        "g.safetensors: weights of another architecture (missing: params/a; not expected: params/d;"
        " of another shape: params/b (1, 3) instead of (3, 1))"
    )


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_, np.complex64])
def test_merging_takes_no_numbers_that_are_no_floats(dtype):
    with pytest.raises(UserError, match=rf"f: .*\(not of floats: params/a {np.dtype(dtype)}\)"):
        merge({"params": {"a": np.zeros(2)}}, {"params": {"a": np.ones(2, dtype)}}, where="f")


def test_merging_names_six_of_many_and_counts_the_rest():
    with pytest.raises(UserError, match="missing: w0, w1, w2, w3, w4, w5 and 4 more"):
        merge({f"w{i}": np.zeros(1) for i in range(10)}, {}, where="f")


def test_halving_rounds_what_fits_and_leaves_what_does_not():
    tree = {"a": {"kernel": np.float32([1 / 3, -2.0, 0.0])}, "variance": np.float32([1.0, 70000.0])}
    halved = halve(tree)
    others = {"count": np.int32([7]), "nothing": np.zeros((0, 3), np.float32), "edge": np.float32([65504.0])}
    assert [leaf.dtype for leaf in halve(others).values()] == [np.int32, np.float16, np.float16]
    assert halve({"a": np.float32([np.nan])})["a"].dtype == np.float32  # is refused where it is loaded
    assert halved["a"]["kernel"].dtype == np.float16 and halved["variance"].dtype == np.float32
    np.testing.assert_allclose(halved["a"]["kernel"], tree["a"]["kernel"], rtol=1 / 2048)
    np.testing.assert_array_equal(halved["variance"], tree["variance"])
