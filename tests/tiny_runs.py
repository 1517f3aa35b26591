"""The smallest runs of the real training command."""

from pathlib import Path

from quick import FLAGS

QUICK = {"XLA_FLAGS": FLAGS, "JAX_PLATFORMS": "cpu"}  # of processes that are started for what they write
STEPS = {"warm": 4, "classifier": 12, "game": 24}
SIZE = 16
FIELDS: dict[str, object] = {
    "scenes": 8,
    "photo_size": SIZE,
    "crop": SIZE,
    "batch": 4,
    "classifier_batch": 4,
    "generator.width": 0.05,
    "generator.trunk_norm": False,
    "classifier.width": 0.05,
    "classifier.norm": False,
    "discriminator.channels": (4, 4, 4),
    "discriminator.strides": (1, 2, 2),
    "classifier_steps": STEPS["classifier"],
    "warm_steps": STEPS["warm"],
    "steps": STEPS["game"],
    "log_every": 1,
    "checkpoint_every": 4,
    "validate_every": 8,
    "grid_every": 12,
}


def arguments(workdir: Path, **changes: object) -> list[str]:
    """The command's arguments; a change is named as its field, with `__` for a dot, or as its option."""
    fields = FIELDS | {name.replace("__", "."): value for name, value in changes.items()}
    given = [text for name, value in fields.items() if value is not None for text in (f"--{name}", str(value))]
    return ["--workdir", str(workdir), *given]
