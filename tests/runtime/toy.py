"""A hand-made bundle of three stages, with everything that stages may do to each other.

``x`` feeds stage 1, ``z`` is first needed by stage 3. Boundary tensors: ``w1`` has four rows a
sample, ``t1`` has its samples along axis 1 and is read by stages 2 and 3, ``scale`` has none,
``count`` is a gate's state. Exit 2 returns boxes beside its logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from edgeexit.bundle.bundle import Bundle, Golden
from edgeexit.bundle.specs import (
    Compaction,
    ExitSpec,
    GateSpec,
    Manifest,
    Provenance,
    StageSpec,
    TensorSpec,
)
from edgeexit.bundle.writer import BundleWriter

CLASSES = 5
RNG = np.random.default_rng(7)
WEIGHTS = {
    name: (RNG.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
    for name, shape in {
        "W1": (8, 16), "V1": (16, CLASSES), "W2": (16, 16), "V2": (16, CLASSES),
        "W3": (16, 16), "V3": (16, CLASSES), "Wz": (4, 16), "U1": (4, 6), "U2": (6, 6),
        "U3": (6, 6), "Q1": (6, CLASSES), "Q2": (6, CLASSES), "Q3": (6, CLASSES),
    }.items()
}  # fmt: skip
CONSTANTS = {
    "scale_value": np.array([0.75], np.float32),
    "to_rows": np.array([-1, 4], np.int64),
    "to_width": np.array([-1, 16], np.int64),
    "to_boxes": np.array([-1, 2, 8], np.int64),
    "from_0": np.array([0], np.int64),
    "from_1": np.array([1], np.int64),
    "to_99": np.array([99], np.int64),
    "half": np.array(0.5, np.float32),
    "keep_axis": np.array([1], np.int64),
}

T = TensorSpec
PARAMS = T("gate_params", "float32", (3,), None, 0)
X, Z = T("x", "float32", ("batch", 8)), T("z", "float32", ("batch", 4))
W1 = T("w1", "float32", ("4*batch", 4), 0, 4)
T1 = T("t1", "float32", (16, "batch"), 1)
SCALE = T("scale", "float32", (1,), None, 0)
COUNT = T("count", "float32", ("batch", 1))
H2 = T("h2", "float32", ("batch", 16))
LOGITS = tuple(T(f"logits{k}", "float32", ("batch", CLASSES)) for k in (1, 2, 3))
BOXES = T("boxes2", "float32", ("batch", 2, 8))

BODY = (
    (
        ("MatMul", ("x", "W1"), "a1", {}),
        ("Relu", ("a1",), "h1", {}),
        ("Reshape", ("h1", "to_rows"), "w1", {}),
        ("Transpose", ("h1",), "t1", {"perm": [1, 0]}),
        ("Identity", ("scale_value",), "scale", {}),
        ("MatMul", ("h1", "V1"), "logits1", {}),
    ),
    (
        ("Reshape", ("w1", "to_width"), "r2", {}),
        ("Transpose", ("t1",), "u2", {"perm": [1, 0]}),
        ("Add", ("r2", "u2"), "s2", {}),
        ("Mul", ("s2", "scale"), "m2", {}),
        ("MatMul", ("m2", "W2"), "a2", {}),
        ("Relu", ("a2",), "h2", {}),
        ("MatMul", ("h2", "V2"), "logits2", {}),
        ("Reshape", ("h2", "to_boxes"), "boxes2", {}),
    ),
    (
        ("Transpose", ("t1",), "u3", {"perm": [1, 0]}),
        ("MatMul", ("z", "Wz"), "y3", {}),
        ("Add", ("h2", "u3"), "s3", {}),
        ("Add", ("s3", "y3"), "m3", {}),
        ("MatMul", ("m3", "W3"), "a3", {}),
        ("Relu", ("a3",), "h3", {}),
        ("MatMul", ("h3", "V3"), "logits3", {}),
    ),
)

SEQ_X = T("x", "float32", ("batch", "seq", 4))
SEQ_H = tuple(T(f"h{k}", "float32", ("batch", "seq", 6)) for k in (1, 2))
SEQ_BODY = tuple(
    (
        ("MatMul", ("x" if k == 1 else f"h{k - 1}", f"U{k}"), f"a{k}", {}),
        ("Relu", (f"a{k}",), f"h{k}", {}),
        ("ReduceMean", (f"h{k}", "keep_axis"), f"p{k}", {"keepdims": 0}),
        ("MatMul", (f"p{k}", f"Q{k}"), f"logits{k}", {}),
    )
    for k in (1, 2, 3)
)


def gate_nodes(number: int, *, counts: bool):
    """A gate of two features: the top probability at a temperature, and how often it was > 0.5."""
    nodes = [
        ("Slice", ("gate_params", "from_0", "from_1"), "temperature", {}),
        ("Mul", (f"logits{number}", "temperature"), "tempered", {}),
        ("Softmax", ("tempered",), "chances", {"axis": 1}),
        ("ReduceMax", ("chances", "keep_axis"), "top", {"keepdims": 1}),
        ("Greater", ("top", "half"), "sure", {}),
        ("Cast", ("sure",), "sure_number", {"to": TensorProto.FLOAT}),
    ]
    counted = "sure_number"
    if counts and number == 1:
        nodes.append(("Identity", ("sure_number",), "count", {}))
    elif counts:
        nodes.append(("Add", ("sure_number", "count"), "counted", {}))
        counted = "counted"
    return [
        *nodes,
        ("Concat", ("top", counted), "features", {"axis": 1}),
        ("Slice", ("gate_params", "from_1", "to_99"), "weights", {}),
        ("Mul", ("features", "weights"), "weighed", {}),
        ("ReduceSum", ("weighed", "keep_axis"), "score", {"keepdims": 0}),
    ]


def write_graph(path: Path, nodes, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]):
    values = {**WEIGHTS, **CONSTANTS}
    used = {name for _, reads, _, _ in nodes for name in reads}

    def declare(spec):
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
        return helper.make_tensor_value_info(spec.name, kind, list(spec.shape))

    graph = helper.make_graph(
        [helper.make_node(op, list(reads), [out], **attrs) for op, reads, out, attrs in nodes],
        path.stem,
        [declare(spec) for spec in inputs],
        [declare(spec) for spec in outputs],
        [numpy_helper.from_array(values[name], name) for name in sorted(used & values.keys())],
    )
    opset = [helper.make_opsetid("", 18)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))


def gate_spec(state: tuple[str, ...]) -> GateSpec:
    return GateSpec(
        name="toy",
        version=1,
        params=PARAMS,
        default_params=(1.0, 1.0, 0.0),
        features=("top", "count"),
        score="score",
        features_output="features",
        state=state,
        flops=20,
    )


def _stage(number, inputs, carried_in, carried_out, outputs, state=(), gated=True, flops=400):
    return StageSpec(
        number=number,
        file=f"stages/{number}.onnx",
        inputs=inputs,
        carried_in=carried_in,
        carried_out=carried_out,
        exit=ExitSpec(f"exit{number}", outputs),
        gate=gate_spec(state) if gated else None,
        flops=flops,
        params=100,
    )


TOY_STAGES = (
    _stage(1, (X,), (), (W1, T1, SCALE, COUNT), (LOGITS[0],), ("count",)),
    _stage(2, (), (W1, T1, SCALE, COUNT), (H2,), (LOGITS[1], BOXES)),
    _stage(3, (Z,), (T1, H2), (), (LOGITS[2],), gated=False),
)
SEQ_STAGES = (
    _stage(1, (SEQ_X,), (), (SEQ_H[0],), (LOGITS[0],)),
    _stage(2, (), (SEQ_H[0],), (SEQ_H[1],), (LOGITS[1],)),
    _stage(3, (), (SEQ_H[1],), (), (LOGITS[2],), gated=False),
)


def write_bundle(
    folder: Path,
    *,
    name: str = "toy",
    device: str = "cpu",
    precision: str = "f32",
    compaction: Compaction | None = None,
) -> Bundle:
    """Write the toy bundle, or with ``name="seq"`` the one with a dynamic second axis."""
    toy = name == "toy"
    stages, body = (TOY_STAGES, BODY) if toy else (SEQ_STAGES, SEQ_BODY)
    inputs = (X, Z) if toy else (SEQ_X,)
    with BundleWriter(folder / f"{name}.eex") as writer:
        for stage, nodes in zip(stages, body, strict=True):
            gate = gate_nodes(stage.number, counts=toy) if stage.gate else []
            write_graph(writer.path(stage.file), [*nodes, *gate], stage.fed, stage.produced)
        every = [node for nodes in body for node in nodes]
        outputs = [spec for stage in stages for spec in stage.exit.outputs]
        write_graph(writer.path("whole.onnx"), every, inputs, outputs)
        last = [node for node in every if node[2] not in ("logits1", "logits2", "boxes2")]
        write_graph(writer.path("static.onnx"), last, inputs, [LOGITS[2]])
        golden = make_inputs(3) if toy else {"x": make_sequences(3, 7)}
        answers = (reference if toy else seq_reference)(golden)
        writer.add_golden(
            Golden(
                golden,
                {
                    stage.exit.name: {spec.name: answers[spec.name] for spec in stage.exit.outputs}
                    for stage in stages
                },
            )
        )
        return writer.seal(
            Manifest(
                schema=1,
                name=name,
                inputs=inputs,
                stages=stages,
                static="static.onnx",
                whole="whole.onnx",
                static_flops=1200,
                static_params=300,
                classes=None,
                preprocessing=None,
                device=device,
                precision=precision,
                decision_unit="sample",
                compaction=compaction or Compaction(True),
                provenance=Provenance("0", "2026-01-01T00:00:00Z", "toy", "0" * 64, {}),
                files=(),
            )
        )


def make_inputs(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "x": (2 * rng.standard_normal((rows, 8))).astype(np.float32),
        "z": rng.standard_normal((rows, 4)).astype(np.float32),
    }


def make_sequences(rows: int, length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, length, 4)).astype(np.float32)


def reference(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The toy model in numpy."""
    w = WEIGHTS
    h1 = np.maximum(inputs["x"] @ w["W1"], 0)
    h2 = np.maximum((h1 + h1) * np.float32(0.75) @ w["W2"], 0)
    h3 = np.maximum((h2 + h1 + inputs["z"] @ w["Wz"]) @ w["W3"], 0)
    logits = {f"logits{k}": h @ w[f"V{k}"] for k, h in ((1, h1), (2, h2), (3, h3))}
    return {**logits, "boxes2": h2.reshape(-1, 2, 8)}


def seq_reference(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The model with a dynamic second axis in numpy."""
    h, answers = inputs["x"], {}
    for k in (1, 2, 3):
        h = np.maximum(h @ WEIGHTS[f"U{k}"], 0)
        answers[f"logits{k}"] = h.mean(axis=1) @ WEIGHTS[f"Q{k}"]
    return answers


def gate_features(answers: Mapping[str, np.ndarray], temperatures=(1.0, 1.0), *, counts=True):
    """The two gates' features in numpy, ``(n, 2)`` each."""
    found, count = [], 0.0
    for k, temperature in enumerate(temperatures, start=1):
        tempered = answers[f"logits{k}"] * np.float32(temperature)
        chances = np.exp(tempered - tempered.max(1, keepdims=True))
        top = (chances / chances.sum(1, keepdims=True)).max(1)
        count = (top > 0.5) + (count if counts else 0)
        found.append(np.stack([top, count], axis=1).astype(np.float32))
    return found
