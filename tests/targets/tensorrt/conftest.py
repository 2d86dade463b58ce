from __future__ import annotations

import sys
from pathlib import Path

# Test modules are imported by file (importmode=importlib); the fakes stand beside them, and the
# runtime's toy bundle beside its tests.
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "runtime"))
