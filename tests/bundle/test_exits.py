"""Cost tables in ``exits.json``: what later versions added, and files from before."""

from __future__ import annotations

import dataclasses
import json

import pytest

from edgeexit.budget import Budget
from edgeexit.bundle.batch_costs import BatchCosts
from edgeexit.bundle.certificate import Certificate, CertifiedBudget
from edgeexit.bundle.exits import CostTable, TailLimit
from edgeexit.bundle.exits_file import exits_bytes, parse_exits
from edgeexit.bundle.jsonfile import seal_json
from edgeexit.errors import BudgetError, BundleError
from tests.bundle.fake_bundle import fake_family, write_fake

ENERGY = CostTable(
    "energy", (10.0, 20.0, 40.0), 38.0, "here", (0.1, 0.2, 0.3), True, "power mode 25W"
)


@pytest.fixture
def family(tmp_path):
    found = fake_family(write_fake(tmp_path / "b.eex"))
    return dataclasses.replace(found, costs={**found.costs, "energy": ENERGY})


def body(family):
    return json.loads(b"\n".join(exits_bytes(family).split(b"\n")[1:-2]))


def test_energies_survive_the_file(family):
    assert parse_exits(exits_bytes(family), "exits.json").costs == family.costs
    table = body(family)["costs"]["energy"]
    assert (table["estimated"], table["mode"]) == (True, "power mode 25W")


def test_what_says_nothing_is_left_out_so_that_older_readers_take_the_file(family):
    flops = body(family)["costs"]["flops"]
    assert set(flops) == {"kind", "per_exit", "static", "fingerprint"}


def test_a_file_from_before_loads(family):
    written = body(family)
    for key in ("estimated", "mode", "errors"):
        del written["costs"]["energy"][key]
    read = parse_exits(seal_json("exits", written)[0], "exits.json")
    assert read.costs["energy"] == CostTable("energy", (10.0, 20.0, 40.0), 38.0, "here")


@pytest.mark.parametrize(("key", "value"), [("estimated", 1), ("mode", None), ("method", "x")])
def test_other_values_and_keys_are_damage(family, key, value):
    written = body(family)
    written["costs"]["energy"][key] = value
    with pytest.raises(BundleError, match=rf"costs\.energy\.{key}"):
        parse_exits(seal_json("exits", written)[0], "exits.json")


def test_only_energies_may_be_estimated(family):
    latency = CostTable("latency", (1.0, 2.0, 3.0), 2.9, "here", estimated=True)
    with pytest.raises(BundleError, match=r"costs\[latency\] is estimated; only energies may be"):
        dataclasses.replace(family, costs={**family.costs, "latency": latency})


def test_words_for_budgets_say_what_is_estimated(family):
    assert family.stated(Budget(15.0, "energy")) == "15 mJ (estimated)"
    assert family.stated(Budget(0.5)) == "0.5"
    assert family.stated(Budget(8.0, "latency")) == "8 ms"
    measured = dataclasses.replace(ENERGY, estimated=False)
    family = dataclasses.replace(family, costs={"energy": measured})
    assert family.stated(Budget(15.0, "energy")) == "15 mJ"


def test_budgets_in_millijoules(family):
    # Mean costs of the three rows: 10, 20 and 40 mJ.
    assert family.position(Budget(20.0, "energy")) == pytest.approx(1.0)
    assert family.position(Budget(30.0, "energy")) == pytest.approx(1.5)
    with pytest.raises(BudgetError, match=r"cost from 10 mJ \(estimated\) to 40 mJ \(estimated\)"):
        family.position(Budget(41.0, "energy"))


LIMIT = TailLimit(0.95, 12.0, 11.5)


@pytest.fixture
def limited(family):
    latency = CostTable("latency", (1.0, 2.0, 3.0), 2.9, "here")
    costs = {**family.costs, "latency": latency}
    return dataclasses.replace(family, costs=costs, budget=Budget(2.0, "latency"), tail=LIMIT)


