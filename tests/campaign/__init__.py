"""A fault campaign: faults and hostile input, thousands of them, against the real program.

    python -m tests.campaign --out DIR

A file a family of faults; each is bounded, and seeded, so that one case can be run again. Tests run it at a smaller
scale.
"""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
sys.path[:0] = [path for path in (str(TESTS), str(ROOT)) if path not in sys.path]  # what pytest adds, for the helpers
