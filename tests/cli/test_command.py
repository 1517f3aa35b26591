"""How commands end."""

import errno
import warnings

import pytest

from sgdbd_jax.cli import command
from sgdbd_jax.errors import UserError


def ended(main, capsys) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        command.run(main)
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("x.jpg: empty\nfile"), 2, "error: x.jpg: empty file\n"),
        (OSError(errno.ENOSPC, "No space left on device", "out/a"), 2, "error: out/a: No space left on device\n"),
        (OSError("no reason given"), 2, "error: no reason given\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
    ],
)
def test_what_the_user_can_mend_is_one_line(error, code, line, capsys):
    def main():
        raise error

    assert ended(main, capsys) == (code, line)


def test_a_command_ends_with_the_code_of_its_main(capsys):
    assert ended(lambda: 1, capsys) == (1, "")


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        command.run(lambda: 1 // 0)


def test_a_warning_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # restored after the test
    assert ended(lambda: None, capsys)[0] is None
    assert warnings.formatwarning(UserWarning("left out: a.jpg"), UserWarning, "file.py", 3) == (
        "warning: left out: a.jpg\n"
    )
