"""The race against other runtimes of the same model: earlyon's hooks, and ``If`` in one graph."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.rows import Effort, Row

TITLE = "Race against earlyon and against `If`"
NOTE = (
    "The same weights, the same thresholds on the largest softmax probability (policy `single`, "
    "calibrated once, in f32 on OpenVINO, at a budget of 0.5 for the demo and 0.7 for the CNN; "
    "int8 takes them over), the same Fashion-MNIST test images, as many threads for everyone, one "
    "process, in turn: blocks of 20 single images, or one batch of 32. x86 is OpenVINO, cpu ONNX "
    "Runtime. earlyon 0.3.0 runs as its documentation says: `EarlyExitWrapper` in eval mode, "
    "exits in PyTorch hooks, inference mode inside; it refuses `torch.compile`. Making tensors of "
    "arrays and labels of logits is not timed for it. A batch leaves as a whole there, once its "
    "hardest image may; so it does in `If`: the stages in one ONNX file, those after the first in "
    "nested branches. earlyon's *staged model* takes single images alone. A ratio says how many "
    "times faster edgeexit is: `median [95 % interval], of minima; least of all pairs; times`. "
    "*Engine* is eager PyTorch over the engine, both on the whole model without exits; *exits* "
    "the whole model over edgeexit, on one engine; *earlyon's exits* the same in PyTorch. The CNN "
    "is trained for this race. The ViT-S/16 has random weights and images, so *accuracy* is how "
    "often a contestant says what the whole model says in PyTorch; its int8 is calibrated by "
    "itself, since random confidences lie closer together than int8 rounds. The race needs "
    "`pip install --no-deps earlyon==0.3.0` (what else that asks for, torchvision among it, "
    "serves its own models) and Debian's `dataset-fashion-mnist`."
)


def run(effort: Effort) -> Iterator[Row]:
    """Yield the rows of every model in every race."""
    # Late: torch comes with it, and its threads must not disturb the subjects before.
    from tests.benchmarks.race.rows import race_rows

    yield from race_rows(effort)
