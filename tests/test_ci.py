"""What `.ci/run` runs once PyTorch is there: every test that is skipped without it, onnx or fsspec."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_test_that_was_skipped_for_want_of_a_package_is_run_with_it():
    run = (ROOT / ".ci" / "run").read_text()
    needing = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r'importorskip\("(torch|onnx|fsspec)"|for module in \("(torch|onnx)"', path.read_text())
    }
    assert len(needing) > 5
    assert not {path for path in needing if path not in run and f" {Path(path).parent.as_posix()} " not in run}
