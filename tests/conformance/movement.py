"""How tensors move between stages, and between threads."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

from tests.conformance.chain import Chain
from tests.conformance.fixtures import TargetFixtures
from tests.conformance.graphs import sample

CALLS = 500
THREADS = 3


class Movement(TargetFixtures):
    """Stages read in place, rows are taken exactly, threads do not disturb each other."""

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
