"""What ``import edgeexit`` costs, and what it must not bring along."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.benchmarks.measure import Excess, turn
from tests.benchmarks.models import TINY, open_bundle
from tests.benchmarks.processes import ask
from tests.benchmarks.rows import Effort, Row

TITLE = "Import"
NOTE = (
    "Import statements in fresh processes, in turn; the difference to `import numpy`, `median "
    "[95 % interval], of minima`. `import edgeexit` loads its parts when first used, "
    "numpy with them: the second row loads what running a bundle takes. The last row opens a "
    "bundle and answers an input on each engine."
)

LIMIT_MS = 60.0
FORBIDDEN = ("torch", "onnx", "onnx_ir", "nncf")

_STATEMENTS = {
    "numpy": "import numpy",
    "edgeexit": "import edgeexit",
    "runtime": "import edgeexit; edgeexit.Runtime",
    "numpy again": "import numpy",
}
_TIMED = """
import sys, time
start = time.perf_counter()
{statement}
print((time.perf_counter() - start) * 1000)
"""
_ANSWER = """
import json, sys
import numpy, edgeexit
for device in ("x86", "cpu"):
    with edgeexit.Runtime(sys.argv[1], target=device) as runtime:
        runtime(numpy.zeros((1, 16), numpy.float32))
print(json.dumps([name for name in sys.argv[2:] if name in sys.modules]))
"""


def run(effort: Effort) -> Iterator[Row]:
    """Yield times above numpy, and what was imported."""
    effort.tell("import cost")
    rounds = 3 if effort.quick else 25
    spent: dict[str, list[float]] = {name: [] for name in _STATEMENTS}
    for number in range(-1, rounds):
        for name in turn(list(_STATEMENTS), number):
            milliseconds = float(ask(_TIMED.format(statement=_STATEMENTS[name])))
            if number >= 0:
                spent[name].append(milliseconds)
    times = {name: np.array(values) for name, values in spent.items()}
    same = Excess.of(times["numpy again"], times["numpy"], 1000)
    for name, statement in list(_STATEMENTS.items())[1:3]:
        # In milliseconds: a thousand parts of a microsecond each.
        above = Excess.of(times[name], times["numpy"], 1000)
        text = f"{above.median:.1f} [{above.low:.1f}, {above.high:.1f}], {above.of_minima:.1f} ms"
        yield Row(
            f"import.{name}",
            f"`{statement}` above `import numpy` ({np.median(times['numpy']):.0f} ms)",
            text,
            {"median_ms": above.median, "of_minima_ms": above.of_minima, "rounds": rounds},
            same=f"{same.median:.1f} [{same.low:.1f}, {same.high:.1f}], {same.of_minima:.1f} ms",
            wanted=f"≤ {LIMIT_MS:g} ms" if name == "edgeexit" else None,
            met=above.median <= LIMIT_MS if name == "edgeexit" else None,
        )
    found = ask(_ANSWER, str(open_bundle(TINY, "f32", effort.tell).folder), *FORBIDDEN)
    yield Row(
        "import.forbidden",
        f"of {', '.join(FORBIDDEN)}, imported after an answer on both engines",
        ", ".join(found) or "none",
        {"imported": found},
        wanted="none",
        met=not found,
    )
