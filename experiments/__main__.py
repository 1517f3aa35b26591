"""Lists the commands: `python -m experiments`."""

import argparse

from experiments import COMMANDS
from sgdbd_jax.cli import command


def main(argv: list[str] | None = None) -> None:
    """Prints a line a command; there are no options but `--help`, which does the same."""
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:{width}}  {line}" for name, line in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m experiments",
        usage="python -m experiments.COMMAND [--help] ...",
        description=f"commands:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(argv)
    parser.print_help()


if __name__ == "__main__":
    command.run(main)
