"""What a batch holds, in which order, and that a resumed or shared epoch is the same epoch."""

from __future__ import annotations

from itertools import chain, pairwise

import numpy as np
import pytest
import torch

from edgeexit.dmpo.data.augment import Augment
from edgeexit.dmpo.data.batches import Batches
from edgeexit.dmpo.data.dataset import LabelledSet


def images(count):
    """Every pixel of image n is n: a batch tells which samples it holds."""
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return LabelledSet(
        {"image": np.tile(pixels, (1, 1, 4, 4))}, np.arange(count, dtype=np.int64) % 3
    )


def texts(count, length=32, seed=0):
    """Text n has tokens n + 1 and a random length."""
    lengths = np.random.default_rng(seed).integers(1, length, count, endpoint=True)
    mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
    ids = (np.arange(count)[:, None] + 1) * mask
    return LabelledSet({"input_ids": ids, "attention_mask": mask}, np.arange(count) % 2), lengths


def seen(batches, number, skip=0):
    return [inputs["image"][:, 0, 0, 0].tolist() for inputs, _ in batches.epoch(number, skip)]


def test_types_shapes_and_labels_that_belong_to_their_samples():
    batches = list(Batches(images(10), 4, 0).epoch(0))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    for inputs, labels in batches:
        assert inputs["image"].dtype == torch.uint8
        assert inputs["image"].shape[1:] == (1, 4, 4)
        assert labels.dtype == torch.int64
        assert torch.equal(inputs["image"][:, 0, 0, 0] % 3, labels)


def test_an_epoch_holds_every_sample_once_in_an_order_of_seed_and_epoch():
    one, same, other = (Batches(images(50), 8, seed) for seed in (3, 3, 4))
    first = seen(one, 0)
    assert sorted(chain(*first)) == list(range(50))
    assert first == seen(same, 0)
    assert first != seen(one, 1)
    assert first != seen(other, 0)
    assert list(chain(*first)) != list(range(50))


def test_what_was_seen_before_changes_nothing():
    fresh, used = Batches(images(50), 8, 3), Batches(images(50), 8, 3)
    seen(used, 0), seen(used, 5)
    assert seen(used, 2) == seen(fresh, 2)


@pytest.mark.parametrize("skip", [0, 1, 5, 7, 9])
def test_skipping_leaves_out_the_first_batches_and_augments_the_rest_the_same(skip):
    batches = Batches(images(50), 8, 3, augment=Augment(flip=True))
    whole = [inputs["image"] for inputs, _ in batches.epoch(1)]
    rest = [inputs["image"] for inputs, _ in batches.epoch(1, skip)]
    assert len(rest) == max(0, len(whole) - skip)
    assert all(torch.equal(a, b) for a, b in zip(whole[skip:], rest, strict=True))


def test_without_shuffling_the_order_is_the_data_sets():
    batches = Batches(images(10), 4, 0, shuffle=False)
    assert seen(batches, 0) == seen(batches, 1) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_last_batch_of_one_sample_joins_the_one_before():
    assert [len(batch) for batch in seen(Batches(images(9), 4, 0), 0)] == [4, 5]
    assert [len(batch) for batch in seen(Batches(images(9), 4, 0, shuffle=False), 0)] == [4, 4, 1]
    assert [len(batch) for batch in seen(Batches(images(3), 1, 0), 0)] == [1, 1, 1]
    assert [len(batch) for batch in seen(Batches(images(1), 4, 0), 0)] == [1]
    assert len(Batches(images(9), 4, 0)) == 2


