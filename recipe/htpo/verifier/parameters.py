# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The integer of a general solution: ``\\frac{\\pi}{4} + n\\pi, n \\in \\mathbb{Z}``."""

from __future__ import annotations

from recipe.htpo.verifier.vocabulary import Token

PARAMETER = Token("name", "k")
"""What the integer is called, whatever the answer calls it."""
_JOINTS = frozenset({"where", "for", "with", "for some"})
_IS_INTEGER = frozenset({"is an integer", "is any integer", "an integer", "any integer", "integer"})
_FOR_INTEGER = frozenset({"for integer", "for integers", "for some integer", "for an integer"})
_AROUND_A_LETTER = frozenset({"mathbb", "{", "}"})


def without_condition(tokens: list[Token]) -> list[Token]:
    """``tokens`` without a closing ``n \\in \\mathbb{Z}`` or "n is an integer", the integer called ``k``.

    They are returned as they are where they end otherwise, where nothing stands before the condition, where what does
    has no such name, or has another name ``k``.
    """
    bracketed = bool(tokens) and tokens[-1].kind == ")"
    end = len(tokens) - bracketed
    start, name = _condition(tokens[:end])
    if bracketed:
        start -= 1
        if start < 0 or tokens[start].kind != "(":
            return tokens
    while start > 0 and (tokens[start - 1].kind in (",", "quad") or _says(tokens[start - 1], _JOINTS)):
        start -= 1
    answer = tokens[:start]
    if name not in answer or (name != PARAMETER and PARAMETER in answer):
        return tokens
    return [PARAMETER if token == name else token for token in answer]


def _condition(tokens: list[Token]) -> tuple[int, Token | None]:
    """Where the condition at the end begins, and its name; 0 and None without one."""
    for start in range(max(len(tokens) - 6, 0), len(tokens) - 1):
        first, second, *rest = tokens[start:]
        in_integers = [token for token in rest if token.kind not in _AROUND_A_LETTER] == [Token("name", "Z")]
        if second.kind == "in" and in_integers or not rest and _says(second, _IS_INTEGER):
            name = first
        elif not rest and _says(first, _FOR_INTEGER):
            name = second
        else:
            continue
        if name.kind == "name" and len(name.text) == 1:
            return start, name
    return 0, None


def _says(token: Token, phrases: frozenset[str]) -> bool:
    return token.kind == "text" and token.text.strip(" ,.").casefold() in phrases
