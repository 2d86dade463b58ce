"""Certificates on disk and at the dial; files from before they existed."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from edgeexit.budget import Budget
from edgeexit.bundle.certificate import Certificate, CertifiedBudget
from edgeexit.bundle.exits import CostTable, ExitFamily, mixed_thresholds
from edgeexit.bundle.exits_file import exits_bytes, parse_exits
from edgeexit.errors import BudgetError, BundleError
from edgeexit.runtime.dial import Dial

CERTIFICATE = Certificate(
    confidence=0.95,
    unit="group",
    units=70,
    unlabelled=10,
    budgets=(
        CertifiedBudget(Budget(0.2), 0.0),
        CertifiedBudget(Budget(0.5), 0.75),
        CertifiedBudget(Budget(1.0), 2.0),
    ),
    max_drop=1.0,
    drop_position=0.5,
)


def make_family(**changes):
    family = ExitFamily(
        policy="gain-soft",
        manifest_digest="0" * 64,
        gate="statistics",
        gate_version=1,
        params=((1.0, 0.5),) * 2,
        thresholds=np.array([[-9.0, -9.0], [0.5, 0.1], [9.0, 9.0]]),
        shares=np.array([[1.0, 0.0, 0.0], [0.5, 0.25, 0.25], [0.0, 0.0, 1.0]]),
        quality=np.array([0.7, 0.85, 0.9]),
        quality_kind="accuracy",
        per_exit_quality=np.array([0.7, 0.8, 0.9]),
        discrete=False,
        costs={"flops": CostTable("flops", (0.2, 0.5, 1.0), 1.0)},
        samples=1000,
        data_sha256="1" * 64,
        budget=Budget(0.5),
    )
    return replace(family, **changes)


def body(family):
    return json.loads(b"\n".join(exits_bytes(family).split(b"\n")[1:-2]))


def test_a_certificate_survives_the_file():
    latency = CostTable("latency", (1.0, 2.0, 3.0), 2.9, "here", (0.01, 0.02, 0.05))
    family = make_family(certificate=CERTIFICATE)
    family = replace(family, costs={**family.costs, "latency": latency})
    read = parse_exits(exits_bytes(family), "exits.json")
    assert read.certificate == CERTIFICATE
    assert read.costs == family.costs


def test_a_file_without_certificate_is_one_that_older_readers_know():
    written = body(make_family())
    assert "certificate" not in written
    assert set(written["costs"]["flops"]) == {"kind", "per_exit", "static", "fingerprint"}
    read = parse_exits(exits_bytes(make_family()), "exits.json")
    assert read.certificate is None
    assert read.costs["flops"].errors == ()


def test_a_budget_snaps_down():
    family = make_family(certificate=CERTIFICATE)
    assert family.position(Budget(0.99)) == 0.75
    assert family.position(Budget(0.5)) == 0.75
    assert family.position(Budget(0.4999)) == 0.0
    assert make_family().position(Budget(0.99)) > 1.9
    thresholds = family.settings(Budget(0.6)).thresholds
    np.testing.assert_allclose(thresholds, [-9 + 0.75 * 9.5, -9 + 0.75 * 9.1], rtol=1e-6)


def test_a_budget_of_another_kind_is_not_certified():
    latency = CostTable("latency", (1.0, 2.0, 3.0), 2.9, "here")
    family = make_family(certificate=CERTIFICATE)
    family = replace(family, costs={**family.costs, "latency": latency})
    with pytest.raises(BudgetError, match=r"not among the certified ones of kind flops: 0.2, 0.5"):
        family.position(Budget(2.0, "latency"))


@pytest.mark.parametrize(("estimated", "mark"), [(True, " (estimated)"), (False, "")])
def test_budgets_that_are_not_certified_say_what_is_estimated(estimated, mark):
    energy = CostTable("energy", (10.0, 20.0, 40.0), 40.0, "here", estimated=estimated)
    certified = tuple(CertifiedBudget(Budget(value, "energy"), 1.0) for value in (20.0, 40.0))
    certificate = replace(CERTIFICATE, budgets=certified)
    family = make_family(certificate=certificate, costs={"energy": energy})
    with pytest.raises(BudgetError) as caught:
        family.position(Budget(15.0, "energy"))
    assert caught.value.message == (
        f"budget 15 mJ{mark} is not among the certified ones of kind energy: "
        f"20 mJ{mark}, 40 mJ{mark}."
    )


def test_the_dial_says_which_budget_is_certified():
    dial = Dial.make((), make_family(certificate=CERTIFICATE), Budget(0.7), "here")
    assert (dial.budget, dial.certified) == (Budget(0.7), Budget(0.5))
    assert Dial.make((), make_family(), Budget(0.7), "here").certified is None


def test_what_a_certificate_says_of_a_drop():
    assert not CERTIFICATE.keeps_drop(0.49)
    assert CERTIFICATE.keeps_drop(0.5)
    assert not replace(CERTIFICATE, drop_position=None).keeps_drop(2.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"confidence": 1.0},
        {"confidence": 0.0},
        {"units": 0},
        {"unlabelled": -1},
        {"budgets": ()},
        {"budgets": CERTIFICATE.budgets[::-1]},
        {"budgets": (CertifiedBudget(Budget(2.0, "latency"), 0.0),)},
        {"budgets": (CertifiedBudget(Budget(0.2), 2.5),)},
        {"budgets": (CertifiedBudget(Budget(0.2), 1.0), CertifiedBudget(Budget(0.3), 0.5))},
        {"max_drop": None},
        {"drop_position": 7.0},
    ],
)
def test_a_certificate_that_contradicts_itself(changes):
    with pytest.raises(BundleError, match="exit family: certificate"):
        make_family(certificate=replace(CERTIFICATE, **changes))


@pytest.mark.parametrize("errors", [(0.1,), (0.1, -0.1, 0.1), (0.1, float("nan"), 0.1)])
def test_errors_that_do_not_fit_the_costs(errors):
    table = CostTable("flops", (0.2, 0.5, 1.0), 1.0, "", errors)
    with pytest.raises(BundleError, match="must have no errors or 3"):
        make_family(costs={"flops": table})


def test_mixed_thresholds_stay_nested_after_rounding():
    table = np.array([[-1e30, -1e30], [0.1, 0.2], [0.1, 0.7], [1e30, 1e30]])
    table = table.astype(np.float32).astype(np.float64)
    mixed = np.stack([mixed_thresholds(table, p) for p in np.linspace(0, 3, 4001)])
    assert (np.diff(mixed, axis=0) >= 0).all()
    np.testing.assert_array_equal(mixed_thresholds(table, 2.0), table[2].astype(np.float32))
