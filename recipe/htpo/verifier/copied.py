# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Whether an answer only copies an expression of the problem: "factor ``x^2 - 9``" is not answered by ``x^2 - 9``."""

from __future__ import annotations

import re
from functools import lru_cache

from recipe.htpo.verifier.extract import math_groups
from recipe.htpo.verifier.nodes import Based, Name, Node, Num, Op, Quantity, Rel, Seq, walk
from recipe.htpo.verifier.normalize import normalize, without_spaces
from recipe.htpo.verifier.text import GROUP_OF_ONE

_MOST_CHARS = 20_000
_WORD_EDGE = re.compile(r"\w")
_AROUND_OPERATORS = re.compile(r"(?<!\s)\s*+([-+*/=^<>()])\s*+")
_LABEL = re.compile(r"\A[a-zA-Z](?:\([a-zA-Z]\))?=(?=[^=]*+\Z)")
_WORDS_BEHIND = re.compile(r"(?<=.)\\text\{[^{}]*+\}\Z")
_FORM = frozenset({"neg", "percent", "degree", "mixed"})


def is_copied(pred: str, found: Node | None, truth: str, problem: str) -> bool:
    """Whether ``pred``, which equals ``truth``, is an expression that stands in ``problem``.

    Numbers (but for repeating decimals), names and words are answers wherever they come from. So is
    an expression where the problem gives the answer itself, as one choice of several.

    Args:
        pred: The normalised answer.
        found: Its tree.
        truth: The normalised ground truth.
        problem: The text of the problem, as it stands in the data.
    """
    if found is None or not (_is_expression(found) or "\\overline" in pred):
        return False
    text = _plain(problem[-_MOST_CHARS:])
    copy, asked = _bare(_formula(pred)), _bare(_formula(truth))
    return copy != asked and _stands_in(copy, text) and not _stands_in(asked, text)


@lru_cache(maxsize=256)
def _plain(problem: str) -> str:
    """Formulas and prose of the problem in the spelling of answers, one a line.

    Kept because a prompt has many responses. In prose a space parts words, so only those beside operators go.
    """
    parts: list[str] = []
    position = 0
    for start, content, end in math_groups(problem):
        parts += [_AROUND_OPERATORS.sub(r"\1", normalize(problem[position:start])), _formula(normalize(content))]
        position = end
    parts.append(_AROUND_OPERATORS.sub(r"\1", normalize(problem[position:])))
    return "\n".join(parts)


def _formula(text: str) -> str:
    """One spelling: no spaces, no braces around a single character."""
    return GROUP_OF_ONE.sub(r"\1", without_spaces(text))


def _bare(text: str) -> str:
    """``text`` without what is put around a copy: a label, words behind it, outer brackets."""
    text = _WORDS_BEHIND.sub("", _LABEL.sub("", text))
    while text[:1] + text[-1:] in ("()", "[]", "{}") and _encloses(text):
        text = text[1:-1]
    return text


def _encloses(text: str) -> bool:
    """Whether the bracket that begins ``text`` is closed by its last character."""
    depth = 0
    for index, char in enumerate(text):
        depth += (char == text[0]) - (char == text[-1])
        if depth == 0:
            return index == len(text) - 1
    return False


def _stands_in(part: str, text: str) -> bool:
    """Whether ``part`` occurs in ``text``, not as a piece of a longer number or name."""
    position = text.find(part)
    while part and position >= 0:
        before, after = (
            text[position - 1 : position] if position else "",
            text[position + len(part) : position + len(part) + 1],
        )
        if not (_joins(before, part[0]) or _joins(part[-1], after)):
            return True
        position = text.find(part, position + len(part))
    return False


def _joins(left: str, right: str) -> bool:
    return bool(left and right and _WORD_EDGE.match(left) and _WORD_EDGE.match(right))


def _is_expression(node: Node) -> bool:
    """Whether ``node`` computes something: more than numbers, names, signs, one fraction of numbers and brackets."""
    for part in walk(node):
        if isinstance(part, Op) and part.name not in _FORM:
            if part.name == "div" and all(isinstance(arg, Num) for arg in part.args):
                continue
            if part.name == "mul" and all(isinstance(arg, Name) for arg in part.args):
                continue
            return True
        if not isinstance(part, Op | Num | Name | Based | Quantity | Seq | Rel):
            return False
    return False
