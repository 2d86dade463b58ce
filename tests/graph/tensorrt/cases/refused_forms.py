"""Forms of known operators that the parser or the builder refuses."""

from __future__ import annotations

import numpy as np

from tests.graph.tensorrt.cases.case import IMAGE, Case, F

FORMS = [
    Case(
        "LayerNormalization with three outputs",
        "restriction",
        "y, mean, dev = LayerNormalization(x, k)",
        "further output, 'mean'",
        {"k": np.ones(8, F)},
    ),
    Case(
        "MaxPool with indices",
        "restriction",
        "y, i = MaxPool<kernel_shape=[2,2]>(x)",
        "further output, 'i'",
        **IMAGE,
    ),
    Case(
        "dilated pooling",
        "restriction",
        "y = MaxPool<kernel_shape=[2,2], dilations=[2,2]>(x)",
        "dilations are [2, 2]",
        **IMAGE,
    ),
    Case(
        "a convolution of four axes",
        "restriction",
        "y = Conv(x, w)",
        "convolves 4 axes",
        {"w": np.ones((4, 4, 3, 3, 3, 3), F)},
        inputs="float[1,4,4,4,4,4] x",
        output="float[1,4,2,2,2,2] y",
    ),
    Case(
        "BatchNormalization in training",
        "restriction",
        "y, a, b = BatchNormalization<training_mode=1>(x, k, k, k, k)",
        "training_mode is 1",
        {"k": np.ones(8, F)},
    ),
    Case(
        "Dropout in training",
        "restriction",
        "y = Dropout(x, r, t)",
        "training mode",
        {"r": F(0.5), "t": np.bool_(True)},
    ),
    Case(
        "ScatterND that adds",
        "restriction",
        'y = ScatterND<reduction="add">(x, i, u)',
        "reduction is 'add'",
        {"i": np.array([[0]]), "u": np.ones((1, 8), F)},
    ),
    Case(
        "Resize with antialiasing",
        "restriction",
        'y = Resize<mode="linear", antialias=1>(x, , k)',
        "antialias is 1",
        {"k": np.array([1, 1, 2, 2], F)},
        **IMAGE,
    ),
    Case(
        "Resize that crops",
        "restriction",
        'y = Resize<mode="linear", coordinate_transformation_mode="tf_crop_and_resize">(x, r, k)',
        "tf_crop_and_resize",
        {"k": np.array([1, 1, 2, 2], F), "r": np.array([0] * 4 + [1] * 4, F)},
        **IMAGE,
    ),
    Case(
        "Slice of unnamed axes",
        "restriction",
        "y = Slice(x, a, b)",
        "1 starts for 2 axes",
        {"a": np.array([0]), "b": np.array([1])},
        output="float[1,8] y",
    ),
    Case(
        "TopK of too many",
        "restriction",
        "y, i = TopK(x, k)",
        "K is 4000",
        {"k": np.array([4000])},
        inputs="float[2,5000] x",
        output="float[2,4000] y",
    ),
    Case(
        "a constant text",
        "restriction",
        'c = Constant<value_string="a">() y = Neg(x)',
        "value_string",
    ),
]
"""Known operators with an attribute, input or output that is not read."""
