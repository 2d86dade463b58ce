"""What a bundle says of its tensors, exits, gates and stages: plain frozen dataclasses.

The graph room writes them, the targets and the runtime read them. Exits and stages are numbered
from 1, as in the papers: stage ``k`` is what exit ``k`` costs beyond exit ``k - 1``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgeexit.errors import InputError

BATCH = "batch"
"""The symbol of the batch dimension in every shape of a bundle."""

Dim = int | str
"""A dimension: a number, or an affine expression of one symbol: ``49*batch``, ``seq+1``."""

_DIM = re.compile(r"(?:(?P<factor>[1-9]\d*)\*)?(?P<symbol>[A-Za-z_]\w*)(?P<offset>[+-]\d+)?")


def resolve_dim(dim: Dim, dims: Mapping[str, int]) -> int:
    """Return the size of ``dim`` where each symbol has the value given in ``dims``.

    Raises:
        InputError: The expression is malformed or its symbol has no value.
    """
    if isinstance(dim, int):
        return dim
    match = _DIM.fullmatch(dim)
    if match is None or match["symbol"] not in dims:
        raise InputError(
            f"dimension {dim!r} has no value among {dict(dims)}.",
            hint="give a value for each symbol of the model's input shapes.",
            code="input.dimension",
        )
    return int(match["factor"] or 1) * dims[match["symbol"]] + int(match["offset"] or 0)


def dim_symbol(dim: Dim) -> str | None:
    """Return the symbol in ``dim``, or None where it is a number."""
    match = _DIM.fullmatch(dim) if isinstance(dim, str) else None
    return match["symbol"] if match else None


@dataclass(frozen=True)
class TensorSpec:
    """One tensor that crosses a stage's edge.

    Attributes:
        name: Its name in the ONNX graphs of the bundle.
        dtype: The numpy name of its ONNX element type, e.g. ``float32`` (``bfloat16`` included).
        shape: A :data:`Dim` an axis.
        batch_axis: The axis along which samples lie, or None where the tensor has none.
        rows_per_sample: Consecutive rows along ``batch_axis`` that belong to one sample
            (1, or e.g. the number of windows in windowed attention); 0 without a batch axis.
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...]
    batch_axis: int | None = 0
    rows_per_sample: int = 1

    def resolve(self, dims: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape where each symbol has the value given in ``dims``."""
        return tuple(resolve_dim(dim, dims) for dim in self.shape)


@dataclass(frozen=True)
class ExitSpec:
    """One exit: a named group of output tensors, the logits first.

    Attributes:
        name: The exit's name, unique in the model.
        outputs: Its tensors in order; the first one holds the logits ``(batch, classes)``.
    """

    name: str
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class GateSpec:
    """The gate at the end of a stage; exit where ``score >= threshold``.

    Attributes:
        name: The gate's name in the gate registry, e.g. ``statistics``.
        version: The version of its feature list.
        params: Its one small input ``(P,) float32`` without a batch axis.
        default_params: P values with which the gate is the plain confidence of the top class
            (or, for gates of another kind, their own criterion).
        features: The names of the F features that the score weighs, in order.
        score: Name of the output ``(batch,) float32``.
        features_output: Name of the output ``(batch, F) float32``.
        state: Names of the tensors it carries to the next stage's gate; each is also among the
            boundary tensors of the stage.
        flops: Floating-point operations for one sample.
    """

    name: str
    version: int
    params: TensorSpec
    default_params: tuple[float, ...]
    features: tuple[str, ...]
    score: str
    features_output: str
    state: tuple[str, ...]
    flops: int


@dataclass(frozen=True)
class StageSpec:
    """One stage: an ONNX graph that runs after the stages before it.

    Attributes:
        number: 1 for the first stage.
        file: POSIX path of its ONNX file, relative to the bundle.
        inputs: Model inputs that the stage reads (the host feeds them).
        carried_in: Boundary tensors it reads, produced by this or that earlier stage.
        carried_out: Boundary tensors it produces for later stages.
        exit: The exit it ends in.
        gate: The gate at its end; None in the last stage.
        flops: Floating-point operations for one sample, without the gate (2 a multiply-add).
        params: Number of parameters (elements of its initializers) that no earlier stage holds.
    """

    number: int
    file: str
    inputs: tuple[TensorSpec, ...]
    carried_in: tuple[TensorSpec, ...]
    carried_out: tuple[TensorSpec, ...]
    exit: ExitSpec
    gate: GateSpec | None
    flops: int
    params: int

    @property
    def fed(self) -> tuple[TensorSpec, ...]:
        """All tensors that must be in place before the stage runs, the gate's parameters last."""
        gate = (self.gate.params,) if self.gate else ()
        return self.inputs + self.carried_in + gate

    @property
    def produced(self) -> tuple[TensorSpec, ...]:
        """All tensors that the stage writes: boundary, exit outputs, then score and features."""
        produced = {spec.name: spec for spec in self.carried_out + self.exit.outputs}
        if self.gate:
            score = TensorSpec(self.gate.score, "float32", (BATCH,))
            width = len(self.gate.features)
            features = TensorSpec(self.gate.features_output, "float32", (BATCH, width))
            produced |= {score.name: score, features.name: features}
        return tuple(produced.values())


@dataclass(frozen=True)
class Preprocessing:
    """How a raw image becomes the model's input; baked into stage 1.

    Attributes:
        input: Name of the ``(batch, height, width, channels) uint8`` input.
        size: Height and width after resizing (bilinear), or None where the size is kept.
        scale: Factor applied to the pixel values, e.g. 1/255.
        mean: Subtracted a channel, after scaling.
        std: Divided by a channel, after the mean.
    """

    input: str
    size: tuple[int, int] | None
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Compaction:
    """Whether rows that exit may leave a batch, and why not where they may not."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True)
class FileEntry:
    """One sealed file: POSIX path relative to the bundle, bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Provenance:
    """Where a bundle came from: versions and the digest of the source model."""

    edgeexit: str
    created: str
    source: str
    source_sha256: str
    tools: Mapping[str, str]


@dataclass(frozen=True)
class Manifest:
    """All that a bundle says of itself; its own digest stands beside it in ``manifest.json``.

    Attributes:
        schema: Version of the bundle format.
        name: The model's name.
        inputs: The model's inputs in order.
        stages: The stages in order; K is 1 where a model was cut at one exit, without gates.
        static: Path of the whole model without early exits.
        whole: Path of the whole model with all K exits, from which the stages were sliced.
        static_flops: Floating-point operations of ``static`` for one sample.
        static_params: Number of parameters of ``static``.
        classes: Class names, or None where unknown.
        preprocessing: Baked preprocessing, or None.
        device: Name of the device file the bundle was compiled for, e.g. ``x86``.
        precision: ``f32``, ``bf16``, ``fp16`` or ``int8``.
        decision_unit: What one exit decision covers: ``sample``.
        compaction: Whether rows may leave a batch.
        provenance: Where the bundle came from.
        files: Every sealed file but the manifest, sorted by path.
    """

    schema: int
    name: str
    inputs: tuple[TensorSpec, ...]
    stages: tuple[StageSpec, ...]
    static: str
    whole: str
    static_flops: int
    static_params: int
    classes: tuple[str, ...] | None
    preprocessing: Preprocessing | None
    device: str
    precision: str
    decision_unit: str
    compaction: Compaction
    provenance: Provenance
    files: tuple[FileEntry, ...]

    @property
    def flops_costs(self) -> tuple[float, ...]:
        """Cost ``c_k`` of leaving at exit k: FLOPs as fractions of the static model; length K."""
        costs, spent = [], 0
        for stage in self.stages:
            spent += stage.flops + (stage.gate.flops if stage.gate else 0)
            costs.append(spent / self.static_flops)
        return tuple(costs)
