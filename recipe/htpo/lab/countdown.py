# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Seeded countdown problems: reach a target from 2 or 3 digits with ``+ - *`` and brackets, every digit used once.

The task of reasoning-gym, its splits and its scorer, with numbers that the demo model can bear and a short prompt:
``3 7 2:20``, the target in two digits. Problems are drawn as the package draws them, by a random expression; here it is
a chain, ``(a ? b) ? c``, with values within 0..99. The number of digits sets the difficulty.
"""

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from functools import cache
from itertools import permutations, product

from recipe.htpo.lab.arithmetic import MAX_VALUE, Problem, Split
from recipe.htpo.tasks.reasoning_gym import ENTRY

TERMS = (2, 3)
TEST_ONE_IN = 4
DRAWS_PER_PROBLEM = 1000
"""So many draws without a problem that is new count as the end of them."""
OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
}

Chain = tuple[tuple[int, ...], tuple[str, ...]]
"""Digits in the order of their use, and the operations between them."""


def problems(split: Split, count: int, seed: int, terms: Sequence[int] = TERMS) -> list[Problem]:
    """Draws ``count`` distinct problems of ``split``; the same arguments always give the same list.

    ``terms`` of a problem is its number of digits, drawn with equal chances. Problems of the same digits and target
    are one problem.

    Raises ValueError on a level outside ``TERMS``, or when fewer than ``count`` problems are found.
    """
    if not terms or not set(terms) <= set(TERMS):
        raise ValueError(f"terms must be numbers of digits out of {TERMS}, got {tuple(terms)}")
    rng = random.Random(f"{split}/{seed}")
    levels = sorted(set(terms))
    drawn: dict[tuple[tuple[int, ...], int], Problem] = {}
    without = 0
    while len(drawn) < count:
        level = rng.choice(levels)
        digits = [rng.randint(1, 9) for _ in range(level)]
        values = _values((tuple(digits), tuple(rng.choice(list(OPERATIONS)) for _ in digits[1:])))
        rng.shuffle(digits)
        key = (tuple(sorted(digits)), values[-1])
        if values[-1] == 0 or not _bounded(values) or key in drawn or _split_of(*key) != split:
            without += 1
            if without < DRAWS_PER_PROBLEM:
                continue
            levels.remove(level)
            if not levels:
                raise ValueError(
                    f"count={count} asks for more problems than were found: split {split!r} with terms {tuple(terms)} "
                    f"gave {len(drawn)}; lower count or add levels to terms"
                )
        else:
            drawn[key] = Problem(f"{' '.join(map(str, digits))}:{values[-1]:02d}", str(values[-1]), level)
        without = 0
    return list(drawn.values())


def task_entry(problem: Problem) -> dict[str, str]:
    """``extra_info`` of a problem, as ``data_prep build reasoning_gym:countdown`` writes it."""
    digits, target = _parse(problem)
    metadata = {"source_dataset": "countdown", "numbers": list(digits), "target": target}
    return {ENTRY: json.dumps({"question": problem.question, "answer": problem.answer, "metadata": metadata})}


def worked_solution(problem: Problem, rng: random.Random) -> str:
    """One line per step of a chain that is found by search, then its expression: ``3*7=21``, ``\\boxed{3*7+2}``."""
    return _write(rng.choice(_chains(problem)[True]), steps=True)


def direct_solution(problem: Problem, rng: random.Random) -> str:
    """The expression alone, without steps."""
    return _write(rng.choice(_chains(problem)[True]), steps=False)


def corrupted_solution(problem: Problem, rng: random.Random) -> str:
    """A chain of the same digits that misses the target."""
    return _write(rng.choice(_chains(problem)[False]), steps=True)


@cache
def _chains(problem: Problem) -> dict[bool, list[Chain]]:
    """All chains of the problem's digits with values in bounds, by whether they reach the target."""
    digits, target = _parse(problem)
    found: dict[bool, list[Chain]] = {True: [], False: []}
    for order in sorted(set(permutations(digits))):
        for operations in product(OPERATIONS, repeat=len(digits) - 1):
            if _bounded(values := _values((order, operations))):
                found[values[-1] == target].append((order, operations))
    return found


def _parse(problem: Problem) -> tuple[tuple[int, ...], int]:
    digits, _, target = problem.question.partition(":")
    return tuple(map(int, digits.split())), int(target)


def _values(chain: Chain) -> list[int]:
    """Running values, first digit included."""
    digits, operations = chain
    values = [digits[0]]
    for operation, digit in zip(operations, digits[1:], strict=True):
        values.append(OPERATIONS[operation](values[-1], digit))
    return values


def _bounded(values: Sequence[int]) -> bool:
    return all(0 <= value <= MAX_VALUE for value in values)


def _write(chain: Chain, steps: bool) -> str:
    digits, operations = chain
    values = _values(chain)
    expression, before = str(digits[0]), ""
    for operation, digit in zip(operations, digits[1:], strict=True):
        if operation == "*" and before in ("+", "-"):
            expression = f"({expression})"
        expression, before = f"{expression}{operation}{digit}", operation
    lines = [f"{values[i]}{operation}{digits[i + 1]}={values[i + 1]}" for i, operation in enumerate(operations)]
    return "\n".join([*(lines if steps else ()), f"\\boxed{{{expression}}}"])


def _split_of(digits: tuple[int, ...], target: int) -> Split:
    """As data_prep parts the package's questions: by digits in order and target."""
    digest = hashlib.blake2b(f"{list(digits)} {target}".encode(), digest_size=8).digest()
    return "test" if int.from_bytes(digest, "big") % TEST_ONE_IN == 0 else "train"
