# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Nothing raises, and no input makes the verifier slower than linear: long runs of one character in every place."""

import importlib
import inspect
import pkgutil
import re
import time

import pytest

import recipe.htpo.verifier as package
from recipe.htpo.reward import compute_score
from recipe.htpo.verifier import compare, grade, verify
from recipe.htpo.verifier.signs import expand_signs

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


def test_a_sign_is_expanded_once_per_member(monkeypatch):
    """Each member of a list meets each of the other list; what is done for a member must not be done for a pair."""
    expanded = []
    monkeypatch.setattr(
        compare, "expand_signs", lambda node, config: expanded.append(node) or expand_signs(node, config)
    )
    members = [rf"{100 + 3 * index} \pm {index + 1}x" for index in range(20)]
    truth = r"\{" + ", ".join(reversed(members)) + r"\}"
    assert verify(r"\boxed{\{" + ", ".join(members) + r"\}}", truth).correct
    assert 40 <= len(expanded) < 400


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
    """Every compiled pattern of the package with its name, and whether the package looks for it in a text."""
    for module in pkgutil.iter_modules(package.__path__):
        loaded = importlib.import_module(f"{package.__name__}.{module.name}")
        source = inspect.getsource(loaded)
        for name, value in vars(loaded).items():
            if isinstance(value, re.Pattern):
                searched = re.search(rf"\b{name}\.(?!match|fullmatch)|last_match\({name}\b", source)
                yield f"{module.name}.{name}", value, searched is not None


def _pattern_seconds(pattern, searched, text):
    """CPU time of matching the pattern and, where the package does, of looking for it; the least of three."""
    times = []
    for _ in range(3):
        start = time.process_time()
        pattern.match(text)
        pattern.fullmatch(text)
        if searched:
            for _match in pattern.finditer(text):
                pass
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize(("pattern", "searched"), [pytest.param(*rest, id=name) for name, *rest in patterns()])
def test_every_pattern_is_linear(pattern, searched):
    """Eight times the text may take 20 times as long and two milliseconds; a quadratic pattern takes 64 times."""
    for run in RUNS:
        for before, after in (("", ""), ("5", "x"), ("answer", "}"), (r"\text", "{"), (r"\boxed{5} or", "")):
            short, long = (before + run * (size // len(run)) + after for size in (300, 2400))
            limit = 20 * _pattern_seconds(pattern, searched, short) + 0.002
            assert _pattern_seconds(pattern, searched, long) < limit, repr(run)


@pytest.mark.parametrize(
    "response",
    [
        r"\boxed{5" + " " * 1_900 + "$x}",
        r"\boxed{5} or" + " " * 19_000,
        "答案" + "\n" * 19_000,
        r"\text{answer" + " " * 19_000,
    ],
    ids=["box", "or", "Chinese answer", "text command"],
)
def test_long_runs_cost_no_more_than_plain_text(response):
    plain = "word " * (len(response) // 5) + r"\boxed{6}"
    assert _seconds(response, "5") < 20 * _seconds(plain, "5") + 0.004
