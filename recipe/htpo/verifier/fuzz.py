# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Grade random LaTeX and report exceptions, asymmetries and the CPU time of a verdict.

    python -m recipe.htpo.verifier.fuzz --count 10000 --seed 0 --limit-ms 50

A ground truth and an answer are drawn from a random grammar, from mutations of such a text, from noise, from long runs
of one character and from expressions that grow without bound. Exits with 1 when a call raised, a readable ground
truth did not equal itself, equality was not symmetric, or a verdict took longer than the limit.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time

from recipe.htpo.verifier.config import DEFAULT_CONFIG, VerifierConfig
from recipe.htpo.verifier.grade import compare_answers, grade, ground_truth_problem, verify
from recipe.htpo.verifier.normalize import normalize

_ATOMS = (
    "0", "1", "2", "7", "12", "100", "3.5", ".25", "1,000", "1e-3", "10^{5}", "x", "y", "n", "a_1", "k", r"\pi", "e",
    "i", r"\infty", r"\theta", r"\text{cm}", r"\text{ and }", r"\text{odd}", "cm", "apples", r"45^\circ", r"30\%",
    r"\$5", "101_2", "3:4", "A", "(B)", r"\emptyset", r"\mathbb{R}", "½", "−3", "√2", "答案", r"\u0035", "?",
)  # fmt: skip
_SHAPES = (
    "{}+{}", "{}-{}", "{}{}", r"{}\cdot {}", "{}/{}", r"\frac{{{}}}{{{}}}", "{}^{{{}}}", "({})({})", "({},{})",
    "[{},{})", r"\{{{},{}\}}", "{}, {}", "{}={}", r"{}\le {}", r"{}<{}", r"{}\cup{}", r"{}\pm {}",
    r"\binom{{{}}}{{{}}}", "{}:{}", r"{}\text{{ or }}{}", r"\begin{{pmatrix}}{}&{}\end{{pmatrix}}", r"\log_{{{}}}{}",
    r"\sqrt[{}]{{{}}}", r"{}\approx {}", r"{}\bmod {}", r"\gcd({},{})",
)  # fmt: skip
_WRAPS = (
    r"\sqrt{{{}}}", r"\sin {}", r"\cos({})", r"\ln {}", "-{}", "({})", "{}!", "|{}|", r"\lfloor {}\rfloor", "{}^2",
    r"\left({}\right)", r"\exp{{{}}}", r"\arctan {}", r"{{{}}}", r"f({})", r"\overline{{{}}}", "{}'", r"\boxed{{{}}}",
    "${}$", r"\text{{{}}}",
)  # fmt: skip
_NOISE = "0123456789abcxyz\\{}()[]^_+-*/=<>!|,;:.&%$#~'\" \n\t√π½²−∞答案​"
_BOMBS = (
    "9^{{9^{{9^{{{0}}}}}}}", "(10^{{{0}}})!", "{0}" + "!" * 9, "1.0000001^{{99999{0}}}",
    r"\sqrt[9999{0}]{{9^{{99{0}}}}}", "1e9999{0}", r"\binom{{100000}}{{{0}}}", "(x+y)^{{50{0}}}",
    r"\sin(" * 50 + "{0}" + ")" * 50, r"e^{{e^{{e^{{{0}}}}}}}", "x" * 400 + "{0}", "{0}+" * 290 + "1",
    "{0}," * 200 + "1", "(" * 200 + "{0}" + ")" * 200, r"\frac{{1}}{{1+" * 40 + "{0}" + "}}" * 40, "-" * 300 + "{0}",
    "{0}^2" * 100, r"\pm " * 90 + "{0}", "9" * 1900 + "{0}", "(x+{0})" * 60, r"\sin\cos\tan " * 60 + "{0}",
    r"(\pm 1,\pm 2,\pm 3,\pm 4,\pm 5,\pm 6,\pm {0})", "{0}%" * 300, "|" * 150 + "{0}" + "|" * 150,
    "n^{{n^{{n^{{{0}}}}}}}", r"\tan x+" * 120 + "{0}", r"\sqrt{{2+" * 55 + "{0}" + "}}" * 55, "1/" * 290 + "{0}",
    "{0} " * 500, r"\lfloor " * 55 + "{0}" + r"\rfloor" * 55, "[1,2]\\cup" * 60 + "[3,{0}]",
)  # fmt: skip


def random_latex(rng: random.Random, depth: int = 4) -> str:
    """An answer from a random grammar; braces balance, mathematics need not make sense."""
    kind = rng.random()
    if depth == 0 or kind < 0.25:
        return rng.choice(_ATOMS) if rng.random() < 0.8 else str(rng.randrange(10 ** rng.randrange(1, 12)))
    if kind < 0.75:
        return rng.choice(_SHAPES).format(random_latex(rng, depth - 1), random_latex(rng, depth - 1))
    return rng.choice(_WRAPS).format(random_latex(rng, depth - 1))


