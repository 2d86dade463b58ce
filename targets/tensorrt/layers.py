"""The layers of a plan and what each computes in, from the builder's log or the inspector.

Two sources, for one question: were the quantized nodes built in int8?

1. The builder's verbose log, whose message ``Layers:`` has a line a layer (TensorRT-RTX; read
   without a GPU). Checked against TensorRT-RTX 1.7.
2. The engine inspector's JSON (TensorRT 10 and 11; on the GPU alone). Written from NVIDIA's
   documents: the type is part of ``Format/Datatype`` in TensorRT 10 and apart in 11.

Layers are fused, and carry the names of their ONNX nodes in one of three ways:

1. in their own name: ``/qkv_myl0_3``, ``/k+/q_myl0_3``, ``/conv + /relu``, each perhaps with
   ``[profile 1]``;
2. in their metadata alone: ``[ONNX Layer: /gelu][ONNX Layer: /fc]``, in no order of use, where
   the name is made up: ``__myl_FcAddErf_myl0_9``, ``_gemm_mha_v2_myl0_8``;
3. not at all.

Where the name tells (1), only those nodes count: the metadata also lists nodes whose last
operation, such as a bias, the layer has taken over. Where it does not (2), all nodes of the
metadata count but those that another layer of the profile names (1).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeexit.targets.info import BuiltLayer

LAYER_LOG = "Layers:"
"""How the message begins that lists the layers."""

_LINE = re.compile(r"Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*), (?P<rest>.*)")
_METADATA = re.compile(r"\[ONNX Layer: (.*?)\](?=\[ONNX Layer: |[\x1e\x1f]|\s*$)")
_OPERAND = re.compile(r"Dimensions: \[(?P<shape>[^\]]*)\].*?Datatype: (?P<type>\w+)")
_SUBGRAPH = re.compile(r"_myl(\d+)_\d+$")
_PROFILE = re.compile(r" ?\[profile (\d+)\]")
_MADE_UP = ("__my", "_gemm_mha")
_TYPES = (
    ("int8", re.compile(r"int8|i8", re.IGNORECASE)),
    ("fp16", re.compile(r"half|fp16|float16", re.IGNORECASE)),
    ("bf16", re.compile(r"bf16|bfloat16", re.IGNORECASE)),
    ("f32", re.compile(r"float|fp32", re.IGNORECASE)),
)
_CONV = re.compile(r"conv|correlation|fprop", re.IGNORECASE)
_GEMM = re.compile(r"gemm|matrixmultiply|matmul|fullyconnected", re.IGNORECASE)
_ATTENTION = re.compile(r"_gemm_mha")
_FUSED = re.compile(r"__myl_([A-Za-z]+)")
_WORD = re.compile(r"[A-Z][a-z0-9]*")


@dataclass(frozen=True)
class _Layer:
    """A layer as either source tells of it.

    Attributes:
        name: The engine's name.
        kind: Everything that tells what it does: its type, tactic and parameters.
        inputs: Types of what flows in.
        weights: Types of its constants of more than one axis.
        metadata: ONNX nodes that it came from, in order.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    metadata: tuple[str, ...]

    @property
    def profile(self) -> int:
        """The optimization profile that the layer belongs to."""
        tagged = _PROFILE.search(self.name)
        subgraph = _SUBGRAPH.search(self.name)
        return int((tagged or subgraph)[1]) if tagged or subgraph else 0  # type: ignore[index]


def layers_of_log(lines: Iterable[str]) -> tuple[BuiltLayer, ...]:
    """Return the layers that the builder's log lists; empty where it lists none.

    Args:
        lines: Messages of the log; those that do not begin with :data:`LAYER_LOG` are skipped.
    """
    found = [
        match
        for message in lines
        if message.startswith(LAYER_LOG)
        for line in message.splitlines()
        if (match := _LINE.fullmatch(line.strip()))
    ]
    return _built([_from_line(match) for match in found])


def layers_of_inspection(text: str) -> tuple[BuiltLayer, ...]:
    """Return the layers in the engine inspector's JSON; empty where it tells no types.

    A plan built without detailed profiling lists names alone.
    """
    try:
        table = json.loads(text)
    except ValueError:
        return ()
    listed = table.get("Layers") if isinstance(table, dict) else None
    if not isinstance(listed, list):
        return ()
    return _built([_from_table(layer) for layer in listed if isinstance(layer, dict)])


def compare_layers(expected: Sequence[str], layers: Sequence[BuiltLayer]) -> tuple[str, ...]:
    """Return the ONNX nodes that were to be built in int8 and were not.

    A node counts as built in int8 where every layer that names it computes in int8, in all
    optimization profiles. Nodes that no layer names are returned too.

    Args:
        expected: Names of ONNX nodes.
        layers: The plan's layers. Where there are none, nothing is known and nothing returned.
    """
    if not layers:
        return ()
    precisions: dict[str, set[str]] = {}
    for layer in layers:
        precisions.setdefault(layer.name, set()).add(layer.precision)
    return tuple(name for name in expected if precisions.get(name) != {"int8"})


