# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Nothing raises, and no input makes the verifier slower than linear: long runs of one character in every place."""

import importlib
import pkgutil
import re
import time

import pytest

import recipe.htpo.verifier as package
from recipe.htpo.reward import compute_score
from recipe.htpo.verifier import grade, verify
from recipe.htpo.verifier.normalize import normalize, squeeze

RUNS = [
    *" \t\n$\\{}()[],.;:*_^/|-+=<>aA1答或、&~'\"!?%#",
    r"\(",
    r"\[",
    "$x",
    "1,",
    ". A",
    "or ",
    r"\text{",
    r"\boxed{",
]
PLACES = {
    "in a box": r"\boxed{{5{}$x}}",
    "behind a box": r"\boxed{{5}} {}",
    "behind a box and an or": r"\boxed{{5}} or{}",
    "between boxes": r"\boxed{{5}}{}\boxed{{5}}",
    "in an answer line": "Answer: 5{}x",
    "behind answer": "answer{} is",
    "behind a Chinese answer": "答案{}",
    "in a text command": r"\text{{answer{}",
    "in a text command of a box": r"\boxed{{5\text{{{}}}}}",
    "alone": "{}",
}


@pytest.mark.parametrize("truth", ["1,2", r"\{1,2\}", "(1,2)", "|1,000|", r"\lfloor 1,000 \rfloor"])
@pytest.mark.parametrize(
    "answer", ["|1,000|", r"\lfloor 1,000 \rfloor", r"\begin{pmatrix} 1,000 & 2 \end{pmatrix}", "1,000", "1,2"]
)
def test_separators_in_odd_places_raise_nothing(answer, truth, caplog):
    assert verify(rf"\boxed{{{answer}}}", truth).reason != "internal_error", caplog.text
    assert compute_score("math", rf"\boxed{{{answer}}}", truth)["acc"] in (0.0, 1.0)
    assert not caplog.records


def test_a_defect_ends_in_a_reason(monkeypatch, caplog):
    monkeypatch.setattr(grade, "extract_answer", lambda response, config: 1 / 0)
    assert verify(r"\boxed{5}", "5").reason == "internal_error"
    assert "the verifier raised" in caplog.text


def _seconds(response, truth):
    """CPU time, the least of three."""
    times = []
    for _ in range(3):
        start = time.process_time()
        assert verify(response, truth).reason != "internal_error"
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("place", PLACES)
def test_time_grows_no_faster_than_the_input(place):
    """Four times the run may take four times as long, and a millisecond; a quadratic pattern takes sixteen times."""
    for run in RUNS:
        short, long = (PLACES[place].format(run * (size // len(run))) for size in (450, 1800))
        for truth in ("5", "x+1"):
            assert _seconds(long, truth) < 8 * _seconds(short, truth) + 0.004, repr(run)


def patterns():
    """Every compiled pattern of the package, by name."""
    for module in pkgutil.iter_modules(package.__path__):
        namespace = vars(importlib.import_module(f"{package.__name__}.{module.name}"))
        yield from (
            (f"{module.name}.{name}", value) for name, value in namespace.items() if isinstance(value, re.Pattern)
        )


def _match_seconds(pattern, text):
    """CPU time of trying the pattern at every place from which it could look through the run, the least of three."""
    times = []
    for _ in range(3):
        start = time.process_time()
        for position in range(8):
            pattern.match(text, position)
            pattern.fullmatch(text, position)
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("pattern", [pytest.param(value, id=name) for name, value in patterns()])
def test_every_pattern_is_linear_from_where_it_starts(pattern):
    """White space is squeezed before a pattern sees it, and answers have at most 2,000 characters."""
    for run in RUNS:
        for before, after in (("", ""), ("5", "x"), ("answer", "}"), (r"\text", "{"), (r"\frac{1}", "")):
            short, long = (squeeze(before + run * (size // len(run)) + after, 8) for size in (450, 1800))
            assert _match_seconds(pattern, long) < 8 * _match_seconds(pattern, short) + 0.002, repr(run)


def test_squeezed_space_changes_no_answer():
    assert squeeze("a" + " " * 20 + "b" + " \n " * 9 + "c  d", 8) == "a" + " " * 8 + "b\nc  d"
    assert normalize(r"\frac{1}{2}" + " " * 50 + r"\text{ cm}") == normalize(r"\frac{1}{2} \text{ cm}")
    assert verify(r"\boxed{5" + " " * 1900 + "}", "5").correct
