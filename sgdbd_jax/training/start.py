"""What starts which network where: a VGG16, a network's own file, or random numbers.

Trunks, and discriminators whose config says so, start as the VGG16; `state.init_net` puts it in place. A classifier's
file takes the place of its pretraining, in `pretrain.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from sgdbd_jax.config import Config, InputNorm, PredictionConfig
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.detection.shipped import weight_file
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import flatten, from_dict, replace
from sgdbd_jax.files import file_sha256
from sgdbd_jax.porting.vgg16 import load_vgg16
from sgdbd_jax.training.run import Run
from sgdbd_jax.training.samples import learning
from sgdbd_jax.training.state import NetState, init_net, make_optimiser
from sgdbd_jax.weights import check_finite, load_weights, merge, reading_metadata


def needs_vgg16(config: Config) -> bool:
    """Whether any network of a run starts from the file that `start.vgg16` names."""
    game = config.game
    plays = game.steps and not config.supervised
    in_the_game = plays and (game.bilateral_weight or config.discriminator.init == "vgg16")
    return config.start.vgg16 != "random" and bool(in_the_game or _begins_at_vgg16(config))


def _begins_at_vgg16(config: Config) -> bool:
    """Whether the generator does, if there is a VGG16."""
    return config.generator.network == "vgg16" and not config.start.generator_weights


def load_start(config: Config) -> tuple[Config, Any]:
    """Reads what networks start from.

    Args:
        config: as it was asked for.

    Returns:
        The config, with the input normalisation that comes with the weights; and the VGG16,
        `{layer: {"kernel", "bias"}}`, or `None` where no network starts from one.

    Raises:
        UserError: a file that is missing or not usable, a generator or classifier of another config, or an input
            normalisation asked for by hand that is not the weights'.
    """
    start = config.start
    if start.generator_weights:
        path = weight_file(start.generator_weights)
        _, metadata = load_weights(path, kind="generator")
        with reading_metadata(path):
            norm = from_dict(InputNorm, metadata["config"]["input"])
            _delivered_with(metadata)
        config = _with_input(config, "generator", norm.mean, norm.std, source=str(path))
        load_network(path, "generator", config.generator)
    for teacher in () if config.supervised else config.self_training.teachers:
        Detector.load(weight_file(teacher))  # whatever it refuses
    config, vgg16 = _load_vgg16(config) if needs_vgg16(config) else (config, None)
    if start.classifier_weights and config.game.steps and config.game.bilateral_weight and not config.supervised:
        load_network(start.classifier_weights, "classifier", config.classifier)
    return config, vgg16


def _load_vgg16(config: Config) -> tuple[Config, Any]:
    """The config, with the input normalisation of the VGG16 where a network begins there; and the VGG16."""
    start = config.start
    if not Path(start.vgg16).is_file():
        raise UserError(
            f"{start.vgg16}: no VGG16 weights; `python -m experiments.port_vgg16 --source torchvision` makes them,"
            " --vgg16 FILE names others, --vgg16 random starts without"
        )
    vgg16, mean, std = load_vgg16(start.vgg16)
    networks = ["classifier"]
    networks += ["generator"] if _begins_at_vgg16(config) else []
    networks += ["discriminator"] if config.discriminator.init == "vgg16" else []
    for network in networks:
        config = _with_input(config, network, mean, std, source=start.vgg16)
    return config, vgg16


def load_network(path: str | Path, kind: str, config: Any) -> dict[str, Any]:
    """A network's variables as its file holds them, their shapes not looked at.

    Raises:
        UserError: the file is not that of a network of this kind and config, or a value in it is not finite.
    """
    variables, metadata = load_weights(path, kind=kind)
    check_finite(variables, where=str(path))
    with reading_metadata(path):
        stored = from_dict(type(config), metadata["config"])
    before, now = flatten(stored), flatten(config)
    changed = [f"{name} is {before[name]!r} there, {now[name]!r} here" for name in now if before[name] != now[name]]
    if changed:
        raise UserError(f"{path}: a {kind} of another config than this run's ({'; '.join(changed)})")
    return variables


def read_network(path: Path, kind: str, config: Any, net: NetState) -> dict[str, Any]:
    """A network's variables from its file, on the device.

    Args:
        path: the file.
        kind: "generator" or "classifier".
        config: the network's.
        net: a state of the network, whose shapes the file's must have.

    Raises:
        UserError: the file is not that of such a network.
    """
    expected = {name: tree for name, tree in net.variables.items() if tree}
    loaded = merge(expected, load_network(path, kind, config), where=str(path))
    return jax.tree.map(jnp.asarray, loaded)  # once, not each step


def given_generator(run: Run) -> dict[str, Any] | None:
    """The variables of the generator that the run was told to start from, as they were learned, or `None`.

    Raises:
        UserError: the file is not such a generator's.
    """
    config = run.config
    if not config.start.generator_weights:
        return None
    path = weight_file(config.start.generator_weights)
    key = jax.random.key(0)  # only its shapes are asked for
    net = init_net(run.networks.generator, make_optimiser(config.game.generator_optimiser), key, config.crops.crop)
    delivered = read_network(path, "generator", config.generator, net)
    return {"batch_stats": {}} | learning(_delivered_with(load_weights(path)[1]), delivered)


def _delivered_with(metadata: Mapping[str, Any]) -> PredictionConfig:
    """The gain and middle that a generator's file has in its last layer; files that do not tell have none."""
    told = metadata.get("prediction", {})
    return from_dict(PredictionConfig, {name: told[name] for name in ("gain", "middle") if name in told})


def digests(config: Config) -> dict[str, str]:
    """What tells the weights that a run starts from, by name; files may move, what they hold must stay."""
    start = config.start
    teachers = () if config.supervised else config.self_training.teachers
    files = {"classifier": Path(start.classifier_weights)} if start.classifier_weights else {}
    files |= {"generator": weight_file(start.generator_weights)} if start.generator_weights else {}
    files |= {"teacher" + f" {at}" * (at > 1): weight_file(name) for at, name in enumerate(teachers, start=1)}
    files |= {"vgg16": Path(start.vgg16)} if needs_vgg16(config) else {}
    return {f"given {name}": file_sha256(path)[:12] for name, path in files.items() if path.is_file()}


def _with_input(config: Config, network: str, mean: Any, std: Any, *, source: str) -> Config:
    """The config with a network's input normalisation as `source` asks, unless another was asked for by hand."""
    asked, default = flatten(config), flatten(Config())
    changes = {f"{network}.input.mean": mean, f"{network}.input.std": std}
    for name, value in changes.items():
        if asked[name] not in (value, default[name]):
            raise UserError(f"{name}: {source} asks for {value}, not {asked[name]}; leave the option out")
    return replace(config, changes)
