# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
r"""Answer rules: from what a source stores to the ground truth a verifier compares with.

| rule | input | ground truth |
|---|---|---|
| verbatim | any text or number | the text, stripped |
| integer | 27.0, "025", "336^\circ", "1,024" | 27, 25, 336, 1024; anything else is an error |
| gsm8k | a solution ending in "#### 1,080" | 1080 |
| boxed | a solution with \boxed{...} | content of the last \boxed |
| math | an answer, or a solution with \boxed{...} | content of the last \boxed, or the text without outer $ $ |
| list | a list of answers, `["$69$,$84$"]` or `[69, 84]` | 69, 84 |
"""

import math as _math
import re
from collections.abc import Callable, Sequence

from data_prep.errors import DataError

_DEGREES = re.compile(r"\s*(\^\s*\{?\s*\\circ\s*\}?|\\degree|°)$")
_THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
_INTEGRAL = re.compile(r"(-?)0*(\d+?)(?:\.0*)?")
_NOT_FINITE = re.compile(r"[+-]?(nan|inf)", re.IGNORECASE)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_DOLLAR = re.compile(r"(?<!\\)\$")
_BETWEEN_DOLLARS = re.compile(r"(?<!\\)\$\s*,\s*\$")


def verbatim(value: object) -> str:
    """The text itself, stripped; integral floats lose their ``.0``."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"answer is {type(value).__name__}, not text or a number: {value!r:.80}")
    if isinstance(value, float) and not _math.isfinite(value):
        raise DataError(f"answer is not a finite number: {value}")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    if not text:
        raise DataError("answer is empty")
    if _NOT_FINITE.fullmatch(text):
        raise DataError(f"answer is not a finite number: {text!r}")
    return text


def integer(value: object) -> str:
    """An integer without leading zeros, decimals, thousands separators or degree sign."""
    text = _DEGREES.sub("", _undollar(verbatim(value)))
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    match = _INTEGRAL.fullmatch(text)
    if match is None:
        raise DataError(f"answer is not an integer: {text!r:.80}")
    sign, digits = match.groups()
    return digits if digits == "0" else sign + digits


def gsm8k(value: object) -> str:
    """The number after the last ``####``, without thousands separators."""
    _, marker, tail = verbatim(value).rpartition("####")
    number = tail.strip().replace(",", "").replace("$", "")
    if not marker or not re.fullmatch(r"-?\d+(\.\d+)?", number):
        raise DataError(f"no '#### number' at the end of the answer: {tail!r:.80}")
    return integer(number) if _INTEGRAL.fullmatch(number) else number


def boxed(value: object) -> str:
    r"""Content of the last ``\boxed{...}``, braces balanced."""
    text = verbatim(value)
    start = None
    for match in _BOX.finditer(text):
        start = match.end()
    if start is None:
        raise DataError(f"no \\boxed in the solution: {text[-60:]!r}")
    depth = 1
    for end in range(start, len(text)):
        if text[end] in "{}" and text[end - 1] != "\\":
            depth += 1 if text[end] == "{" else -1
        if depth == 0:
            return verbatim(text[start:end])
    raise DataError(f"the last \\boxed is not closed: {text[start - 7 : start + 60]!r}")


def math(value: object) -> str:
    r"""Content of the last ``\boxed``, or the whole text without outer dollars."""
    text = verbatim(value)
    return boxed(text) if _BOX.search(text) else verbatim(_undollar(text))


def answer_list(value: object) -> str:
    """Several answers as one list without dollars; ``[]`` and ``()`` inside are left alone.

    A blank follows each comma, since ``100,200`` would be one number.
    """
    parts = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    apart = (_BETWEEN_DOLLARS.sub("$, $", verbatim(part)) for part in parts)
    texts = [_DOLLAR.sub("", part).strip().removesuffix(".").rstrip() for part in apart]
    if not texts or not all(texts):
        raise DataError(f"empty answer in the list: {value!r:.80}")
    return ", ".join(texts)


ANSWER_RULES: dict[str, Callable[[object], str]] = {
    "verbatim": verbatim,
    "integer": integer,
    "gsm8k": gsm8k,
    "boxed": boxed,
    "math": math,
    "list": answer_list,
}


def read_answer(rule: str, value: object) -> str:
    """The ground truth by a rule; a list of answers that are all the same is one answer.

    Raises DataError when the value cannot be read, or holds different answers and the rule is not ``list``.
    """
    read = ANSWER_RULES[rule]
    if rule == "list" or isinstance(value, str) or not isinstance(value, Sequence):
        return read(value)
    found = list(dict.fromkeys(read(part) for part in value))
    if len(found) != 1:
        raise DataError(
            f"{len(found)} answers: {', '.join(found[:5])!r:.80}" if found else "the list of answers is empty",
            remedy="use the answer rule `list` (--answer-rule list) when a response must give all of them",
        )
    return found[0]


def _undollar(text: str) -> str:
    """Without one pair of dollars around the whole text."""
    inner = text[1:-1]
    if len(text) > 2 and text[0] == text[-1] == "$" and "$" not in inner:
        return inner.strip()
    return text
