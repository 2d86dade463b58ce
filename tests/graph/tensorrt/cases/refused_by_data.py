"""Shapes that depend on the data, which the parser or the builder refuses."""

from __future__ import annotations

import numpy as np

from tests.graph.tensorrt.cases.case import Case, F

COUNT = """m = ReduceMax<keepdims=0>(x)
    t = Cast<to=7>(m)
    k = Reshape(t, one)"""
ONE = {"one": np.array([1])}

DATA_DEPENDENT = [
    Case("NonZero", "data-dependent", "y = NonZero(x)", "NonZero", output="int64[2,n] y"),
    Case(
        "NonMaxSuppression",
        "data-dependent",
        "y = NonMaxSuppression(x, p, k)",
        "NonMaxSuppression",
        {"k": np.array([3])},
        inputs="float[1,6,4] x, float[1,1,6] p",
        output="int64[n,3] y",
    ),
    Case(
        "Reshape to what the data say",
        "data-dependent",
        f"{COUNT} c = Concat<axis=0>(k, j) y = Reshape(x, c)",
        "input 1, 'c', depends on the data",
        ONE | {"j": np.array([-1])},
        output="float[n,m] y",
    ),
    Case(
        "Reshape to an unknown rank",
        "data-dependent",
        "y = Reshape(x, t)",
        "input 1, 't', depends",
        inputs="float[2,8] x, int64[k] t",
        output="float[n,m] y",
    ),
    Case(
        "TopK with K from the data",
        "data-dependent",
        f"{COUNT} y, i = TopK(x, k)",
        "input 1, 'k'",
        ONE,
        output="float[2,n] y",
    ),
    Case(
        "Expand to what the data say",
        "data-dependent",
        f"{COUNT} y = Expand(c, k)",
        "input 1, 'k'",
        ONE | {"c": np.ones(1, F)},
        output="float[n] y",
    ),
    Case(
        "Range to what the data say",
        "data-dependent",
        f"{COUNT} y = Range(a, t, b)",
        "input 1, 't'",
        ONE | {"a": np.int64(0), "b": np.int64(1)},
        output="int64[n] y",
    ),
    Case(
        "ConstantOfShape of the data",
        "data-dependent",
        f"{COUNT} y = ConstantOfShape(k)",
        "input 0, 'k'",
        ONE,
        output="float[n] y",
    ),
    Case(
        "axes that are an input",
        "data-dependent",
        "y = ReduceSum(x, a)",
        "input 1, 'a'",
        inputs="float[2,8] x, int64[1] a",
        output="float[n,m] y",
    ),
]
"""Sizes that are known only once the input is."""
