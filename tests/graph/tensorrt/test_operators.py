"""The table of operators: which version knows which, in which types and forms."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgeexit.errors import InputError
from edgeexit.graph.tensorrt.lint import lint_tensorrt
from edgeexit.graph.tensorrt.operators import read_operators
from tests.graph.tensorrt.cases.case import Case, F
from tests.graph.tensorrt.linted import LATEST, errors, findings, loaded
from tests.graph.tensorrt.operator_graphs import OPERATORS, TYPES, operator_graph
from tests.graph.tensorrt.rtx_parser import Rtx, needs_rtx


@needs_rtx
def test_the_newest_table_knows_the_operators_that_rtx_knows():
    parser = Rtx().parser
    schemas = onnx.defs.get_all_schemas_with_history()
    names = {schema.name for schema in schemas if schema.domain == ""}
    known = read_operators(LATEST).types
    assert {name for name in names if parser.supports_operator(name)} - set(known) == set()
    # DeformConv is a plugin of TensorRT, and TensorRT-RTX comes without plugins.
    unknown = {name for name in known if not parser.supports_operator(name)}
    assert unknown == {"DeformConv"}


@needs_rtx
def test_the_newest_table_knows_the_types_that_rtx_reads():
    different = set()
    for operator in OPERATORS:
        for dtype in TYPES:
            graph = operator_graph(operator, dtype)
            found = lint_tensorrt(loaded(graph), version=LATEST)
            refused = any(finding.rule == "type" for finding in errors(found))
            if refused == Rtx().parse(graph):
                different.add((operator, dtype))
    # NonZero is a plugin of TensorRT, too; the lint refuses it as data-dependent.
    assert different == {("NonZero", "float32"), ("NonZero", "float16")}


@pytest.mark.parametrize(
    ("operator", "before", "since"),
    [
        ("HannWindow", "10.3", "10.4"),
        ("STFT", "10.3", "10.13"),
        ("Attention", "10.13", "10.14"),
        ("RMSNormalization", "10.13", "10.16"),
        ("Swish", "10.16", "11.4"),
    ],
)
def test_an_operator_is_known_from_a_version_on(operator: str, before: str, since: str):
    assert operator not in read_operators(before).types
    assert operator in read_operators(since).types
    assert operator in read_operators("12.0").types


def test_an_unknown_operator_says_which_version_knows_it():
    case = Case("", "", "y = RMSNormalization(x, k)", "", {"k": np.ones(8, F)}, opset=23)
    first = errors(findings(case, "10.13"))[0]
    assert first.message == (
        "TensorRT 10.13 does not know the operator RMSNormalization; 10.15 does."
    )
    assert errors(findings(case, "10.16")) == []


@pytest.mark.parametrize(
    ("case", "before", "since", "words"),
    [
        (
            Case(
                "",
                "",
                'y = Einsum<equation="...ij,jk->...ik">(x, w)',
                "",
                {"w": np.eye(8, dtype=F)},
            ),
            "10.3",
            "10.13",
            "ellipsis",
        ),
        (
            Case("", "", "h = Cast<to=10>(x) p = Pow(h, k) y = Cast<to=1>(p)", "", {"k": F(2)}),
            "10.3",
            "10.13",
            "float16 and float32",
        ),
        (
            Case(
                "", "", "i = Cast<to=6>(x) p = Pow(i, k) y = Cast<to=1>(p)", "", {"k": np.int32(2)}
            ),
            "10.3",
            "10.13",
            "does not compute Pow in int32",
        ),
        (
            Case(
                "",
                "",
                "y = GroupNormalization<num_groups=2>(x, k, k)",
                "",
                {"k": np.ones(8, F)},
                opset=21,
            ),
            "10.3",
            "10.13",
            "opset 21",
        ),
    ],
)
def test_a_form_is_read_from_a_version_on(case: Case, before: str, since: str, words: str):
    (found,) = errors(findings(case, before))
    assert words in found.message
    assert errors(findings(case, since)) == []


@pytest.mark.parametrize(("version", "last"), [("10.3", 20), ("10.13", 22), ("10.16", 24)])
def test_the_opset_is_compared_with_that_of_the_version(version: str, last: int):
    assert findings(Case("", "", "y = Neg(x)", "", opset=last), version) == ()
    (found,) = findings(Case("", "", "y = Neg(x)", "", opset=last + 1), version)
    assert (found.rule, found.severity) == ("opset", "warning")
    assert f"TensorRT {version} ends at {last}" in found.message


@pytest.mark.parametrize("version", ["", "10", "ten.three", "10.x", "-1.0"])
def test_what_is_no_version_is_refused(version: str):
    with pytest.raises(InputError, match=r"is no TensorRT version; one is written like 10\.3"):
        read_operators(version)


def test_tensorrt_8_is_refused_with_the_jetpack_to_update_to():
    with pytest.raises(InputError, match=r"TensorRT 8\.5 is too old") as caught:
        read_operators("8.5")
    assert "JetPack 6.1" in caught.value.hint
