"""What every target must do; a target passes where each of these tests does."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from edgeexit.errors import InputError, TargetError
from edgeexit.targets.base import DeviceInfo, Engine, EngineOptions, Target, Unavailable
from edgeexit.targets.registry import get_target
from tests.conformance.chain import Chain, open_all
from tests.conformance.graphs import CARRIED, CLASSES, TOKENS, WIDTH, Graph, sample, save_stages

CALLS = 500
THREADS = 3
GATE_TOLERANCE = 1e-6
"""Largest difference of a gate's score from numpy's float32, on the engine's own logits."""


def options(precision="f32", threads=1, **kwargs):
    return EngineOptions(precision=precision, threads=threads, **kwargs)


def softmax_max(logits, params):
    scaled = (logits * params).astype(np.float64)
    return (1 / np.exp(scaled - scaled.max(1, keepdims=True)).sum(1)).astype(np.float32)


class TargetConformance:
    """Subclass it with a class-scoped fixture ``target_name``; without its engine, all skip."""

    @pytest.fixture(scope="class")
    @classmethod
    def graphs(cls, tmp_path_factory) -> tuple[Graph, tuple[Graph, ...]]:
        return save_stages(tmp_path_factory.mktemp("graphs"))

    @pytest.fixture(scope="class")
    @classmethod
    def target(cls, target_name) -> Target:
        target = get_target(target_name)
        found = target.probe()
        if isinstance(found, Unavailable):
            pytest.skip(found.reason)
        return target

    @pytest.fixture(scope="class")
    @classmethod
    def dynamic(cls, target, graphs) -> Iterator[list[Engine]]:
        engines = open_all(target, graphs[1], options())
        yield engines
        for engine in engines:
            engine.close()

    def test_probe_describes_the_machine(self, target, target_name):
        info = target.probe()
        assert isinstance(info, DeviceInfo)
        assert info.engine.split()[1][0].isdigit()
        assert info.threads >= 1
        assert target.probe(threads=1).threads == 1
        assert f"{info.threads} threads" in info.fingerprint
        assert target.name == target_name
        assert "f32" in target.precisions

    # -- what it computes

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
                np.testing.assert_array_equal(found[name], value, err_msg=name)
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

    # -- how tensors move

    def test_a_later_stage_reads_in_place(self, dynamic):
        chain = Chain(dynamic, {"batch": 2})
        first, second, third = chain.runners
        for name, reader in (("h1", second), ("h1", third), ("w1", third), ("state", third)):
            assert reader.buffer(name) is first.buffer(name)
        view = first.buffer("h1").host()
        chain(sample(2, 1))
        before = view.copy()
        chain(sample(2, 2))
        assert not np.array_equal(view, before)
        first.buffer("h1").write(before)
        second.run()
        np.testing.assert_array_equal(
            second.buffer("logits2").host(), self._second_alone(dynamic[1], before, 2)
        )

    def _second_alone(self, engine, h1, batch):
        runner = engine.runner({"batch": batch})
        runner.buffer("h1").write(h1)
        runner.buffer("ids").write(sample(batch, 2)["ids"])
        runner.run()
        return runner.buffer("logits2").host().copy()

    def test_binding_again_changes_what_is_read(self, dynamic):
        chains = [Chain(dynamic, {"batch": 1}) for _ in range(2)]
        expected = [chain(sample(1, seed))["logits2"] for seed, chain in enumerate(chains)]
        reader = dynamic[1].runner({"batch": 1})
        for turn in (0, 1, 0):
            reader.buffer("ids").write(sample(1, turn)["ids"])
            reader.bind("h1", chains[turn].runners[0].buffer("h1"))
            reader.run()
            np.testing.assert_array_equal(reader.buffer("logits2").host(), expected[turn])

    def test_a_bound_buffer_outlives_the_runner_that_made_it(self, dynamic):
        producer = dynamic[0].runner({"batch": 1})
        reader = dynamic[1].runner({"batch": 1})
        reader.bind("h1", producer.buffer("h1"))
        for name in ("x", "params"):
            producer.buffer(name).write(sample(1)[name])
        producer.run()
        reader.buffer("ids").write(sample(1)["ids"])
        reader.run()
        expected = reader.buffer("logits2").host().copy()
        del producer
        gc.collect()
        reader.run()
        np.testing.assert_array_equal(reader.buffer("logits2").host(), expected)

    @pytest.mark.parametrize("rows", [[0], [4, 1], [2, 2, 0, 3], [0, 1, 2, 3, 4]])
    def test_take_copies_rows_exactly_along_any_axis(self, dynamic, rows):
        chain = Chain(dynamic, {"batch": 5})
        chain(sample(5))
        chosen = np.array(rows, np.intp)
        larger = {
            name: engine.runner({"batch": 6}).buffer(name)
            for engine, names in zip(dynamic, (("h1", "state", "logits1"), ("h2",)), strict=False)
            for name in names
        }
        for name, out in larger.items():
            axis = 1 if name == "h2" else 0
            source = chain.outputs[name].buffer(name)
            out.write(np.full(out.shape, 7, np.float32))
            source.take(chosen, axis, out)
            got, all_rows = (np.moveaxis(b.host(), axis, 0) for b in (out, source))
            np.testing.assert_array_equal(got[: len(rows)], all_rows[rows], err_msg=name)
            assert (got[len(rows) :] == 7).all(), name

    def test_rows_taken_go_on_as_if_they_were_alone(self, target, graphs, dynamic):
        rows, both = np.array([4, 1], np.intp), {"batch": 2}
        full, chain = Chain(dynamic, {"batch": 5}), Chain(dynamic, both)
        arrays = sample(5)
        full(arrays)
        for name, multiple in (("h1", 1), ("w1", 2), ("state", 1)):
            each = (rows[:, None] * multiple + np.arange(multiple)).ravel()
            full.runners[0].buffer(name).take(each, 0, chain.runners[0].buffer(name))
        chain.runners[1].buffer("ids").write(arrays["ids"][rows])
        chain.runners[1].run()
        chain.runners[2].run()
        alone = Chain(dynamic, both)({**arrays, "x": arrays["x"][rows], "ids": arrays["ids"][rows]})
        found = chain.runners[2].buffer("logits3").host()
        np.testing.assert_allclose(found, alone["logits3"], atol=2e-5)

    # -- threads

    def test_threads_with_runners_of_their_own_answer_as_one_does(self, dynamic):
        samples = [sample(1, seed) for seed in range(5)]
        serial = [Chain(dynamic, {"batch": 1})(arrays)["logits3"] for arrays in samples]
        wrong: list[object] = []

        def work(chain: Chain, start: int) -> None:
            try:
                for call in range(CALLS):
                    which = (start + call) % len(samples)
                    if not np.array_equal(chain(samples[which])["logits3"], serial[which]):
                        wrong.append((start, call))
            except Exception as error:
                wrong.append(error)

        chains = [Chain(dynamic, {"batch": 1}) for _ in range(THREADS)]
        threads = [
            threading.Thread(target=work, args=(chain, start)) for start, chain in enumerate(chains)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []

    # -- what it refuses

    def test_unknown_tensors(self, dynamic):
        runner = dynamic[0].runner({"batch": 1})
        with pytest.raises(InputError, match="no tensor 'y' here: it has .*logits1") as caught:
            runner.buffer("y")
        assert caught.value.code == "input.tensor"
        with pytest.raises(InputError, match="no tensor 'h1' here: it has params, x") as caught:
            runner.bind("h1", runner.buffer("h1"))
        assert caught.value.code == "input.tensor"

    def test_wrong_shapes_and_types(self, dynamic):
        first, second = (engine.runner({"batch": 2}) for engine in dynamic[:2])
        cases = (
            (np.zeros((1, TOKENS, WIDTH), np.float32), "input.shape", r"\(1, 8, 32\)"),
            (np.zeros((2, TOKENS, WIDTH), np.float64), "input.dtype", "float64"),
            (np.zeros((2, TOKENS, WIDTH), np.float16), "input.dtype", "float16"),
            (np.zeros((2, TOKENS, WIDTH), np.int32), "input.dtype", "int32"),
        )
        for array, code, words in cases:
            with pytest.raises(InputError, match=words) as caught:
                first.buffer("x").write(array)
            assert caught.value.code == code
        with pytest.raises(InputError, match="cannot be bound to input 'h1'") as caught:
            second.bind("h1", dynamic[0].runner({"batch": 1}).buffer("h1"))
        assert caught.value.code == "input.shape"

    @pytest.mark.parametrize(
        ("rows", "axis", "size", "code"),
        [
            ([2], 0, 2, "input.rows"),
            ([-1], 0, 2, "input.rows"),
            ([0], 3, 2, "input.rows"),
            ([[0]], 0, 2, "input.rows"),
            ([0, 1, 0], 0, 2, "input.shape"),
            ([0], 1, 1, "input.shape"),
        ],
    )
    def test_rows_that_do_not_fit(self, dynamic, rows, axis, size, code):
        source = dynamic[0].runner({"batch": 2}).buffer("h1")
        out = dynamic[0].runner({"batch": size}).buffer("h1")
        with pytest.raises(InputError) as caught:
            source.take(np.array(rows, np.intp), axis, out)
        assert caught.value.code == code

    def test_a_buffer_does_not_take_into_itself(self, dynamic):
        source = dynamic[0].runner({"batch": 2}).buffer("h1")
        with pytest.raises(InputError, match="itself"):
            source.take(np.array([1, 0]), 0, source)

    def test_sizes(self, target, graphs, dynamic):
        for dims, words in (({}, "'batch'"), ({"batch": 0}, "cannot be 0")):
            with pytest.raises(InputError, match=words) as caught:
                dynamic[0].runner(dims)
            assert caught.value.code == "input.dimension"
        fixed = open_all(target, graphs[1][:1], options(dims={"batch": 2}))[0]
        with pytest.raises(InputError, match="cannot be 3: this engine takes 2"):
            fixed.runner({"batch": 3})
        assert fixed.runner({}).buffer("logits1").shape == (2, CLASSES)
        assert fixed.runner({"batch": 2, "unused": 9}).buffer("x").shape == (2, TOKENS, WIDTH)

    def test_options(self, target, graphs):
        cases = (
            (options("int3"), "target.precision", "no precision 'int3': it has f32"),
            (options(settings={"magic": 1}), "target.setting", "no setting 'magic'"),
        )
        for chosen, code, words in cases:
            with pytest.raises(TargetError, match=words) as caught:
                open_all(target, graphs[1][:1], chosen)
            assert caught.value.code == code
        with pytest.raises(InputError, match="cannot be fixed to 0"):
            open_all(target, graphs[1][:1], options(dims={"batch": 0}))

    def test_a_file_that_is_no_model(self, target, graphs, tmp_path):
        graph = graphs[1][0]
        for file, content in (("noise.onnx", b"\x00noise" * 9), ("short.onnx", None)):
            path = tmp_path / file
            path.write_bytes(content or graph.file.read_bytes()[:500])
            with pytest.raises(TargetError, match=file) as caught:
                target.open(path, graph.inputs, graph.outputs, options())
            assert caught.value.code == "target.engine"

    def test_tensors_that_the_file_lacks(self, target, graphs):
        first, second, _ = graphs[1]
        for inputs, outputs in (
            (first.inputs[:1], first.outputs),
            (second.inputs, first.outputs),
            (first.inputs, second.outputs),
        ):
            with pytest.raises(TargetError, match="but its bundle names") as caught:
                target.open(first.file, inputs, outputs, options())
            assert caught.value.code == "target.tensors"

    def test_a_closed_engine_refuses_everything(self, target, graphs):
        engine = open_all(target, graphs[1][:1], options(dims={"batch": 1}))[0]
        runner = engine.runner({})
        buffer = runner.buffer("x")
        runner.run()
        engine.close()
        engine.close()
        for use in (
            runner.run,
            engine.operations,
            lambda: engine.runner({}),
            lambda: runner.buffer("x"),
            lambda: runner.bind("x", buffer),
        ):
            with pytest.raises(TargetError, match="closed") as caught:
                use()
            assert caught.value.code == "target.closed"

    def test_operations_are_pairs_of_words(self, dynamic):
        for operation, precision in dynamic[0].operations():
            assert operation
            assert isinstance(precision, str)
