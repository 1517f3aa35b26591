"""The released networks, written down here in plain PyTorch, and their conversions: the same masks and logits."""

import csv
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import convert_release
from sgdbd_jax.config import DiscriminatorConfig, GeneratorConfig
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import from_dict
from sgdbd_jax.models.discriminator import Discriminator
from sgdbd_jax.models.generator import Generator
from sgdbd_jax.porting.release import convert_discriminator, convert_generator
from sgdbd_jax.weights import load_weights

GOLDEN = Path(__file__).parents[1] / "golden"
DEAD = ("base2.conv3_1_2", "base2.conv4_2_2", "base2.conv5_3_2", "conv_fff_", "conv_out_base_3.bn")
PHOTO_SIZES = [(32, 48), (64, 64)]


def shapes(network):
    """Key -> shape of a released state dict."""
    with open(GOLDEN / f"released_{network}_state_dict.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {r["key"]: () if r["shape"] == "scalar" else tuple(map(int, r["shape"].split("x"))) for r in rows}


def blank_state(network):
    """A state dict of the right names and shapes that takes no memory."""
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes(network).items()}


def random_state(network):
    """Weights and running statistics that keep activations O(1); NaN in every tensor that nothing may read."""
    import torch

    rng, state = np.random.default_rng(0), {}
    for key, shape in shapes(network).items():
        if key.endswith("num_batches_tracked"):
            value = torch.tensor(7)
        elif any(name in key for name in DEAD):
            value = torch.full((1,), float("nan")).expand(shape)
        elif len(shape) == 4:
            kernel = rng.standard_normal(shape, np.float32) * np.sqrt(2 / np.prod(shape[1:]))
            value = torch.from_numpy(kernel.astype(np.float32))
        elif key.endswith("running_var") or (key.endswith("weight") and len(shape) == 1):
            value = torch.from_numpy(rng.uniform(0.6, 1.4, shape).astype(np.float32))
        else:
            value = torch.from_numpy(rng.normal(0, 0.2, shape).astype(np.float32))
        state[key] = value
    return state


def to_torch(photo):
    """A photo `[H, W, 3]` in [0, 1] as the release feeds it: `[1, 3, H, W]` in [-1, 1]."""
    import torch

    return torch.from_numpy((photo - 0.5) / 0.5).permute(2, 0, 1)[None]


def released_generator(state, photo):
    """The release's mask `[H, W]`, from its state dict."""
    import torch
    from torch.nn import functional

    def block(x, name):
        kernel = state[f"resnet_DE.{name}.conv.weight"]
        x = functional.conv2d(x, kernel, state[f"resnet_DE.{name}.conv.bias"], padding=kernel.shape[-1] // 2)
        if name == "base2.conv_out_base_3":
            return x
        norm = {n: state[f"resnet_DE.{name}.bn.{n}"] for n in ("running_mean", "running_var", "weight", "bias")}
        return torch.relu(functional.batch_norm(x, **norm, training=False, eps=1e-5))

    def doubled(x):
        return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)

    x, skips = to_torch(photo), []
    for number, layers in enumerate((2, 2, 3, 3, 3), start=1):
        if number > 1:
            x = functional.max_pool2d(x, 2)
        for layer in range(1, layers + 1):
            x = block(x, f"base1.conv{number}_{layer}_2")
        skips.append(x)
    for names, skip in (("12", skips[3]), ("34", skips[2]), ("567", skips[1])):
        x = torch.cat([doubled(x), skip], dim=1)
        for number in names:
            x = block(x, f"base2.conv{number}_2")
    x = doubled(x)
    for number in "123":
        x = block(x, f"base2.conv_out_base_{number}")
    return torch.sigmoid(x)[0, 0].numpy()


