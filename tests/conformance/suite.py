"""What every target must do; a target passes where each of these tests does."""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.errors import TargetError
from edgeexit.targets.base import DeviceInfo
from tests.conformance.chain import Chain, open_all
from tests.conformance.fixtures import options
from tests.conformance.graphs import CARRIED, sample
from tests.conformance.movement import Movement
from tests.conformance.refusals import Refusals

GATE_TOLERANCE = 1e-6
"""Largest difference of a gate's score from numpy's float32, on the engine's own logits."""

BUILT_TOLERANCE = 1e-4
"""Relative and absolute, where engines are built on the device: float32 sums in another order."""


def softmax_max(logits, params):
    scaled = (logits * params).astype(np.float64)
    return (1 / np.exp(scaled - scaled.max(1, keepdims=True)).sum(1)).astype(np.float32)


class TargetConformance(Movement, Refusals):
    """Subclass it with a class-scoped fixture ``target_name``; without its engine, all skip."""

    def test_probe_describes_the_machine(self, target, target_name):
        info = target.probe()
        assert isinstance(info, DeviceInfo)
        assert info.engine.split()[1][0].isdigit()
        assert info.threads >= 1
        assert target.probe(threads=1).threads == 1
        assert f"{info.threads} threads" in info.fingerprint
        assert target.name == target_name
        assert "f32" in target.precisions

    @pytest.mark.parametrize("batch", [1, 2, 5])
    @pytest.mark.parametrize("shapes", ["static", "dynamic"])
    def test_staged_equals_whole_in_every_bit(self, target, graphs, batch, shapes):
        dims = {"batch": batch}
        chosen = options(dims=dims if shapes == "static" else {})
        whole = Chain(open_all(target, [graphs[0]], chosen), dims)
        staged = Chain(open_all(target, graphs[1], chosen), dims)
        for seed in range(3):
            arrays = sample(batch, seed)
            expected, found = whole(arrays), staged(arrays)
            for name, value in expected.items():
                # Builders that time kernels may choose others for a stage than for the whole.
                tolerance = BUILT_TOLERANCE if target.builds_on_device else 0.0
                np.testing.assert_allclose(found[name], value, tolerance, tolerance, err_msg=name)
                assert np.abs(value).max() > 0, name

    def test_one_dynamic_engine_serves_all_sizes_by_turns(self, target, graphs, dynamic):
        chains = {batch: Chain(dynamic, {"batch": batch}) for batch in (4, 1, 3)}
        for seed, batch in enumerate((1, 3, 4, 3, 1, 4, 1)):
            fixed = options(dims={"batch": batch})
            expected = Chain(open_all(target, graphs[1], fixed), {})(sample(batch, seed))
            found = chains[batch](sample(batch, seed))
            for name in ("logits1", "logits2", "logits3", "state"):
                np.testing.assert_allclose(found[name], expected[name], atol=2e-5, err_msg=name)

    @pytest.mark.parametrize("precision", ["f32", "bf16"])
    def test_the_gate_computes_in_float32(self, target, graphs, precision):
        engines = self._open_or_skip(target, graphs, precision, 16)
        arrays = sample(16)
        found = Chain(engines[:1], {})(arrays)
        expected = softmax_max(found["logits1"], arrays["params"])
        assert found["score1"].dtype == np.float32
        np.testing.assert_allclose(found["score1"], expected, rtol=0, atol=GATE_TOLERANCE)
        np.testing.assert_array_equal(found["state"], np.float32(1) - found["score1"])

    def test_bf16_staged_equals_whole_in_every_bit(self, target, graphs):
        engines = self._open_or_skip(target, graphs, "bf16", 2)
        whole = open_all(target, [graphs[0]], options("bf16", dims={"batch": 2}))
        exact = Chain(open_all(target, [graphs[0]], options(dims={"batch": 2})), {})
        types = {name: spec.dtype for e in engines for spec in e.outputs for name in [spec.name]}
        assert {name for name, dtype in types.items() if dtype == "bfloat16"} == CARRIED
        assert engines[1].runner({}).buffer("h1").host().dtype == np.uint16
        for seed in range(3):
            arrays = sample(2, seed)
            expected, found = Chain(whole, {})(arrays), Chain(engines, {})(arrays)
            for name, value in expected.items():
                np.testing.assert_array_equal(found[name], value, err_msg=name)
            assert 0 < np.abs(expected["logits3"] - exact(arrays)["logits3"]).max() < 0.2

    def _open_or_skip(self, target, graphs, precision, batch):
        if precision not in target.precisions:
            pytest.skip(f"{target.name} has no {precision}")
        try:
            chosen = options(precision, dims={"batch": batch}, native=CARRIED)
            return open_all(target, graphs[1], chosen)
        except TargetError as error:
            if error.code != "target.precision":
                raise
            pytest.skip(error.message)
