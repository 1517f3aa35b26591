"""VGG16 of other programs: every format, what each source's first layer expects, and what is refused."""

import functools
import hashlib
import http.server
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from experiments import port_vgg16
from sgdbd_jax.config import InputNorm
from sgdbd_jax.errors import UserError
from sgdbd_jax.models.layers import normalise
from sgdbd_jax.models.vgg16 import VGG16
from sgdbd_jax.porting import formats, vgg16
from sgdbd_jax.porting.vgg16 import load_vgg16, read_vgg16, save_vgg16
from sgdbd_jax.weights import load_weights

GOLDEN = Path(__file__).parents[1] / "golden"
SHARED = os.environ.get("SGDBD_SHARED_DATA")
CHANNELS = {"1_1": 64, "1_2": 64, "2_1": 128, "2_2": 128, "3_1": 256, "3_2": 256, "3_3": 256}
CHANNELS |= {f"{block}_{number}": 512 for block in (4, 5) for number in (1, 2, 3)}
PARTS = ("kernel", "bias")
TORCHVISION_INDEX = dict(zip(CHANNELS, (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), strict=True))


@pytest.fixture(scope="module")
def source():
    """A random VGG16 in some program's own channel order: `{"1_1": (kernel HWIO, bias)}`, float16, activations O(1)."""
    rng, inputs, layers = np.random.default_rng(0), 3, {}
    for name, outputs in CHANNELS.items():
        kernel = rng.standard_normal((3, 3, inputs, outputs), np.float32) * np.sqrt(2 / (9 * inputs))
        layers[name] = (kernel.astype(np.float16), rng.normal(0, 0.1, outputs).astype(np.float16))
        inputs = outputs
    return layers


def flat(source):
    """The names of NumPy and safetensors files."""
    return {f"conv{n}/{part}": value for n, pair in source.items() for part, value in zip(PARTS, pair, strict=True)}


def write_npz(path, source):
    np.savez(path, **flat(source))


def write_safetensors(path, source):
    save_file(flat(source), path)


def write_pth(path, source, *, modern=True):
    torch = pytest.importorskip("torch")
    state = {"classifier.0.weight": torch.zeros(4096, 1), "classifier.6.bias": torch.zeros(1000)}
    for name, (kernel, bias) in source.items():
        state[f"features.{TORCHVISION_INDEX[name]}.weight"] = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
        state[f"features.{TORCHVISION_INDEX[name]}.bias"] = torch.from_numpy(bias)
    torch.save(state, path, _use_new_zipfile_serialization=modern)


def write_keras(path, source, *, names):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for pool in ("input_1", "block1_pool", "block5_pool"):
            file.create_group(pool)
        file["predictions/predictions/kernel:0"] = np.zeros((4, 4))  # of a file "with top"
        for name, (kernel, bias) in source.items():
            layer = "block{}_conv{}".format(*name.split("_"))
            for key, value in zip(names, (kernel, bias), strict=True):
                file[f"{layer}/{layer}{key}"] = value


