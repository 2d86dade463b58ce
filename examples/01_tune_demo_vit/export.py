"""Writes a multi-exit torch model as one plain ONNX file and checks it against torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from fashion import SIDE, Split
from torch import nn
from tuning import logits_of

OPSET = 20
LARGEST_DIFFERENCE = 1e-4


def export(model: nn.Module, path: Path, exits: int) -> None:
    """Write ``model`` to ``path``: input ``image``, outputs ``exit_1`` .. ``exit_K``.

    The input is ``(batch, 1, 28, 28) uint8``; scaling to mean 0 and deviation 1 is in the graph.
    """
    program = torch.onnx.export(
        model.eval(),
        (torch.zeros(2, 1, SIDE, SIDE, dtype=torch.uint8),),
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=[f"exit_{number}" for number in range(1, exits + 1)],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    if program is None:
        raise SystemExit("torch.onnx.export returned no program: it needs dynamo=True.")
    proto = program.model_proto
    # Stack traces and file names of the exporting machine are of no use to a reader of the model.
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.initializer):
        del value.metadata_props[:]
    onnx.checker.check_model(proto, full_check=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(proto.SerializeToString())
    part.replace(path)


def check(model: nn.Module, path: Path, split: Split) -> float:
    """Return the largest difference between the logits of ``path`` and of ``model`` on ``split``.

    Raises:
        SystemExit: It is above 1e-4, or an exit predicts another class for some image.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    exported = np.stack(session.run(None, {"image": split.image}))
    expected = logits_of(model, split)
    difference = float(np.abs(exported - expected).max())
    flips = int((exported.argmax(-1) != expected.argmax(-1)).sum())
    if difference > LARGEST_DIFFERENCE or flips:
        raise SystemExit(
            f"{path} differs from the torch model by {difference:.1e} and flips {flips} of "
            f"{expected.shape[0] * expected.shape[1]} predictions; it should differ by at most "
            f"{LARGEST_DIFFERENCE:.0e} and flip none."
        )
    return difference
