"""What the monitor costs: every row of the budget, measured against the bare interpreter in the same run.

`python -m bench`, or `make bench`, from the top of the tree. Nothing here is a test: a busy machine measures badly.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Scratch environments and readers of spools are those of the tests.
if str(ROOT / "tests") not in sys.path:
    sys.path.append(str(ROOT / "tests"))