def test_a_limit_on_times_survives_the_file(limited, family):
    assert parse_exits(exits_bytes(limited), "exits.json").tail == LIMIT
    assert body(limited)["tail"] == {"level": 0.95, "limit": 12.0, "reached": 11.5}
    assert "tail" not in body(family)
    assert parse_exits(exits_bytes(family), "exits.json").tail is None


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"tail": TailLimit(1.0, 12.0, 11.5)}, "is of the level 1.0"),
        ({"tail": TailLimit(0.95, 12.0, 12.5)}, "reaches 12.5 ms of a limit of 12.0 ms"),
        ({"tail": TailLimit(0.95, 12.0, 0.0)}, "reaches 0.0 ms"),
        ({"tail": TailLimit(0.95, float("inf"), 1.0)}, "limit of inf ms"),
        ({"tail": TailLimit(0.95, 12.0, float("nan"))}, "reaches nan ms"),
        ({"budget": None}, "must come with a budget, and costs, in milliseconds"),
        ({"budget": Budget(0.5)}, "must come with a budget, and costs, in milliseconds"),
    ],
)
def test_a_limit_that_contradicts_itself(limited, changes, fault):
    with pytest.raises(BundleError, match=f"exit family: tail .*{fault}"):
        dataclasses.replace(limited, **changes)


IN_BATCHES = CostTable(
    "latency", (0.1, 0.2, 0.4), 0.38, "here", batch=BatchCosts("whole", 8, (0.1, 0.3, 0.4))
)


@pytest.fixture
def batched(family):
    return dataclasses.replace(family, costs={**family.costs, "latency": IN_BATCHES})


def test_costs_in_batches_survive_the_file(batched, family):
    assert parse_exits(exits_bytes(batched), "exits.json").costs == batched.costs
    written = body(batched)["costs"]["latency"]["batch"]
    assert written == {"mode": "whole", "size": 8, "per_row": [0.1, 0.3, 0.4]}
    assert "batch" not in body(batched)["costs"]["energy"]
    assert parse_exits(exits_bytes(family), "exits.json").costs["energy"].batch is None


def test_in_batches_the_knob_is_laid_out_by_their_costs(batched):
    assert batched.curve("latency").tolist() == [0.1, 0.3, 0.4]
    assert batched.position(Budget(0.2, "latency")) == pytest.approx(0.5)
    assert batched.position(Budget(0.35, "latency")) == pytest.approx(1.5)
    assert batched.stated(Budget(0.2, "latency")) == "0.2 ms (whole batches of 8)"
    with pytest.raises(
        BudgetError,
        match=r"cost from 0.1 ms \(whole batches of 8\) to 0.4 ms \(whole batches of 8\)",
    ):
        batched.position(Budget(0.05, "latency"))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"per_row": (0.1, 0.4)}, "must have 3 costs, one a row, has 2"),
        ({"per_row": (0.1, 0.4, 0.3)}, "must hold positive, finite numbers that do not fall"),
        ({"per_row": (0.0, 0.3, 0.4)}, "must hold positive, finite numbers that do not fall"),
        ({"per_row": (0.1, 0.3, float("nan"))}, "must hold positive, finite numbers"),
        ({"size": 1}, "has a size of 1; 2 is the least"),
    ],
)
def test_costs_in_batches_that_cannot_be(batched, changes, fault):
    batch = dataclasses.replace(IN_BATCHES.batch, **changes)
    table = dataclasses.replace(IN_BATCHES, batch=batch)
    with pytest.raises(BundleError, match=rf"costs\[latency\]\.batch {fault}"):
        dataclasses.replace(batched, costs={**batched.costs, "latency": table})


def test_a_mode_that_is_none_is_damage(batched):
    written = body(batched)
    written["costs"]["latency"]["batch"]["mode"] = "single"
    with pytest.raises(BundleError, match=r"costs\.latency\.batch\.mode"):
        parse_exits(seal_json("exits", written)[0], "exits.json")


def test_only_times_are_known_in_batches(family):
    table = dataclasses.replace(ENERGY, batch=IN_BATCHES.batch)
    with pytest.raises(BundleError, match="only times are known in batches"):
        dataclasses.replace(family, costs={"energy": table})


def test_costs_in_batches_cannot_be_certified(batched):
    entry = CertifiedBudget(Budget(0.3, "latency"), 1.0)
    certificate = Certificate(0.95, "sample", 100, 0, (entry,), None, None)
    with pytest.raises(BundleError, match="costs in batches, which do not add up"):
        dataclasses.replace(batched, certificate=certificate)
