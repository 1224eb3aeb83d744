# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Properties over random LaTeX, and the bounds that take the place of a time-out.

No test here measures time: latency is measured by ``python -m recipe.htpo.verifier.fuzz``.
"""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipe.htpo.verifier import VerifierConfig, ground_truth_problem, verify
from recipe.htpo.verifier.compare import Comparison
from recipe.htpo.verifier.errors import OverLimit, Unreadable
from recipe.htpo.verifier.fuzz import _BOMBS, main, mutate, random_latex
from recipe.htpo.verifier.grade import compare_answers
from recipe.htpo.verifier.nodes import Op
from recipe.htpo.verifier.normalize import normalize
from recipe.htpo.verifier.parser import parse

CONFIG = VerifierConfig()
FREE = VerifierConfig(require_evaluated="never", expression_label=False)
EXAMPLES = settings().max_examples
quick = settings(max_examples=3 * EXAMPLES)
long = settings(max_examples=50 * EXAMPLES)

PIECES = [
    r"\frac",
    r"\sqrt",
    r"\boxed",
    r"\text",
    r"\left",
    r"\right",
    r"\begin{pmatrix}",
    r"\end{pmatrix}",
    r"\pm",
    r"\cup",
]
PIECES += [
    r"\in",
    r"\infty",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "|",
    "^",
    "_",
    "+",
    "-",
    "*",
    "/",
    "=",
    "<",
    ",",
    ":",
    "!",
    "%",
]
PIECES += [
    "1",
    "23",
    "4.5",
    "x",
    "y",
    "n",
    "i",
    "e",
    r"\pi",
    "$",
    " ",
    "\n",
    "Answer:",
    "答案：",
    "or",
    "and",
    "−",
    "²",
    "½",
    "√",
]
latex = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
grammar = st.integers(min_value=0).map(lambda seed: random_latex(random.Random(seed)))
mutated = st.integers(min_value=0).map(lambda seed: mutate(random.Random(seed), random_latex(random.Random(seed))))
texts = st.one_of(latex, grammar, mutated, st.text(max_size=60))


def check_properties(answer, truth):
    verdict = verify(f"so \\boxed{{{answer}}}", truth)
    assert verdict.correct == (verdict.reason == "equal")
    assert verify(answer, truth).reason is not None
    assert verify(f"Answer: {answer}", truth).reason is not None
    if ground_truth_problem(truth) is None:
        assert verify(f"\\boxed{{{truth}}}", truth).correct
    a, b = normalize(answer), normalize(truth)
    assert (compare_answers(a, b, FREE) == "equal") == (compare_answers(b, a, FREE) == "equal")


@quick
@given(texts, texts)
def test_no_exception_self_equality_and_symmetry(answer, truth):
    check_properties(answer, truth)


@pytest.mark.long
@long
@given(texts, texts)
def test_no_exception_self_equality_and_symmetry_long(answer, truth):
    check_properties(answer, truth)


@quick
@given(st.fractions(max_denominator=10**6), st.fractions(max_denominator=10**6))
def test_fractions_are_equal_when_they_are(left, right):
    def written(value):
        return f"\\frac{{{value.numerator}}}{{{value.denominator}}}"

    assert verify(f"\\boxed{{{written(left)}}}", written(right)).correct == (left == right)
    assert verify(f"\\boxed{{{left.numerator}/{left.denominator}}}", written(left)).correct


@quick
@given(st.integers(-(10**30), 10**30), st.integers(-3, 3))
def test_integers_of_any_size(value, offset):
    assert verify(f"\\boxed{{{value + offset}}}", str(value)).correct == (offset == 0)
    assert verify(f"Answer: {value:,}", str(value)).correct


@quick
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=5), st.integers(-9, 9))
def test_polynomials_in_any_order(coefficients, change):
    terms = [f"{value}x^{{{power}}}" for power, value in enumerate(coefficients)]
    truth, answer = "+".join(terms), "+".join(reversed(terms))
    assert verify(f"\\boxed{{{answer}}}", truth).correct
    assert verify(f"\\boxed{{{answer}+{change}}}", truth).correct == (change == 0)


@pytest.mark.parametrize("bomb", _BOMBS, ids=lambda bomb: bomb[:20])
@pytest.mark.parametrize("filling", ["2", "9", "x"])
def test_bombs_stay_within_the_work_limit(bomb, filling):
    text = normalize(bomb.format(filling))
    try:
        tree = parse(text, CONFIG)
    except (OverLimit, Unreadable):
        return
    comparison = Comparison(FREE)
    for other in (parse("x+1", CONFIG), parse("5", CONFIG), Op("add", (parse("0", CONFIG), tree))):
        try:
            comparison.equal(tree, other)
        except OverLimit:
            pass
    arithmetic = comparison.scalars.ops
    assert arithmetic.work <= arithmetic.MOST_WORK + 1_000


def test_deep_recursion_of_the_caller_is_survived():
    def descend(levels):
        return verify(r"\boxed{" + "(" * 50 + "x" + ")" * 50 + "}", "x") if levels == 0 else descend(levels - 1)

    assert descend(700).reason in ("equal", "over_limit")


def test_fuzz_command(capsys):
    assert main(["--count", "200", "--seed", "7"]) == 0
    out = capsys.readouterr().out
    assert "200 inputs, seed 7: 0 problems" in out and "p99" in out
    assert main(["--count", "20", "--seed", "7", "--limit-ms", "0"]) == 1


def test_fuzz_command_needs_inputs(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--count", "0"])
    assert end.value.code == 2 and "--count must be at least 1, got 0" in capsys.readouterr().err
