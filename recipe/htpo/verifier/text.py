# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Answers that are words: names, choices, phrases, and text that the grammar does not read."""

from __future__ import annotations

import re

from recipe.htpo.verifier.normalize import strip_period, without_spaces

_TEXT_COMMAND = re.compile(r"\\(?:text[a-z]*|mbox|hbox|mathrm|operatorname|rm)(?![a-zA-Z])")
_TEXT_GROUP = re.compile(r"\\(?:text[a-z]*+|mbox|hbox|mathrm|operatorname|rm)\s*+\{([^{}]*+)\}")
GROUP_OF_ONE = re.compile(r"\{\s*+(\w)\s*+\}")
_CHOICE = re.compile(
    r"(?:\\(?:text[a-z]*+|mathrm|rm)\s*+)?+\{?+\s*+(?:\\text[a-z]*+\s*+\{)?+\s*+\(?+\s*+([A-J])\s*+\)?+[\s.}]*+"
)
_CHOICE_PREFIX = re.compile(
    r"\s*+(?:(?:\\(?:text[a-z]*+|mathrm|rm)\s*+)?+\{\s*+(?:\(([A-J])\)|([A-J])[.):])[\s.:]*+\}|\(([A-J])\)|([A-J])[.:)](?=\s))"
    r"[\s.:]*+(?=\S)"
)


_ARTICLE = re.compile(r"\A\s*+(?:an?|the)\s++(?=\w{3})")
_NO_SOLUTION = (
    "no solution", "no solutions", "no real solution", "no real solutions", "no solution exists", "no solutions exist",
    "there is no solution", "there are no solutions", "there are no real solutions",
)  # fmt: skip
# Phrases that say the same, without spaces, and the one that is compared.
_SAME = {without_spaces(phrase): "emptyset" for phrase in _NO_SOLUTION} | {"dne": "doesnotexist"}


def words_equal(left: str, right: str) -> bool:
    """Equality of text up to letter case, spacing, braces, text commands, a leading article and closing punctuation."""
    return plain_text(left) == plain_text(right)


def plain_text(text: str) -> str:
    """``text`` as it is compared."""
    text = GROUP_OF_ONE.sub(r"\1", _TEXT_COMMAND.sub("", _TEXT_GROUP.sub(r"\1", text))).casefold()
    text = _ARTICLE.sub("", text)
    text = strip_period(without_spaces("".join(char for char in text if char not in "$\\~\"“”'`")).strip(",;:"))
    return _SAME.get(text, text)


def choice_letter(text: str) -> str | None:
    """The letter of a multiple-choice answer (``C``, ``(C)``, ``\\text{(C)}``), or None."""
    match = _CHOICE.fullmatch(text)
    return match.group(1) if match else None


def split_choice(text: str) -> tuple[str | None, str]:
    """The letter and the rest of an answer that gives both (``(B) 26``), or None and the text."""
    match = _CHOICE_PREFIX.match(text)
    if match is None:
        return None, text
    letter = next(group for group in match.groups() if group)
    return letter, text[match.end() :]