write_keras_old = functools.partial(write_keras, names=("_W_1:0", "_b_1:0"))
write_keras_new = functools.partial(write_keras, names=("/kernel:0", "/bias:0"))
FORMATS = {
    "torchvision.pth": write_pth,
    "of_2017.pth": functools.partial(write_pth, modern=False),  # as the published file still is
    "keras_old.h5": write_keras_old,
    "keras_new.h5": write_keras_new,
    "ours.npz": write_npz,
    "foreign.safetensors": write_safetensors,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_thirteen_convolutions(name, source, tmp_path):
    FORMATS[name](tmp_path / name, source)
    weights = read_vgg16(tmp_path / name, source_input="torchvision")
    assert set(weights.params) == {f"conv{number}" for number in CHANNELS}
    for number, (kernel, bias) in source.items():
        np.testing.assert_array_equal(weights.params[f"conv{number}"]["kernel"], kernel)
        np.testing.assert_array_equal(weights.params[f"conv{number}"]["bias"], bias)
        assert weights.params[f"conv{number}"]["kernel"].dtype == np.float32


def prepared_by(source_input, rgb):
    """A pixel as each source's own documentation prepares it; RGB, 0 to 255."""
    if source_input == "torchvision":
        return (rgb / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    blue_green_red = [103.939, 116.779, 123.68] if source_input == "keras" else [104.00699, 116.66877, 122.67892]
    return rgb[::-1] - blue_green_red


@pytest.mark.parametrize("source_input", ["torchvision", "keras", "hed"])
def test_a_photo_meets_the_first_layer_as_the_source_prepared_it(source_input, source, tmp_path):
    write_npz(tmp_path / "trunk.npz", source)
    weights = read_vgg16(tmp_path / "trunk.npz", source_input=source_input)
    rgb = np.array([250.0, 100.0, 30.0])
    ours = (rgb / 255 - weights.input.mean) / weights.input.std
    kernel = source["1_1"][0].astype(np.float64)[1, 1]
    expected = prepared_by(source_input, rgb) @ kernel
    np.testing.assert_allclose(ours @ weights.params["conv1_1"]["kernel"][1, 1], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "default"), [("torchvision.pth", "torchvision"), ("keras_old.h5", "keras")])
def test_files_of_torchvision_and_keras_have_their_own_input(name, default, source, tmp_path):
    FORMATS[name](tmp_path / name, source)
    assert read_vgg16(tmp_path / name).input == read_vgg16(tmp_path / name, source_input=default).input


@pytest.mark.parametrize("name", ["ours.npz", "foreign.safetensors"])
def test_files_that_do_not_say_their_input_need_it_told(name, source, tmp_path):
    FORMATS[name](tmp_path / name, source)
    with pytest.raises(UserError, match=r"does not say what input .* --input torchvision\|keras\|hed"):
        read_vgg16(tmp_path / name)


def test_a_written_trunk_keeps_its_numbers_type_input_and_origin(source, tmp_path):
    write_npz(tmp_path / "trunk.npz", source)
    weights = read_vgg16(tmp_path / "trunk.npz", source_input="hed")
    path = save_vgg16(tmp_path / "vgg16.safetensors", weights, source=tmp_path / "trunk.npz")
    params, mean, std = load_vgg16(path)
    jax.tree.map(np.testing.assert_array_equal, params, weights.params)
    assert (mean, std) == (weights.input.mean, weights.input.std)

    tree, metadata = load_weights(path, kind="vgg16")
    assert {value.dtype for value in jax.tree.leaves(tree)} == {np.dtype(np.float16)}
    assert metadata["source"] == "trunk.npz"
    assert metadata["sha256"] == hashlib.sha256((tmp_path / "trunk.npz").read_bytes()).hexdigest()

    again = read_vgg16(path)  # a file of ours is a source too
    assert (again.input, again.half) == (weights.input, True)
    jax.tree.map(np.testing.assert_array_equal, again.params, weights.params)
    with pytest.raises(UserError, match="says its own input; leave --input out"):
        read_vgg16(path, source_input="hed")


def test_float32_sources_are_written_as_float32(source, tmp_path):
    first = source["1_1"][0].astype(np.float32)
    write_npz(tmp_path / "trunk.npz", source | {"1_1": (first, source["1_1"][1])})
    weights = read_vgg16(tmp_path / "trunk.npz", source_input="torchvision")
    path = save_vgg16(tmp_path / "vgg16.safetensors", weights, source=tmp_path / "trunk.npz")
    tree, _ = load_weights(path)
    assert {value.dtype for value in jax.tree.leaves(tree)} == {np.dtype(np.float32)}


def test_missing_extra_and_misshapen_layers_are_all_named(tmp_path):
    cheap = {name: (np.zeros(1, np.float16), np.zeros(outputs, np.float16)) for name, outputs in CHANNELS.items()}
    del cheap["3_3"]
    write_npz(tmp_path / "trunk.npz", cheap | {"6_1": (np.zeros(1), np.zeros(1))})
    with pytest.raises(UserError) as refusal:
        read_vgg16(tmp_path / "trunk.npz", source_input="hed")
    for told in (
        "trunk.npz: weights of another architecture",
        "missing: conv3_3/bias, conv3_3/kernel",
        "not expected: conv6_1/bias, conv6_1/kernel",
        "conv1_1/kernel (1,) instead of (3, 3, 3, 64)",
    ):
        assert told in str(refusal.value)


def test_a_surprise_in_torchvisions_file_is_named(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"features.1.weight": torch.zeros(64)}, tmp_path / "vgg16_bn.pth")  # with BatchNorm: not ours
    with pytest.raises(UserError, match=r"not expected: features\.1\.weight"):
        read_vgg16(tmp_path / "vgg16_bn.pth")


