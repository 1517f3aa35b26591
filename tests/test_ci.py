"""What `.ci/run` runs once PyTorch is there: every test that is skipped without it or onnx."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_test_that_pytorch_or_onnx_was_missing_for_is_run_with_it():
    run = (ROOT / ".ci" / "run").read_text()
    needing = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r'importorskip\("(torch|onnx)"|for module in \("(torch|onnx)"', path.read_text())
    }
    assert len(needing) > 5
    assert not {path for path in needing if path not in run}
