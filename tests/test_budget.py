"""What a budget may be written as, and how it is written out."""

from __future__ import annotations

import pytest

from edgeexit.budget import Budget
from edgeexit.errors import BudgetError


@pytest.mark.parametrize(
    ("text", "budget", "words", "typed"),
    [
        (0.5, Budget(0.5), "0.5", "0.5"),
        (" 1e-1 ", Budget(0.1), "0.1", "0.1"),
        ("8ms", Budget(8.0, "latency"), "8 ms", "8ms"),
        ("40mJ", Budget(40.0, "energy"), "40 mJ", "40mJ"),
        (".5 mJ", Budget(0.5, "energy"), "0.5 mJ", "0.5mJ"),
        ("0.04J", Budget(40.0, "energy"), "40 mJ", "40mJ"),
        ("2 J", Budget(2000.0, "energy"), "2000 mJ", "2000mJ"),
    ],
)
def test_units(text, budget, words, typed):
    found = Budget.parse(text)
    assert found == budget
    assert (str(found), found.typed) == (words, typed)
    assert Budget.parse(found) is found
    assert Budget.parse(found.typed) == found


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "0mJ", "mJ", "40 mj", "40MJ", "40kJ", "8s", "nan", "1e999", "1e308J"]
)
def test_what_is_none(text):
    with pytest.raises(BudgetError, match=r"or followed by ms .*, mJ or J") as caught:
        Budget.parse(text)
    assert repr(text) in caught.value.message
    assert caught.value.hint == "write for example 0.5, 8ms or 40mJ."
    assert caught.value.code == "budget.syntax"
