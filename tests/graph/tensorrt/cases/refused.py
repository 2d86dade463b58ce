"""All that the parser or the builder refuses."""

from __future__ import annotations

from tests.graph.tensorrt.cases.refused_by_data import DATA_DEPENDENT
from tests.graph.tensorrt.cases.refused_forms import FORMS
from tests.graph.tensorrt.cases.refused_operators import (
    REFUSED_RANKS,
    REFUSED_TYPES,
    UNKNOWN_OPERATORS,
)
from tests.graph.tensorrt.cases.refused_quantization import QUANTIZATION

REFUSED = [
    *QUANTIZATION,
    *UNKNOWN_OPERATORS,
    *REFUSED_TYPES,
    *REFUSED_RANKS,
    *FORMS,
    *DATA_DEPENDENT,
]