class TestTexts:
    def test_a_batch_ends_with_its_longest_text_rounded_up_to_8(self):
        data, lengths = texts(100)
        for inputs, _ in Batches(data, 8, 0).epoch(0):
            rows = inputs["input_ids"][:, 0].numpy() - 1
            longest = lengths[rows].max()
            width = inputs["input_ids"].shape[1]
            assert width == min(32, -(-longest // 8) * 8)
            assert inputs["attention_mask"].shape == inputs["input_ids"].shape
            assert np.array_equal(inputs["attention_mask"].sum(1).numpy(), lengths[rows])

    def test_texts_of_similar_length_share_a_batch(self):
        data, lengths = texts(800, length=128)
        bucketed = list(Batches(data, 8, 0).epoch(0))
        plain = list(Batches(data, 8, 0, bucket=False).epoch(0))
        assert {inputs["input_ids"].shape[1] for inputs, _ in plain} == {128}
        cells = sum(inputs["input_ids"].numel() for inputs, _ in bucketed)
        tokens = lengths.sum()
        # Nothing can save more than rounding to 8 allows; random batches would waste 40 percent.
        assert tokens < cells < 1.12 * tokens
        order = torch.cat([inputs["input_ids"][:, 0] for inputs, _ in bucketed])
        assert sorted(order.tolist()) == list(range(1, 801))

    def test_batches_of_long_and_short_texts_come_mixed(self):
        data, _ = texts(800, length=128)
        widths = [inputs["input_ids"].shape[1] for inputs, _ in Batches(data, 8, 0).epoch(0)]
        rises = sum(low < high for low, high in pairwise(widths))
        assert 0.25 * len(widths) < rises < 0.75 * len(widths)

    def test_padding_on_the_left_is_not_cut_into_the_text(self):
        mask = np.asarray([[0] * 20 + [1] * 4, [0] * 22 + [1] * 2], dtype=np.int64)
        data = LabelledSet({"input_ids": mask * 7, "attention_mask": mask}, np.asarray([0, 1]))
        (inputs, _), *_ = Batches(data, 2, 0).epoch(0)
        assert inputs["attention_mask"].sum() == 6

    def test_without_shuffling_the_order_stays_but_padding_is_cut(self):
        data, lengths = texts(16)
        batches = list(Batches(data, 4, 0, shuffle=False).epoch(0))
        order = torch.cat([inputs["input_ids"][:, 0] for inputs, _ in batches])
        assert order.tolist() == list(range(1, 17))
        assert [inputs["input_ids"].shape[1] for inputs, _ in batches] == [
            -(-int(lengths[start : start + 4].max()) // 8) * 8 for start in range(0, 16, 4)
        ]


class TestSharding:
    @pytest.mark.parametrize("count", [48, 50, 57])
    def test_processes_take_turns_in_one_order(self, count):
        whole = seen(Batches(images(count), 8, 3), 1)
        ranks = [Batches(images(count), 8, 3, rank=rank, world=3) for rank in range(3)]
        parts = [seen(batches, 1) for batches in ranks]
        assert {len(part) for part in parts} == {len(ranks[0])} == {-(-len(whole) // 3)}
        turns = [parts[index % 3][index // 3] for index in range(3 * len(parts[0]))]
        assert turns == [*whole, *whole[: len(turns) - len(whole)]]

    def test_more_processes_than_batches_still_have_one_each(self):
        parts = [seen(Batches(images(6), 4, 0, rank=rank, world=5), 0) for rank in range(5)]
        assert [len(part) for part in parts] == [1] * 5

    def test_evaluation_sees_every_sample_exactly_once(self):
        parts = [Batches(images(50), 8, 0, shuffle=False, rank=rank, world=3) for rank in range(3)]
        assert [len(part) for part in parts] == [3, 2, 2]
        found = [sample for part in parts for batch in seen(part, 0) for sample in batch]
        assert sorted(found) == list(range(50))

    def test_an_empty_set_has_no_batches(self):
        for shuffle in (True, False):
            batches = Batches(images(3).take(np.zeros(0, dtype=int)), 4, 0, shuffle=shuffle)
            assert (len(batches), list(batches.epoch(0))) == (0, [])


class TestAugment:
    picture = np.arange(28 * 28, dtype=np.int64).reshape(1, 1, 28, 28)

    def all_of(self, augment, count=400):
        many = np.repeat(self.picture, count, axis=0)
        return augment.apply(many, np.random.default_rng(0))

    def test_shifts_of_up_to_one_pixel_of_28_each_way(self):
        out = self.all_of(Augment())
        # The value at (14, 14) tells which pixel of the original came there.
        rows, columns = np.divmod(out[:, 0, 14, 14], 28)
        found = set(zip(rows - 14, columns - 14, strict=True))
        assert found == {(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)}
        moved = out[np.flatnonzero((rows == 15) & (columns == 14))[0], 0]
        assert np.array_equal(moved[:-1], self.picture[0, 0, 1:])
        assert np.array_equal(moved[-1], self.picture[0, 0, -1])

    def test_half_of_the_images_are_mirrored(self):
        out = self.all_of(Augment(shift=False, flip=True))
        mirrored = out[:, 0, 0, 0] == 27
        assert 160 < mirrored.sum() < 240
        assert np.array_equal(out[mirrored][0], self.picture[0, :, :, ::-1])
        assert np.array_equal(out[~mirrored][0], self.picture[0])

    def test_channels_move_together_and_the_type_stays(self):
        colour = np.repeat(self.picture, 3, axis=1).astype(np.uint8)
        out = Augment(flip=True).apply(colour, np.random.default_rng(1))
        assert out.dtype == np.uint8
        assert out.shape == colour.shape
        assert np.array_equal(out[:, 0], out[:, 1])

    def test_every_epoch_and_batch_draws_anew_and_the_data_set_stays(self):
        same = LabelledSet({"image": np.repeat(self.picture, 16, axis=0)}, np.zeros(16, np.int64))
        before = same.inputs["image"].copy()
        batches = Batches(same, 4, 0, augment=Augment())
        first, second = ([i["image"] for i, _ in batches.epoch(e)] for e in (0, 1))
        again = [inputs["image"] for inputs, _ in batches.epoch(0)]
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not torch.equal(first[0], first[1])
        assert not torch.equal(first[0], second[0])
        assert np.array_equal(same.inputs["image"], before)

    def test_texts_are_left_alone(self):
        data, _ = texts(8)
        plain = list(Batches(data, 4, 0).epoch(0))
        told = list(Batches(data, 4, 0, augment=Augment()).epoch(0))
        assert all(
            torch.equal(a["input_ids"], b["input_ids"])
            for (a, _), (b, _) in zip(plain, told, strict=True)
        )
