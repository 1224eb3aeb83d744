# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The stages one by one: extraction, normalisation, parsing, evaluation, and checks of ground truths."""

from decimal import Context, Decimal, localcontext
from fractions import Fraction

import pytest

from recipe.htpo.verifier import VerifierConfig, ground_truth_problem, verify
from recipe.htpo.verifier.errors import Undefined, Unreadable
from recipe.htpo.verifier.evaluate import PLAIN, evaluate
from recipe.htpo.verifier.extract import extract_answer
from recipe.htpo.verifier.literal import parse_literal
from recipe.htpo.verifier.normalize import normalize
from recipe.htpo.verifier.numbers import Arithmetic
from recipe.htpo.verifier.parser import parse
from recipe.htpo.verifier.units import parse_unit

CONFIG = VerifierConfig()


@pytest.mark.parametrize(
    "response, answer, problem",
    [
        (r"a \boxed{5} b", "5", None),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}", None),
        (r"\boxed{1}, \boxed{2}", "1 , 2", None),
        (r"\boxed{1} and \boxed{1}", "1", None),
        (r"\boxed{\{1,2\}}", r"\{1,2\}", None),
        ("Answer: **$5$**", "5", None),
        ("Answer: $5$ apples", r"5\text{ apples}", None),
        ("nothing", "", "extraction"),
        (r"\boxed{1", "", "extraction"),
        (r"\boxed{1} or \boxed{2", "", "extraction"),
        (r"\boxed{1} or 2", "1", None),
        (r"2 or \boxed{1}", "", "refused_multiple"),
        (r"\boxed{" + "1" * 3000 + "}", "", "over_limit"),
    ],
)
def test_extraction(response, answer, problem):
    found = extract_answer(response, CONFIG)
    assert (found.text, found.problem) == (answer, problem)
    assert found.other == ("2" if response.endswith("or 2") else "")


def test_extraction_reads_a_bounded_tail():
    """The work cannot depend on what stands before the tail: the result does not."""
    tail = "x" * (CONFIG.tail_chars - 10)
    for head in ("", r"\boxed{7}" * 100_000, "{" * 1_000_000, "Answer: 3\n" * 100_000):
        assert extract_answer(head + r" so \boxed{5" + tail, CONFIG).problem == "extraction"
        assert extract_answer(head + r" so \boxed{5} ", CONFIG).text == "5"


@pytest.mark.parametrize(
    "text, normal",
    [
        ("−3", "-3"),
        ("½", r"\frac{1}{2}"),
        ("x²", "x^{2}"),
        (r"\dfrac{1}{2}", r"\frac{1}{2}"),
        (r"\left( 1, 2 \right)", "( 1, 2 )"),
        (r"1{,}000", "1000"),
        (r"1\,000\,000", "1000000"),
        ("8 556", "8556"),
        ("３４", "34"),
        ("3\u200b4", "34"),
        (r"45^{\circ}", r"45\degree"),
        (r"\text{34}", "34"),
        (r"x^{\prime}", "x'"),
        ("3 4", "3 4"),
        ("5.", "5"),
    ],
)
def test_normalisation(text, normal):
    assert normalize(text) == normal
    assert normalize(normalize(text)) == normal


@pytest.mark.parametrize(
    "text, value",
    [
        ("007", 7),
        ("-1,234", -1234),
        ("1.50", Fraction(3, 2)),
        (r"\frac{3}{-6}", Fraction(-1, 2)),
        ("3/4", Fraction(3, 4)),
        ("12,34", None),
        ("1/0", None),
        ("x", None),
        (".", None),
        ("9" * 5000, None),
    ],
)
def test_literals(text, value):
    assert parse_literal(text, CONFIG) == value


def number(text):
    return evaluate(parse(normalize(text), CONFIG), {}, Arithmetic(CONFIG), PLAIN)


@pytest.mark.parametrize(
    "text, value",
    [
        (r"2\frac{1}{4}", Fraction(9, 4)),
        (r"\frac34", Fraction(3, 4)),
        (r"\frac{1}{72}\cdot 8", Fraction(1, 9)),
        ("2^{-3}", Fraction(1, 8)),
        ("-2^2", -4),
        ("2^{3^2}", 512),
        ("8/4/2", 1),
        (r"\sqrt{\frac{4}{9}}", Fraction(2, 3)),
        (r"\sqrt[3]{-27}", -3),
        ("8^{2/3}", 4),
        (r"\binom{5}{2}!", 3628800),
        (r"|{-3}|+|2-|{-7}||", 8),
        (r"\lfloor -2.5 \rfloor", -3),
        (r"\gcd(12, 18) + \max(1, 5)", 11),
        (r"17 \bmod 5", 2),
        (r"0.1\overline{6}", Fraction(1, 6)),
        ("1.5e-3", Fraction(3, 2000)),
        ("30%", Fraction(3, 10)),
    ],
)
def test_exact_values(text, value):
    result = number(text)
    assert isinstance(result, Fraction) and result == value