def mutate(rng: random.Random, text: str) -> str:
    """Delete, double, replace or insert a few characters."""
    chars = list(text)
    for _ in range(rng.randrange(1, 4)):
        index = rng.randrange(len(chars) + 1)
        kind = rng.randrange(3)
        if kind == 0:
            chars[index : index + 1] = []
        elif kind == 1:
            chars.insert(index, rng.choice(_NOISE))
        else:
            chars[index : index + 1] = chars[index : index + 1] * rng.randrange(2, 5)
    return "".join(chars)


def random_input(rng: random.Random) -> tuple[str, str, str]:
    """A kind, a ground truth and an answer."""
    kind = rng.choice(("grammar", "mutated", "noise", "run", "bomb", "bomb pair"))
    truth = random_latex(rng)
    if kind == "grammar":
        return kind, truth, random_latex(rng)
    if kind == "mutated":
        return kind, truth, mutate(rng, truth)
    if kind == "run":
        run = rng.choice(_NOISE) * rng.randrange(1, 1_800)
        cut = rng.randrange(len(truth) + 1)
        return kind, truth, truth[:cut] + run + truth[cut:] + rng.choice(("", "x", "$x", "}", " or"))
    if kind == "noise":
        return kind, truth, "".join(rng.choice(_NOISE) for _ in range(rng.randrange(1, 300)))
    bomb = rng.choice(_BOMBS).format(rng.choice(("2", "3", "9", "x", "5.5")))
    return kind, truth if kind == "bomb" else mutate(rng, bomb), bomb


def verdict_seconds(response: str, truth: str) -> float:
    """CPU time of one verdict."""
    start = time.thread_time()
    grade(response, truth, DEFAULT_CONFIG)
    return time.thread_time() - start


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m recipe.htpo.verifier.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="number of inputs")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random inputs")
    parser.add_argument(
        "--limit-ms", type=float, default=math.inf, help="longest CPU time of a verdict (default: none)"
    )
    options = parser.parse_args(argv)
    if options.count < 1:
        parser.error(f"--count must be at least 1, got {options.count}")
    rng = random.Random(options.seed)
    free = VerifierConfig(require_evaluated="never", expression_label=False)
    problems: list[dict[str, str]] = []
    slowest: dict[str, tuple[float, str]] = {}
    times: list[float] = []
    for _ in range(options.count):
        kind, truth, answer = random_input(rng)
        responses = [f"So \\boxed{{{answer}}}"]
        if kind == "run":
            for marker in ("answer", "答案", "\\text{answer", "\\boxed{5} or", "\\boxed{5"):
                responses += [marker + answer[:1] * 10 * len(answer), marker + answer]
        try:
            seconds = max(verdict_seconds(response, truth) for response in responses)
            if ground_truth_problem(truth) is None and not verify(f"\\boxed{{{truth}}}", truth).correct:
                problems.append({"problem": "not equal to itself", "ground_truth": truth})
            a, b = normalize(answer), normalize(truth)
            forward, backward = compare_answers(a, b, free), compare_answers(b, a, free)
            if (forward == "equal") != (backward == "equal"):
                problems.append({"problem": "not symmetric", "ground_truth": truth, "answer": answer})
        except Exception as error:
            seconds = 0.0
            problems.append({"problem": repr(error), "ground_truth": truth, "answer": answer})
        times.append(1000 * seconds)
        if times[-1] > options.limit_ms:
            problems.append({"problem": f"{times[-1]:.1f} ms", "ground_truth": truth, "answer": answer})
        if seconds > slowest.get(kind, (0.0, ""))[0]:
            slowest[kind] = (seconds, f"{truth[:80]}  <-  {answer[:80]}")
    long = "text \\boxed{1} " * 70_000
    start = time.thread_time()
    verify(long, "1")
    megabyte = time.thread_time() - start
    for problem in problems[:20]:
        print(json.dumps(problem, ensure_ascii=False))
    for kind, (seconds, example) in sorted(slowest.items()):
        print(f"slowest {kind:10s} {1000 * seconds:8.2f} ms   {example}")
    print(
        f"response of {len(long):,} characters: {1000 * megabyte:.2f} ms (tail of {DEFAULT_CONFIG.tail_chars:,} read)"
    )
    times.sort()
    print(
        f"p50 {times[len(times) // 2]:.2f} ms, p99 {times[99 * len(times) // 100]:.2f} ms, slowest {times[-1]:.2f} ms"
    )
    print(f"{options.count:,} inputs, seed {options.seed}: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
