"""The game and the detector in PyTorch: what ours are timed against, and agree with number by number.

Each comes in the two ways of `torch_ways`: as the authors' program works, and as fast as plain PyTorch goes.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmark.sides import check_has_twin
from experiments.benchmark.torch_networks import Classifier, Discriminator, make_generator, to_tree
from experiments.benchmark.torch_ways import Way, backend, judging_for_generator, make_optimiser, ready, to_tensor
from sgdbd_jax.config import Config, GeneratorConfig
from sgdbd_jax.training.state import TrainState

Tree = Any


class TorchGame:
    """The game of `make_game_step`, with its networks, losses and updates.

    BatchNorm's running variances alone differ: PyTorch takes the unbiased variance of a batch, ours is the biased.

    Args:
        config: the run's.
        state: ours before its first step; momenta start at zero.
        classifier_variables: ours; not read without the bilateral loss.
        way: "release" or "best".
        device: PyTorch's name of it.
        compile: whether networks go through `torch.compile`.

    Raises:
        UserError: the config asks for what has no twin here.

    Attributes:
        networks: "generator", "disc_clear" and "disc_blur" as they play, "classifier" if there is a bilateral loss.
        mask: M of the last step, `[B, 1, H, W]`.
    """

    mask: Tensor

    def __init__(
        self,
        config: Config,
        state: TrainState,
        classifier_variables: Mapping[str, Tree],
        *,
        way: Way,
        device: str = "cpu",
        compile: bool = False,
    ) -> None:
        check_has_twin(config)
        self._config, self._way, self._device = config, way, device
        self._judges_once = way == "best" and not compile
        self._discs = [f"disc_{side}" for side in config.game.sides]
        self.networks: dict[str, nn.Module] = {"generator": make_generator(config.generator)}
        self.networks |= {name: Discriminator(config.discriminator) for name in self._discs}
        self._optimisers = {}
        for name, network in self.networks.items():
            ready(network, getattr(state, name).variables, way=way, device=device, compile=compile)
            rule = config.game.generator_optimiser if name == "generator" else config.game.disc_optimiser
            self._optimisers[name] = make_optimiser(network.named_parameters(), rule, way=way)
        if config.game.bilateral_weight:
            classifier = Classifier(config.classifier).eval().requires_grad_(way == "release")
            ready(classifier, classifier_variables, way=way, device=device, compile=compile)
            self.networks["classifier"] = classifier
        if config.game.bilateral_weight and way == "release":
            folder = tempfile.TemporaryDirectory()
            weakref.finalize(self, folder.cleanup)
            self._file = Path(folder.name) / "classifier.pth"
            torch.save(classifier.state_dict(), self._file)

    def step(self, batch: Mapping[str, np.ndarray]) -> dict[str, float]:
        """One round: G's update, then those of D_c and D_b on the composites made before it.

        Args:
            batch: `source`, `clear`, `blur` and, with a second draw, `clear_real`, `blur_real`; each `[B, H, W, 3]`
                uint8; with a weight of pastes, `paste` and `paste_mask`, `[B, H, W, 1]`.

        Returns:
            The losses, by their names in our metrics.
        """
        with backend(self._way):
            losses = self._play({name: to_tensor(x, way=self._way, device=self._device) for name, x in batch.items()})
        return dict(zip(losses, torch.stack(list(losses.values())).tolist()))

    def _play(self, photos: dict[str, Tensor]) -> dict[str, Tensor]:
        game, source, clear, blur = self._config.game, photos["source"], photos["clear"], photos["blur"]
        real = {"disc_clear": photos.get("clear_real", clear), "disc_blur": photos.get("blur_real", blur)}
        shown = torch.cat([source, photos["paste"]]) if game.paste_weight else source
        logits, on_pastes = torch.tensor_split(self.networks["generator"](shown), [len(source)])
        mask = torch.sigmoid(logits)
        composites = {"disc_clear": paste(mask, source, clear), "disc_blur": paste(mask, blur, source)}

        terms, verdicts = {}, {}
        for name in self._discs:
            term, verdicts[name] = self._adversarial(self.networks[name], composites[name])
            terms[name.replace("disc", "adversarial")] = term
        if game.bilateral_weight:
            terms["bilateral"] = game.bilateral_weight * self._bilateral(composites, real)
        if game.paste_weight:
            truth = photos["paste_mask"].to(on_pastes)
            terms["pastes"] = game.paste_weight * F.binary_cross_entropy_with_logits(on_pastes, truth)
        if game.coverage_weight:
            lacking = F.relu(game.coverage_minimum - mask.mean((1, 2, 3))).mean()
            terms["coverage_term"] = game.coverage_weight * lacking
        if game.binarisation_weight:
            terms["binarisation"] = game.binarisation_weight * torch.minimum(mask, 1 - mask).mean()
        losses = {"g_loss": torch.stack(list(terms.values())).sum(), **terms}
        self._update("generator", losses["g_loss"])

        self.mask = mask = mask.detach()
        for name in self._discs:
            disc, shown = self.networks[name], real[name]
            if game.paste_real:
                shown = paste(mask, shown, clear if name == "disc_clear" else blur)
            fake = verdicts[name] if self._judges_once else disc(composites[name].detach())
            loss = game.disc_weight * (-F.logsigmoid(disc(shown)).mean() - F.logsigmoid(-fake).mean())
            self._update(name, loss)
            losses[name.replace("disc", "d_loss")] = loss
        return {name: loss.detach() for name, loss in losses.items()}

    def _adversarial(self, disc: nn.Module, composite: Tensor) -> tuple[Tensor, Tensor]:
        """What a discriminator's verdict costs the generator, and the verdict."""
        if not self._judges_once:
            with judging_for_generator(disc, frozen=self._way == "best"):
                logits = disc(composite)
            return self._cost(logits), logits
        # Cut at the composite: D's half of the graph serves D's loss too, and G's half need not wait for that.
        shown = composite.detach().requires_grad_()
        logits = disc(shown)
        cost = self._cost(logits)
        (slope,) = torch.autograd.grad(cost, shown, retain_graph=True)
        linear = (slope * composite).sum()
        return linear + (cost - linear).detach(), logits  # the cost's value and its gradient

    def _cost(self, logits: Tensor) -> Tensor:
        saturating = self._config.game.adversarial_form == "saturating"
        return self._config.game.eta * (F.logsigmoid(-logits) if saturating else -F.logsigmoid(logits)).mean()

    def _bilateral(self, composites: dict[str, Tensor], real: dict[str, Tensor]) -> Tensor:
        classifier = self.networks["classifier"]
        if self._way == "release":
            classifier.load_state_dict(torch.load(self._file, map_location=self._device, weights_only=True))
            classifier.zero_grad()
        distances = []
        for name, composite in composites.items():
            features, _ = classifier(composite)
            with torch.set_grad_enabled(self._way == "release"):
                wanted, _ = classifier(real[name])
            distances.append((1 - F.cosine_similarity(features, wanted)).mean())
        return torch.stack(distances).sum()

    def _update(self, name: str, loss: Tensor) -> None:
        self._optimisers[name].zero_grad()
        # The release lets gradients flow into every network on their way, and throws those of the others away.
        loss.backward(inputs=None if self._way == "release" else list(self.networks[name].parameters()))
        self._optimisers[name].step()

    def gradients(self, name: str) -> Tree:
        """The last step's gradients of "generator", "disc_clear" or "disc_blur", as our `params`."""
        return to_tree((key, value.grad) for key, value in self.networks[name].named_parameters())["params"]

    def variables(self, name: str) -> dict[str, Tree]:
        """The same network's parameters and BatchNorm statistics, as our variables."""
        tensors = self.networks[name].state_dict().items()
        return to_tree((key, value) for key, value in tensors if not key.endswith("num_batches_tracked"))


def paste(mask: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    """`mask * inside + (1 - mask) * outside`."""
    return outside + mask * (inside - outside)


class TorchDetector:
    """The generator in evaluation; in the best way with BatchNorm folded into its convolutions.

    Args: as those of `TorchGame`, and the generator's own config and variables.

    Attributes:
        network: the generator as it computes.
    """

    def __init__(
        self,
        config: GeneratorConfig,
        variables: Mapping[str, Tree],
        *,
        way: Way,
        device: str = "cpu",
        compile: bool = False,
    ) -> None:
        self._way, self._device = way, device
        self.network = ready(make_generator(config).eval(), variables, way=way, device=device, compile=compile)

    @torch.inference_mode()
    def __call__(self, photos: np.ndarray) -> np.ndarray:
        """Masks, `[B, H, W]` float32 in [0, 1], of photos, `[B, H, W, 3]` uint8, sides multiples of what ours needs."""
        with backend(self._way):
            logits = self.network(to_tensor(photos, way=self._way, device=self._device))
        return torch.sigmoid(logits[:, 0]).cpu().numpy()