def _built(layers: Sequence[_Layer]) -> tuple[BuiltLayer, ...]:
    """Return a layer for every node that is computed, and for every other layer as it is."""
    kinds = [_kind(layer) for layer in layers]
    products = [layer for layer, kind in zip(layers, kinds, strict=True) if kind != "other"]
    named = {(layer.profile, name) for layer in products for name in _named(layer)}
    built: list[BuiltLayer] = []
    computed: dict[str, set[int]] = {}
    for layer, kind in zip(layers, kinds, strict=True):
        if kind == "other":
            built.append(BuiltLayer(layer.name, kind, _precision(layer)))
            continue
        for name in _named(layer) or _unnamed(layer, named):
            built.append(BuiltLayer(name, kind, _precision(layer)))
            computed.setdefault(name, set()).add(layer.profile)
    profiles = {layer.profile for layer in products}
    # A product that one profile computes and another does not name was rewritten there, into
    # what cannot be told.
    lost = [name for name, found in computed.items() if found != profiles]
    return (*built, *(BuiltLayer(name, "other", "unknown") for name in lost))


def _kind(layer: _Layer) -> str:
    fused = _FUSED.match(layer.name)
    words = _WORD.findall(fused[1]) if fused else []
    if _CONV.search(layer.kind) or "Corr" in words or "Conv" in words:
        return "conv"
    if _GEMM.search(layer.kind) or _ATTENTION.match(layer.name) or "Fc" in words:
        return "gemm"
    return "other"


def _named(layer: _Layer) -> tuple[str, ...]:
    """Return the ONNX nodes that the layer's own name tells of; none where it is made up."""
    name = _PROFILE.sub("", _SUBGRAPH.sub("", layer.name))
    parts = [part.strip() for part in name.split("+")]
    if not layer.metadata:
        return () if name.startswith(_MADE_UP) else tuple(parts)
    return tuple(part for part in (name, *parts) if part in layer.metadata)[: len(parts)]


def _unnamed(layer: _Layer, named: Collection[tuple[int, str]]) -> tuple[str, ...]:
    """Return the nodes of the metadata that no other layer names; else the engine's name."""
    nodes = [n for n in layer.metadata if "quantizelinear" not in n.lower()]
    return tuple(n for n in nodes if (layer.profile, n) not in named) or (layer.name,)


def _precision(layer: _Layer) -> str:
    """Return what a layer computes in: int8 only where both factors are.

    A product of an int8 tensor with a float one computes in float: the tensor is only read
    through its scale.
    """
    if not layer.inputs:
        return "unknown"
    first, others = layer.inputs[0], layer.inputs[1:] + layer.weights
    if not others or first in others:
        return first
    return next((word for word in (*others, first) if word != "int8"), first)


def _from_line(match: re.Match[str]) -> _Layer:
    sections = re.split(r"(?:^|, )(Inputs|Constants|Outputs|TacticName|Metadata): ", match["rest"])
    told = dict(zip(sections[1::2], sections[2::2], strict=False))
    constants = _OPERAND.finditer(told.get("Constants", ""))
    return _Layer(
        match["name"],
        match["kind"],
        tuple(_type(found["type"]) for found in _OPERAND.finditer(told.get("Inputs", ""))),
        tuple(_type(found["type"]) for found in constants if "," in found["shape"]),
        tuple(_METADATA.findall(told.get("Metadata", ""))),
    )


def _from_table(layer: Mapping[str, Any]) -> _Layer:
    words = [str(layer.get(key, "")) for key in ("LayerType", "ParameterType", "TacticName")]
    weights = layer.get("Weights")
    constants = [c for c in layer.get("Constants", ()) if len(c.get("Dimensions", ())) > 1]
    types = [_tensor_type(tensor) for tensor in constants]
    if isinstance(weights, dict) and weights.get("Count"):
        types.append(_type(str(weights.get("Type", ""))))
    return _Layer(
        str(layer.get("Name", "")),
        " ".join(words),
        tuple(_tensor_type(tensor) for tensor in layer.get("Inputs", ())),
        tuple(types),
        tuple(_METADATA.findall(str(layer.get("Metadata", "")))),
    )


def _tensor_type(tensor: Mapping[str, Any]) -> str:
    keys = ("Datatype", "DataType", "Format/Datatype", "Format/DataType")
    return _type(next((str(tensor[key]) for key in keys if key in tensor), ""))


def _type(text: str) -> str:
    return next((word for word, form in _TYPES if form.search(text)), text.lower() or "unknown")