def test_a_surprise_in_keras_file_is_named(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "vgg19.h5", "w") as file:
        file["block3_conv4/block3_conv4_W_1:0"] = np.zeros(1)
    with pytest.raises(UserError, match=r"not expected: block3_conv4/block3_conv4_W_1:0"):
        read_vgg16(tmp_path / "vgg19.h5")


def test_a_layer_given_in_both_layouts_of_keras_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "both.h5", "w") as file:
        file["block1_conv1/block1_conv1/bias:0"] = file["block1_conv1/block1_conv1_b_1:0"] = np.zeros(64)
    with pytest.raises(UserError, match="conv1_1/bias is there twice"):
        read_vgg16(tmp_path / "both.h5")


class Touch:
    """A pickle that makes a file when it is loaded: the harmless sister of a malicious one."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"features.0.weight": Touch(tmp_path / "ran")}, tmp_path / "modern.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"features.0.weight": Touch(tmp_path / "ran")}, protocol=2))
    for name in ("modern.pth", "plain.pth"):
        with pytest.raises(UserError, match=f"{name}: refused, nothing of it was run"):
            read_vgg16(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_numpy_archives_with_python_objects_are_refused_and_not_run(tmp_path):
    np.savez(tmp_path / "trunk.npz", **{"conv1_1/kernel": np.array([Touch(tmp_path / "ran")], dtype=object)})
    with pytest.raises(UserError, match=r"trunk\.npz: not a readable NumPy archive without Python objects"):
        read_vgg16(tmp_path / "trunk.npz", source_input="hed")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}, {0: 1}])
def test_a_torch_file_that_is_no_state_dict_is_refused(content, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other.pth: holds no state dict"):
        formats.read_torch(tmp_path / "other.pth")


@pytest.mark.parametrize("suffix", [".pth", ".h5", ".npz", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"\x80\x02 not what the name says " * 40])
def test_damaged_files_are_named(suffix, content, tmp_path):
    pytest.importorskip({".pth": "torch", ".h5": "h5py"}.get(suffix, "numpy"))
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"damaged{suffix}: (not a readable|refused, nothing of it was run)"):
        read_vgg16(path, source_input="torchvision")


@pytest.mark.parametrize("name", FORMATS)
def test_truncated_files_are_named(name, source, tmp_path):
    small = {number: (kernel[..., :1, :1], bias[:1]) for number, (kernel, bias) in source.items()}
    FORMATS[name](tmp_path / name, {number: tuple(map(np.ascontiguousarray, pair)) for number, pair in small.items()})
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=f"{name}: (not a readable|refused, nothing of it was run)"):
        read_vgg16(tmp_path / name, source_input="torchvision")


@pytest.mark.parametrize(("name", "library"), [("vgg16.pth", "torch"), ("vgg16.h5", "h5py")])
def test_without_the_library_that_reads_a_file_the_remedy_is_told(name, library, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=f"reading .*{name} needs {library}, .*: pip install {library}$"):
        read_vgg16(tmp_path / name)


def test_no_file_and_no_known_kind_are_told(tmp_path):
    with pytest.raises(UserError, match=r"gone\.npz: no such weight file"):
        read_vgg16(tmp_path / "gone.npz", source_input="hed")
    with pytest.raises(UserError, match=r"torchvison: not 'torchvision', 'keras', nor a \.pth"):
        read_vgg16("torchvison")


def activations(params, input_norm, photo):
    """Every layer's output after its ReLU, for one photo `[H, W, 3]` uint8."""

    @jax.jit
    def forward(params, photo):
        return VGG16().apply({"params": params}, normalise(photo[None] / 255.0, input_norm), train=False)

    return forward(params, jnp.asarray(photo, jnp.float32))


