"""What every target must refuse, and with which code."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from edgeexit.errors import InputError, TargetError
from tests.conformance.chain import open_all
from tests.conformance.fixtures import TargetFixtures, options
from tests.conformance.graphs import CLASSES, TOKENS, WIDTH


class Refusals(TargetFixtures):
    """Wrong names, shapes, types, sizes, options and files, and closed engines."""

    def test_unknown_tensors(self, dynamic):
        runner = dynamic[0].runner({"batch": 1})
        with pytest.raises(InputError, match=r"no tensor 'y' here: it has .*logits1") as caught:
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
            assert caught.value.code in ("target.engine", "target.parse")

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

    def test_closing_while_a_thread_runs_ends_in_a_refusal(self, target, graphs):
        engine = open_all(target, graphs[1][:1], options(dims={"batch": 1}))[0]
        runner, ended = engine.runner({}), []
        started = threading.Event()

        def work() -> None:
            try:
                while True:
                    runner.run()
                    started.set()
            except TargetError as error:
                ended.append(error.code)

        thread = threading.Thread(target=work)
        thread.start()
        started.wait(30)
        engine.close()
        thread.join(30)
        assert ended == ["target.closed"]

    def test_operations_are_pairs_of_words(self, dynamic):
        for operation, precision in dynamic[0].operations():
            assert operation
            assert isinstance(precision, str)
