"""The whole path on architectures that the project has never seen: compile, calibrate, run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest

import edgeexit
from edgeexit.bundle.bundle import Bundle, Golden
from edgeexit.calibrate.calibrate import calibrate_exits
from edgeexit.compiler import compile_model
from edgeexit.errors import BundleError, InputError
from edgeexit.runtime.golden import check_golden

pytest.importorskip("torch")

Arrays = dict[str, npt.NDArray[Any]]
SAMPLES = 160
RANDOM = np.random.default_rng(0)


@dataclass(frozen=True)
class Case:
    """A network, its inputs, and how many tensors cross each boundary.

    The gate's own state, two tensors at every boundary but the last, is not counted.
    """

    inputs: Arrays
    shape: Any
    crossing: tuple[int, ...]


def _floats(*shape: int) -> npt.NDArray[np.float32]:
    return RANDOM.standard_normal((SAMPLES, *shape)).astype(np.float32)


CASES = {
    "multi_scale": Case({"image": _floats(3, 16, 16)}, ("batch", 3, 16, 16), (2, 4)),
    "two_branches": Case({"image": _floats(1, 16, 16)}, ("batch", 1, 16, 16), (3, 3)),
    "windows": Case({"tokens": _floats(16, 12)}, ("batch", 16, 12), (1, 1)),
    "masked_text": Case(
        {
            "ids": RANDOM.integers(0, 40, (SAMPLES, 12)),
            "mask": (np.arange(12) < RANDOM.integers(4, 13, (SAMPLES, 1))).astype(np.int64),
        },
        {"ids": ("batch", "length"), "mask": ("batch", "length")},
        (2, 2),
    ),
}


@pytest.fixture(scope="module", params=sorted(CASES))
def compiled(request: pytest.FixtureRequest, tmp_path_factory: Any) -> tuple[Case, Bundle]:
    case = CASES[request.param]
    bundle = compile_model(
        f"tests.architectures:{request.param}",
        tmp_path_factory.mktemp("bundles") / f"{request.param}.eex",
        input_shape=case.shape,
        data=case.inputs,
    )
    return case, bundle


def whole_logits(bundle: Bundle, inputs: Arrays) -> list[npt.NDArray[Any]]:
    path = bundle.file(bundle.manifest.whole)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [stage.exit.name for stage in bundle.manifest.stages]
    logits: list[npt.NDArray[Any]] = session.run(names, inputs)
    return logits


def test_boundaries_and_parity(compiled: tuple[Case, Bundle]) -> None:
    case, bundle = compiled
    stages = bundle.manifest.stages
    states = [len(stage.gate.state) if stage.gate else 0 for stage in stages[:-1]]
    crossing = [len(stages[k + 1].carried_in) - states[k] for k in range(len(stages) - 1)]
    assert tuple(crossing) == case.crossing
    assert bundle.manifest.compaction.allowed, bundle.manifest.compaction.reason
    parity = bundle.parity()
    checked = {engine["device"] for engine in parity["engines"]}
    # An engine that dies of a model takes a child process with it, not the compiler.
    assert checked == {"cpu", "x86"} or "was killed by SIG" in parity["skipped"]["x86"]
    for engine in parity["engines"]:
        for found in engine["batch_1"] + engine["random"] + engine["batches"]:
            assert found["max_abs_difference"] < 1e-5, (engine["device"], found)
            assert found["flips"] == 0
        assert engine["exits_taken"] < 1e-5
        assert engine["agrees"], engine["golden"]


def test_calibrated_rows_get_the_whole_model_s_answer_at_their_exit(
    compiled: tuple[Case, Bundle],
) -> None:
    case, bundle = compiled
    costs = bundle.manifest.flops_costs
    budget = 0.5 * (costs[0] + costs[-1])
    calibrate_exits(bundle, case.inputs, budget)
    whole = whole_logits(bundle, case.inputs)
    for device in (engine["device"] for engine in bundle.parity()["engines"]):
        with edgeexit.Runtime(bundle, target=device) as runtime:
            result = runtime(case.inputs)
            single = runtime({name: array[3] for name, array in case.inputs.items()})
        assert abs(result.cost - budget) < 0.05
        assert len(set(result.exits)) > 1
        for row, number in enumerate(result.exits):
            np.testing.assert_allclose(
                result.logits[row], whole[number - 1][row], rtol=1e-4, atol=1e-4
            )
        assert single.labels.shape == (1,)
        np.testing.assert_allclose(
            single.logits[0], whole[single.exits[0] - 1][3], rtol=1e-4, atol=1e-4
        )


def test_a_dynamic_length_is_served_at_other_lengths(tmp_path: Path) -> None:
    case = CASES["masked_text"]
    bundle = compile_model(
        "tests.architectures:masked_text",
        tmp_path / "text.eex",
        input_shape=case.shape,
        samples=case.inputs,
    )
    short = {name: array[:5, :7].copy() for name, array in case.inputs.items()}
    with edgeexit.Runtime(bundle) as runtime:
        logits = runtime.all_exits(short).logits
    for ours, theirs in zip(logits, whole_logits(bundle, short), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_patience_on_a_real_bundle(tmp_path: Path) -> None:
    case = CASES["windows"]
    bundle = compile_model(
        "tests.architectures:windows",
        tmp_path / "patience.eex",
        input_shape=case.shape,
        gate="patience",
    )
    calibrate_exits(bundle, case.inputs, None, policy="patience")
    logits = whole_logits(bundle, case.inputs)
    labels = [array.argmax(axis=1) for array in logits]
    with edgeexit.Runtime(bundle) as runtime:
        scores = runtime.all_exits(case.inputs).scores
    np.testing.assert_array_equal(scores[0], np.zeros(SAMPLES))
    np.testing.assert_array_equal(scores[1], labels[0] == labels[1])


def test_answers_that_differ_from_the_golden_ones_are_refused(tmp_path: Path) -> None:
    """The golden outputs of one network stand in for those of an engine that computes wrongly."""
    case = CASES["windows"]
    bundle = compile_model(
        "tests.architectures:windows", tmp_path / "windows.eex", input_shape=case.shape
    )
    with edgeexit.Runtime(bundle) as runtime:
        assert all(found.identical for found in check_golden(runtime))
        golden = bundle.golden()
        shifted = {
            name: {key: array + 0.01 * np.abs(array).max() for key, array in tensors.items()}
            for name, tensors in golden.outputs.items()
        }
        bundle.golden = lambda: Golden(golden.inputs, shifted)  # type: ignore[method-assign]
        with pytest.raises(BundleError, match="computes this model wrongly") as caught:
            check_golden(runtime)
    assert caught.value.code == "bundle.golden"
    assert "--target" in caught.value.hint


def test_int8_needs_data_and_an_old_output_survives_a_failure(tmp_path: Path) -> None:
    output = tmp_path / "windows.eex"
    model, shape = "tests.architectures:windows", CASES["windows"].shape
    compile_model(model, output, input_shape=shape)
    before = Bundle.open(output).digest
    with pytest.raises(InputError, match="needs data") as caught:
        compile_model(model, output, input_shape=shape, precision="int8")
    assert "--quant-data" in caught.value.hint
    with pytest.raises(InputError, match="the model takes"):
        compile_model(model, output, input_shape=shape, data={"wrong": _floats(16, 12)})
    assert Bundle.open(output).digest == before
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".eex"] == ["windows.eex"]


def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "results"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="no bundle"):
        compile_model("tests.architectures:windows", precious, input_shape=CASES["windows"].shape)
    assert (precious / "thesis.txt").read_text() == "years of work"