def test_every_layer_agrees_with_pytorch(source, tmp_path):
    """torchvision's VGG16 features, written down here, on a photo prepared as torchvision does."""
    torch = pytest.importorskip("torch")
    photo = np.random.default_rng(1).integers(0, 256, (32, 48, 3), np.uint8)
    x = torch.tensor((photo / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225])
    x = x.float().permute(2, 0, 1)[None]
    write_pth(tmp_path / "vgg16.pth", source)
    state = torch.load(tmp_path / "vgg16.pth", weights_only=True)
    expected = {}
    for name, index in TORCHVISION_INDEX.items():
        if name in ("2_1", "3_1", "4_1", "5_1"):
            x = torch.nn.functional.max_pool2d(x, 2)
        kernel, bias = state[f"features.{index}.weight"].float(), state[f"features.{index}.bias"].float()
        expected[f"conv{name}"] = x = torch.relu(torch.nn.functional.conv2d(x, kernel, bias, padding=1))

    path = save_vgg16(tmp_path / "vgg16.safetensors", read_vgg16(tmp_path / "vgg16.pth"), source=tmp_path / "vgg16.pth")
    params, mean, std = load_vgg16(path)
    found = activations(params, InputNorm(mean, std), photo)
    assert found.keys() == expected.keys()
    for layer, theirs in expected.items():
        theirs = theirs.permute(0, 2, 3, 1).numpy()
        assert theirs.std() > 0.01  # the signal has not died on the way
        np.testing.assert_allclose(found[layer], theirs, atol=1e-4 * np.abs(theirs).max(), rtol=0, err_msg=layer)


@pytest.mark.skipif(not SHARED, reason="needs vgg16/vgg16_hed.npz in the folder that SGDBD_SHARED_DATA names")
def test_stored_features_are_reproduced():
    """Means over pixels of each layer, computed in float64 by another framework."""
    weights = read_vgg16(Path(SHARED) / "vgg16" / "vgg16_hed.npz", source_input="hed")
    with np.load(GOLDEN / "vgg16_features.npz") as golden:
        found = activations(weights.params, weights.input, golden["image"])
        for layer, output in found.items():
            means = np.asarray(output, np.float64).mean(axis=(0, 1, 2))
            np.testing.assert_allclose(means, golden[layer], rtol=1e-4, atol=1e-4 * golden[layer].max(), err_msg=layer)


def test_the_command_downloads_once_and_ports(source, tmp_path, monkeypatch, capsys):
    (tmp_path / "web").mkdir()
    write_keras_old(tmp_path / "web" / "notop.h5", source)
    digest = hashlib.sha256((tmp_path / "web" / "notop.h5").read_bytes()).hexdigest()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "web")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    out = tmp_path / "weights" / "vgg16.safetensors"
    argv = ["--source", "keras", "--out", str(out), "--cache", str(tmp_path / "cache")]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        published = vgg16.Published(f"http://127.0.0.1:{server.server_port}/notop.h5", digest, "h5py")
        monkeypatch.setitem(vgg16.PUBLISHED, "keras", published)
        assert port_vgg16.main(argv) == 0
        server.shutdown()
    assert str(out) in capsys.readouterr().out
    params, mean, _ = load_vgg16(out)
    np.testing.assert_array_equal(params["conv1_1"]["kernel"], source["1_1"][0][:, :, ::-1])
    np.testing.assert_allclose(np.array(mean) * 255, [123.68, 116.779, 103.939])

    out.unlink()
    assert port_vgg16.main(argv) == 0  # the server is gone
    assert out.is_file()


def test_without_network_the_command_says_where_to_put_the_file(tmp_path, monkeypatch):
    pytest.importorskip("h5py")
    monkeypatch.setattr(vgg16, "PUBLISHED", {"keras": vgg16.Published("http://127.0.0.1:9/notop.h5", "0" * 64, "h5py")})
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(UserError, match=f"http://127.0.0.1:9/notop.h5 .* put it at {tmp_path}/notop.h5$"):
        port_vgg16.main(["--source", "keras", "--cache", str(tmp_path), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_nothing_is_downloaded_for_a_library_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="pip install torch"):
        port_vgg16.main(["--source", "torchvision", "--cache", str(tmp_path / "cache")])
    assert not (tmp_path / "cache").exists()


def test_published_weights_take_no_other_input(capsys):
    with pytest.raises(SystemExit) as ended:
        port_vgg16.main(["--source", "keras", "--input", "hed"])
    assert ended.value.code == 2
    assert "--input is for files" in capsys.readouterr().err


def test_a_bad_source_costs_one_line_and_no_earlier_output(tmp_path):
    out = tmp_path / "vgg16.safetensors"
    out.write_bytes(b"earlier work")
    command = [sys.executable, "-m", "experiments.port_vgg16", "--source", "gone.npz", "--input", "hed", "--out", out]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: gone.npz: no such weight file\n"
    assert out.read_bytes() == b"earlier work"
