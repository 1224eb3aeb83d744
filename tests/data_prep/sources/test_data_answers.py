# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Answer rules on what published files hold."""

import pytest

from data_prep.errors import DataError
from data_prep.sources.answers import ANSWER_RULES

CASES = [
    ("integer", 27.0, "27"),
    ("integer", "27.0", "27"),
    ("integer", "025", "25"),
    ("integer", "000", "0"),
    ("integer", "-0", "0"),
    ("integer", "-017", "-17"),
    ("integer", r"336^\circ", "336"),
    ("integer", r"336^{\circ}", "336"),
    ("integer", "336°", "336"),
    ("integer", "1,024", "1024"),
    ("integer", "$204$", "204"),
    ("integer", 12345678901234567890123, "12345678901234567890123"),
    ("gsm8k", "48/2 = <<48/2=24>>24\n#### 72", "72"),
    ("gsm8k", "so\n#### 1,080", "1080"),
    ("gsm8k", "so\n#### -3", "-3"),
    ("gsm8k", "so\n#### 2.50", "2.50"),
    ("boxed", r"first \boxed{1}, then \boxed{\frac{a}{b}} m", r"\frac{a}{b}"),
    ("boxed", r"\boxed{ \left\{ 1, 2 \right\} }", r"\left\{ 1, 2 \right\}"),
    ("boxed", r"\fbox{7}", "7"),
    ("math", r"$\frac{40}{9}$", r"\frac{40}{9}"),
    ("math", r"$1$ or $2$", r"$1$ or $2$"),
    ("math", r"Thus \boxed{(3, \pi)}.", r"(3, \pi)"),
    ("math", "0.5", "0.5"),
    ("list", ["$69$,$84$"], "69, 84"),
    ("list", ["$100$,$200$"], "100, 200"),
    ("list", ["100", "200"], "100, 200"),
    ("list", [69, 84.0], "69, 84"),
    ("list", ["1, 3, 5, 15"], "1, 3, 5, 15"),
    ("list", ["$(1,2)$", "$(3,4)$"], "(1,2), (3,4)"),
    ("list", [r"$(-\infty, 0) \cup\{1\}$."], r"(-\infty, 0) \cup\{1\}"),
    ("list", r"\$5", r"\$5"),
    ("verbatim", 3.0, "3"),
    ("verbatim", 0.25, "0.25"),
    ("verbatim", " x ", "x"),
]


@pytest.mark.parametrize(("rule", "value", "expected"), CASES)
def test_rule(rule: str, value: object, expected: str) -> None:
    assert ANSWER_RULES[rule](value) == expected


@pytest.mark.parametrize(
    ("rule", "value", "message"),
    [
        ("integer", "12.5", "not an integer: '12.5'"),
        ("integer", "1,02", "not an integer"),
        ("integer", "", "empty"),
        ("integer", True, "bool"),
        ("gsm8k", "no marker 5", "no '#### number'"),
        ("gsm8k", "#### five", "no '#### number'"),
        ("boxed", "no box", "no .boxed"),
        ("boxed", r"\boxed{1", "not closed"),
        ("boxed", r"\boxed{}", "empty"),
        ("list", [], "empty answer"),
        ("list", ["1", "$$"], "empty answer"),
        ("verbatim", float("nan"), "not a finite number"),
        ("verbatim", float("-inf"), "not a finite number"),
        ("verbatim", "NaN", "not a finite number"),
        ("math", "$-inf$", "not a finite number"),
        ("list", ["1", float("inf")], "not a finite number"),
        ("verbatim", None, "NoneType"),
        ("verbatim", {"a": 1}, "dict"),
    ],
)
def test_rule_rejects(rule: str, value: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ANSWER_RULES[rule](value)


@pytest.mark.parametrize("value", [["100", "200"], ["$100$,$200$"]])
def test_the_verifier_takes_a_list_as_one(value: list) -> None:
    """Two numbers of three digits are no number with a thousands separator."""
    verifier = pytest.importorskip("recipe.htpo.verifier")
    truth = ANSWER_RULES["list"](value)
    assert verifier.verify(r"\boxed{200,100}", truth).correct
    assert not verifier.verify(r"\boxed{100200}", truth).correct