# 45 digits, from published tables of constants.
@pytest.mark.parametrize(
    "text, digits",
    [
        (r"\sqrt{2}", "1.41421356237309504880168872420969807856967188"),
        (r"\ln 2", "0.693147180559945309417232121458176568075500134"),
        (r"e^{\pi}", "23.1406926327792690057290863679485473802661062"),
        (r"\sin 1", "0.841470984807896506652502321630298999622563061"),
        (r"\cos 1", "0.540302305868139717400936607442976603732310421"),
        (r"\arctan\frac12", "0.463647609000806116214256231461214402028537054"),
        (r"\sqrt[3]{2}", "1.25992104989487316476721060727822835057025146"),
        (r"\frac{1+\sqrt5}{2}", "1.61803398874989484820458683436563811772030918"),
        (r"\sin 10^{6}", "-0.349993502171292952117652486780771469061406606"),
        (r"\tan 89.999^\circ", "57295.77950726455670336557673692926714230029179"),
    ],
)
def test_sixty_digit_values(text, digits):
    value = number(text)
    places = len(digits.split(".")[1]) - 1
    assert abs(Context(prec=80).subtract(value, Decimal(digits))) < Decimal(10) ** -places


def test_values_do_not_depend_on_the_callers_decimal_context():
    with localcontext() as context:
        context.prec = 3
        assert verify(r"\boxed{\frac{1}{\sqrt{5}+2}}", r"\sqrt{5}-2").correct
        assert not verify(r"\boxed{1.4142}", r"\sqrt{2}").correct


@pytest.mark.parametrize(
    "text", [r"\frac{1}{0}", r"\ln 0", r"0^{-1}", r"\frac{1}{\sqrt{2}^2-2}", r"\tan 90^\circ", "x"]
)
def test_undefined_values(text):
    with pytest.raises(Undefined):
        number(text)


@pytest.mark.parametrize("text", ["1 2", "(1,2", "1+", r"\frac{1}", "|x", r"\u0035", "5?", "", "2**3", r"\begin{foo}1"])
def test_unreadable_texts(text):
    with pytest.raises(Unreadable):
        parse(text, CONFIG)


@pytest.mark.parametrize(
    "text, size, factor",
    [
        ("cm", Fraction(1, 100), 1),
        ("square meters", 1, 1),
        ("km/h", Fraction(5, 18), 1),
        ("million dollars", 1, 10**6),
        ("dozens cm", Fraction(1, 100), 12),
        ("degrees C", 1, 1),
        (r"\degree F", 1, 1),
    ],
)
def test_units(text, size, factor):
    unit, times = parse_unit(text)
    assert unit.size == size and unit.dimensions and times == factor


@pytest.mark.parametrize("text", ["or", "more than", "not", "or 6", "apples 5", "twelfths"])
def test_words_that_are_no_unit(text):
    with pytest.raises(Unreadable):
        parse_unit(text)


@pytest.mark.parametrize(
    "truth, problem",
    [
        (None, "must be a string or a list of strings, got NoneType"),
        (5, "must be a string or a list of strings, got int"),
        (["1", 2], "must be a string or a list of strings"),
        ("", "is empty"),
        ("$ $", "is empty"),
        ([], "is empty"),
        (["1", ""], "is empty"),
        ("30\\", "ends with a backslash"),
        ("1}{2", "do not balance"),
        (r"\frac{1}{2", "braces of the ground truth do not balance"),
        ("1" * 3000, "longer than max_answer_chars"),
        (r"\int_0^1 f", "no mathematics that the verifier reads"),
        ("((" * 100 + "1" + "))" * 100, "exceeds a limit"),
        ("34", None),
        (["$1$", "$2$"], None),
        (r"\text{(B)}", None),
        (r"\text{Evelyn}", None),
    ],
)
def test_ground_truth_problems(truth, problem):
    found = ground_truth_problem(truth)
    assert found is None if problem is None else problem in found


def test_unreadable_ground_truth_equals_the_same_text():
    truth = r"\int_0^1 f(x)\,dx"
    assert verify(r"\boxed{\int_0^1 f(x) dx}", truth).correct
    assert not verify(r"\boxed{\int_0^2 f(x) dx}", truth).correct


def test_unusable_ground_truth_is_a_reason():
    assert verify(r"\boxed{}", None).reason == "ground_truth"
    assert verify(r"\boxed{\frac{1}{2}", r"\frac{1}{2").reason == "ground_truth"
