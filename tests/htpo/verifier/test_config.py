# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Every option: its default, its other value, and what is refused."""

from dataclasses import FrozenInstanceError, fields

import pytest

from recipe.htpo.verifier import VerifierConfig, verify

# option, its other value, response, ground truth, reason by default, reason with the other value
POLICIES = [
    ("answer_lines", False, "Answer: 5", "5", "equal", "extraction"),
    ("answer_phrases", False, "The answer is 5.", "5", "equal", "extraction"),
    ("accept_unclosed_box", True, r"\boxed{5", "5", "extraction", "equal"),
    ("join_adjacent_boxes", False, r"\boxed{4}, \boxed{5}", "5", "refused_multiple", "equal"),
    ("require_evaluated", "never", r"\boxed{17 \cdot 23}", "391", "format", "equal"),
    ("require_evaluated", "number", r"\boxed{1 - \frac{4}{7}}", r"\frac{3}{7}", "equal", "format"),
    ("percent_either", False, r"\boxed{25\%}", "25", "equal", "not_equal"),
    ("degrees_as_radians", False, r"\boxed{\frac{\pi}{4}}", r"45^\circ", "equal", "not_equal"),
    ("ratio_as_fraction", False, r"\boxed{\frac{3}{4}}", "3:4", "equal", "not_equal"),
    ("bare_list_as_tuple", False, r"\boxed{1, 2}", "(1, 2)", "equal", "refused_multiple"),
    ("vector_as_tuple", False, r"\boxed{\langle 1,2 \rangle}", "(1, 2)", "equal", "not_equal"),
    ("base_optional", False, r"\boxed{204}", "204_5", "equal", "not_equal"),
    ("choice_prefix", False, r"\boxed{(B) 26}", "26", "equal", "not_equal"),
    ("expression_label", False, r"\boxed{x + y = 5}", "5", "equal", "not_equal"),
    ("ignore_unknown_units", False, r"\boxed{5\text{ apples}}", "5", "equal", "not_equal"),
    ("decimal_rel_tol", 0.01, r"\boxed{1.414}", r"\sqrt{2}", "not_equal", "equal"),
    ("tail_chars", 20, r"\boxed{5} and this is long text", "5", "equal", "extraction"),
    ("max_answer_chars", 4, r"\boxed{5.0000}", "5", "equal", "over_limit"),
    ("max_tokens", 4, r"\boxed{x+1+1+1+1+1}", "x+5", "equal", "over_limit"),
    ("max_depth", 3, r"\boxed{((((x))))}", "x", "equal", "over_limit"),
    ("max_items", 2, r"\boxed{3,2,1}", "1,2,3", "equal", "over_limit"),
    ("max_bits", 64, r"\boxed{x+2^{100}-2^{100}}", "x", "equal", "not_equal"),
    ("max_exponent", 9, r"\boxed{x^{10} \cdot 2^{10}}", r"1024x^{10}", "equal", "not_equal"),
    ("max_factorial", 3, r"\boxed{\frac{4!}{4}}", r"\frac{12}{2}", "equal", "over_limit"),
]


@pytest.mark.parametrize("option, value, response, truth, by_default, otherwise", POLICIES)
def test_policy(option, value, response, truth, by_default, otherwise):
    assert verify(response, truth).reason == by_default
    assert verify(response, truth, VerifierConfig(**{option: value})).reason == otherwise


def test_every_option_has_a_policy_test():
    """``refuse_copied`` needs a problem: test_copied.py."""
    assert {policy[0] for policy in POLICIES} | {"refuse_copied"} == set(VerifierConfig.names())


def test_every_option_is_documented():
    import inspect

    source = inspect.getsource(VerifierConfig)
    for field in fields(VerifierConfig):
        after = source.split(f"    {field.name}: ")[1].split("\n", 1)[1]
        assert after.lstrip().startswith('"""'), field.name


def test_unknown_option_lists_the_valid_ones():
    with pytest.raises(ValueError, match="unknown verifier option percent; valid options: answer_lines, .*max_bits"):
        VerifierConfig.from_dict({"percent": True})
    assert VerifierConfig.from_dict({"tail_chars": 10}).tail_chars == 10


@pytest.mark.parametrize(
    "options, message",
    [
        ({"tail_chars": 0}, "tail_chars must be at least 1"),
        ({"tail_chars": "9"}, "tail_chars must be int"),
        ({"tail_chars": True}, "tail_chars must be int"),
        ({"answer_lines": 1}, "answer_lines must be bool"),
        ({"require_evaluated": "all"}, "require_evaluated must be one of integer, number, never"),
        ({"decimal_rel_tol": 1.0}, "decimal_rel_tol must be in"),
        ({"decimal_rel_tol": float("nan")}, "decimal_rel_tol must be in"),
        ({"max_bits": 20_000}, "max_bits must be at most 14000"),
    ],
)
def test_wrong_values(options, message):
    with pytest.raises(ValueError, match=message):
        VerifierConfig(**options)


def test_frozen_and_hashable():
    config = VerifierConfig(decimal_rel_tol=0)
    assert hash(config) == hash(VerifierConfig()) and config.decimal_rel_tol == 0.0
    with pytest.raises(FrozenInstanceError):
        config.tail_chars = 5
