"""A generator's own training in PyTorch, as fast as it goes: what ours is timed against, and agrees with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.optim.swa_utils import get_ema_multi_avg_fn

from experiments.benchmark.torch_networks import make_generator, to_tree
from experiments.benchmark.torch_ways import backend, make_optimiser, ready, to_tensor
from sgdbd_jax.config import Config
from sgdbd_jax.training.state import FitState


class TorchFit:
    """The step of `make_fit_step` by cross-entropy on masks, with its network, updates and moving average.

    BatchNorm's running variances alone differ: PyTorch takes the unbiased variance of a batch, ours is the biased.

    Args:
        config: the run's, of which the generator, `pastes.warm_optimiser` and `ema_decay` count.
        state: ours before its first step; the optimiser has seen nothing yet.
        bfloat16: whether layers compute in it where PyTorch's autocast lets them; parameters and loss stay as they are.
        device: PyTorch's name of it.
        compile: whether the network goes through `torch.compile`.
        dtype: of parameters, and of all else without `bfloat16`.

    Attributes:
        network: the generator.
    """

    def __init__(
        self,
        config: Config,
        state: FitState,
        *,
        bfloat16: bool = False,
        device: str = "cpu",
        compile: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._device, self._bfloat16, self._ema_decay = device, bfloat16, config.ema_decay
        network = make_generator(config.generator).to(dtype)
        self.network = ready(network, state.net.variables, way="best", device=device, compile=compile)
        self._optimiser = make_optimiser(network.named_parameters(), config.pastes.warm_optimiser, way="best")
        tensors = network.state_dict()  # which are the network's own, not copies
        self._current = {name: value for name, value in tensors.items() if value.is_floating_point()}
        self._averages = {name: value.clone() for name, value in self._current.items()} if state.net.ema else {}
        self._step = 0

    def step(self, batch: Mapping[str, np.ndarray]) -> float:
        """One update.

        Args:
            batch: `photo`, `[B, H, W, 3]`, and `mask`, `[B, H, W, 1]`, uint8.

        Returns:
            The loss before it.
        """
        photo, truth = (to_tensor(batch[name], way="best", device=self._device) for name in ("photo", "mask"))
        with backend("best"):
            with torch.autocast(self._device, torch.bfloat16, enabled=self._bfloat16):
                logits = self.network(photo)
            logits = logits.float() if self._bfloat16 else logits
            loss = F.binary_cross_entropy_with_logits(logits, truth.to(logits))
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
        if self._averages:
            self._follow()
        self._step += 1
        return loss.item()

    def _follow(self) -> None:
        """Moves the moving average, as `training.step.follow` does."""
        stays = min(self._ema_decay, (self._step + 1) / (self._step + 10))
        get_ema_multi_avg_fn(stays)(list(self._averages.values()), list(self._current.values()), None)

    def gradients(self) -> Any:
        """The last step's, as our `params`."""
        return to_tree((name, value.grad) for name, value in self.network.named_parameters())["params"]

    def variables(self) -> dict[str, Any]:
        """Parameters and BatchNorm statistics, as our variables."""
        return to_tree(self._current.items())

    def averages(self) -> dict[str, Any]:
        """The moving average, as our variables."""
        return to_tree(self._averages.items())