def released_discriminator(state, photo):
    """The release's probability that a photo is real, from its state dict."""
    import torch
    from torch import nn

    features, layers = 3, []
    for index, (outputs, stride) in enumerate([(64, 1), (64, 2), (128, 1), (128, 2), (256, 1), (512, 1), (512, 2)]):
        layers.append(nn.Conv2d(features, outputs, 3, stride=stride, padding=1))
        layers += [nn.BatchNorm2d(outputs)] if index > 0 else []
        layers.append(nn.LeakyReLU(0.2))
        features = outputs
    layers += [nn.AdaptiveAvgPool2d(1), nn.Conv2d(512, 1024, 1), nn.LeakyReLU(0.2), nn.Conv2d(1024, 1, 1)]
    net = nn.Sequential(*layers).eval()
    net.load_state_dict({key.removeprefix("net."): value for key, value in state.items()})
    with torch.no_grad():
        return torch.sigmoid(net(to_torch(photo))).item()


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Both networks, saved by PyTorch and converted by the command: `kind -> (state, variables, metadata)`."""
    torch = pytest.importorskip("torch")
    folder, results = tmp_path_factory.mktemp("release"), {}
    for kind in ("generator", "discriminator"):
        state = random_state(kind)
        torch.save(state, folder / f"{kind}.pth")
        out = folder / f"{kind}.safetensors"
        assert convert_release.main([f"--{kind}", str(folder / f"{kind}.pth"), "--out", str(out)]) == 0
        results[kind] = (state, *load_weights(out, kind=kind))
    return results


def photo_of(size):
    return np.random.default_rng(size[1]).random((*size, 3), np.float32)


@pytest.mark.parametrize("size", PHOTO_SIZES)
def test_a_converted_generator_gives_the_releases_mask(converted, size):
    state, variables, metadata = converted["generator"]
    network = Generator(from_dict(GeneratorConfig, metadata["config"]))
    logits = jax.jit(lambda v, x: network.apply(v, x, train=False))(variables, photo_of(size)[None])
    mask = np.asarray(jax.nn.sigmoid(logits[0, ..., 0]))
    expected = released_generator(state, photo_of(size))
    assert expected.std() > 0.05  # a flat mask would agree with anything
    np.testing.assert_allclose(mask, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", PHOTO_SIZES)
def test_a_converted_discriminator_gives_the_releases_probability(converted, size):
    state, variables, metadata = converted["discriminator"]
    network = Discriminator(from_dict(DiscriminatorConfig, metadata["config"]))
    logit = jax.jit(lambda v, x: network.apply(v, x, train=False))(variables, photo_of(size)[None])
    expected = released_discriminator(state, photo_of(size))
    assert 0.01 < expected < 0.99
    np.testing.assert_allclose(jax.nn.sigmoid(logit), [expected], atol=1e-4)


def test_the_live_parameters_are_counted():
    """The discriminator's number is the paper's release's; the generator's is 15.88 million."""

    def count(variables):
        return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))

    assert count(convert_discriminator(blank_state("discriminator"))) == 4_624_833
    assert round(count(convert_generator(blank_state("generator"))) / 1e6, 2) == 15.88


@pytest.mark.parametrize(
    ("kind", "surprise"),
    [
        ("generator", "resnet_DE.base2.conv8_2.conv.weight"),
        ("generator", "resnet_DE.base1.conv5_4_2.bn.running_mean"),
        ("generator", "resnet_DE.base2.conv_fff_5_1.conv.bias"),
        ("generator", "module.resnet_DE.base1.conv1_1_2.conv.bias"),
        ("discriminator", "net.20.weight"),
        ("discriminator", "net.1.running_mean"),
    ],
)
def test_a_name_that_the_release_does_not_have_is_refused(kind, surprise):
    convert = {"generator": convert_generator, "discriminator": convert_discriminator}[kind]
    with pytest.raises(UserError, match=f"released.pth: .*not expected: {surprise}"):
        convert(blank_state(kind) | {surprise: np.zeros(64, np.float32)}, where="released.pth")


@pytest.mark.parametrize(
    ("kind", "missing", "ours"),
    [
        ("generator", "resnet_DE.base2.conv7_2.bn.running_var", "batch_stats/block3_conv3_norm/var"),
        ("generator", "resnet_DE.base2.conv_out_base_3.conv.bias", "params/head/bias"),
        ("discriminator", "net.23.weight", "params/logit/kernel"),
    ],
)
def test_a_missing_layer_is_refused(kind, missing, ours):
    convert = {"generator": convert_generator, "discriminator": convert_discriminator}[kind]
    state = blank_state(kind)
    del state[missing]
    with pytest.raises(UserError, match=f"missing: {ours}"):
        convert(state)


@pytest.mark.parametrize("shape", [(1024, 256, 1, 1), (1024, 512, 3, 3), (1024, 512)])
def test_a_layer_of_another_shape_is_refused(shape):
    """Also a pooled pixel's convolution that is larger than the pixel."""
    state = blank_state("discriminator") | {"net.21.weight": np.zeros(shape, np.float32)}
    with pytest.raises(UserError, match="of another shape: params/hidden/kernel"):
        convert_discriminator(state)


def test_one_network_given_for_the_other_costs_one_line_and_no_earlier_output(converted, tmp_path):
    import torch

    torch.save(converted["discriminator"][0], tmp_path / "disc.pth")
    (tmp_path / "out.safetensors").write_bytes(b"earlier work")
    arguments = ["--generator", tmp_path / "disc.pth", "--out", tmp_path / "out.safetensors"]
    command = [sys.executable, "-m", "experiments.convert_release", *arguments]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"error: {tmp_path / 'disc.pth'}: weights of another architecture (missing: ")
    assert ended.stderr.count("\n") == 1
    assert (tmp_path / "out.safetensors").read_bytes() == b"earlier work"
