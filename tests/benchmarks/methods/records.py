"""From the logits of all exits to exit records, by the gates themselves and nothing else.

Compiling a bundle for each of some hundred cells would spend the time on what the gates do not
depend on. A gate is a subgraph of the logits, so it is attached to stages that only pass their
logits through, and ONNX Runtime evaluates it: the nodes are those that the compiler appends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper

from edgeexit.bundle.specs import BATCH, GateSpec, TensorSpec
from edgeexit.calibrate import ExitRecords, GateLayout, RecordBuilder
from edgeexit.graph.gates import attach_gates, get_gate

GATE = "statistics"
"""The gate that ``edgeexit compile`` attaches unless told otherwise."""

_OPSET, _IR_VERSION = 20, 10

Array = npt.NDArray[Any]


class GateStages:
    """The K - 1 gates of a model, each behind a stage that passes its logits through.

    Args:
        exits: K >= 2.
        classes: Number of classes of every exit.
    """

    def __init__(self, exits: int, classes: int) -> None:
        logits = [
            TensorSpec(f"exit_{number}", "float32", (BATCH, classes))
            for number in range(1, exits + 1)
        ]
        stages = [_pass_through(spec.name, classes) for spec in logits]
        self._gates = attach_gates(stages, logits, get_gate(GATE))
        self._sessions = [_session(stage) for stage in stages[:-1]]

    @property
    def layout(self) -> GateLayout:
        """What calibration must know of the gates."""
        return GateLayout.of(self._gates[0].spec)

    def features(self, logits: Sequence[Array]) -> list[Array]:
        """Return the ``(n, F) float32`` features of the K - 1 gates.

        Args:
            logits: K arrays ``(n, classes) float32``.
        """
        found: list[Array] = []
        carried: dict[str, Array] = {}
        for session, gate, given in zip(self._sessions, self._gates, logits, strict=False):
            feeds = {"logits": given, **carried, gate.spec.params.name: _params(gate.spec)}
            state = [spec.name for spec in gate.state_out]
            names = [gate.spec.features_output, *state]
            values: list[Array] = session.run(names, feeds)
            found.append(values[0])
            carried = dict(zip(state, values[1:], strict=True))
        return found


def exit_records(logits: Sequence[Array], labels: npt.NDArray[np.int64]) -> ExitRecords:
    """Return the exit records of n labelled samples, as ``calibrate_exits`` takes them.

    Args:
        logits: K arrays ``(n, classes) float32``.
        labels: ``(n,) int64``.

    Raises:
        InputError: There are too few samples, or logits that are not finite.
    """
    stages = GateStages(len(logits), logits[0].shape[1])
    builder = RecordBuilder(stages.layout, len(logits))
    # The order in which calibrate_exits takes them: the temperature is fitted on the first 2,000.
    order = np.random.default_rng(0).permutation(len(labels))
    given = [np.ascontiguousarray(array[order], dtype=np.float32) for array in logits]
    builder.add(given, stages.features(given), labels[order])
    return builder.build()


def gate_flops(classes: int) -> int:
    """Return the operations of one gate on one sample, as a manifest counts them."""
    return get_gate(GATE).flops(classes)


def _params(spec: GateSpec) -> Array:
    return np.asarray(spec.default_params, dtype=np.float32)


def _pass_through(name: str, classes: int) -> ir.Model:
    """Return a stage whose only node hands the logits on."""
    ends = [
        helper.make_tensor_value_info(label, TensorProto.FLOAT, [BATCH, classes])
        for label in ("logits", name)
    ]
    node = helper.make_node("Identity", ["logits"], [name], name="pass")
    graph = helper.make_graph([node], name, ends[:1], ends[1:])
    opset = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION)
    return ir.serde.deserialize_model(model)


def _session(stage: ir.Model) -> Any:
    proto: onnx.ModelProto = ir.serde.serialize_model(stage)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
