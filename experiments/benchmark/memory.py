"""Peak memory of one side's step, in a process of its own: `python -m experiments.benchmark.memory SIDE CONFIG`.

CONFIG is the config as JSON. Prints JSON: bytes resident `before` networks and batch are made, with all libraries
loaded, and at the `peak` of two steps, when the compiler has finished; on a GPU, bytes of its memory.
"""

from __future__ import annotations

import json
import subprocess
import sys

from experiments import allocator, command, compiled
from sgdbd_jax.config import Config, from_dict, to_dict
from sgdbd_jax.errors import UserError


def step_memory(side: str, config: Config) -> dict[str, int]:
    """What the process prints.

    Raises:
        UserError: it failed, perhaps for want of memory.
    """
    arguments = [sys.executable, "-m", "experiments.benchmark.memory", side, json.dumps(to_dict(config))]
    ended = subprocess.run(arguments, capture_output=True, text=True)
    if ended.returncode:
        last = (ended.stderr.splitlines() or ["no message"])[-1]
        raise UserError(f"peak memory: the process that measures {side} ended with code {ended.returncode} ({last})")
    return json.loads(ended.stdout)


def main() -> int:
    """Measures the side that the command line names."""
    side, config = sys.argv[1], from_dict(Config, json.loads(sys.argv[2]))
    compiled.keep()

    import jax

    from experiments.benchmark import sides, timing

    ours, gpu = side == sides.OURS, sides.gpu()
    if not ours:
        import torch
    before = 0 if gpu else timing.resident_memory()
    game = sides.Game.of(config)
    run = game.our_step()[0] if ours else game.torch_step(side)
    del game  # and with it what this side does not need
    peak = timing.peak_memory(lambda: [run() for _ in range(2)])
    if gpu:
        peak = jax.devices()[0].memory_stats()["peak_bytes_in_use"] if ours else torch.cuda.max_memory_allocated()
    print(json.dumps({"before": before, "peak": peak}))
    return 0


if __name__ == "__main__":
    allocator.keep()
    command.run(main)
