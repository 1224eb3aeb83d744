# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A position in a list of tokens, with the limits on nesting and length."""

from __future__ import annotations

from recipe.htpo.verifier.config import VerifierConfig
from recipe.htpo.verifier.errors import OverLimit, Unreadable
from recipe.htpo.verifier.vocabulary import Token


class TokenReader:
    """What every parser of this package does with its tokens."""

    def __init__(self, tokens: list[Token], config: VerifierConfig) -> None:
        self.tokens = list(tokens)
        self.config = config
        self.position = 0
        self.depth = 0
        self.abs_depth = 0
        self.in_builder = False
        self.mods = 0

    def kind(self, ahead: int = 0) -> str:
        """Kind of the next token, or the empty string at the end."""
        index = self.position + ahead
        return self.tokens[index].kind if index < len(self.tokens) else ""

    def text(self) -> str:
        """Text of the next token."""
        return self.tokens[self.position].text

    def next(self) -> Token:
        """Consume a token."""
        token = self.tokens[self.position]
        self.position += 1
        return token

    def accept(self, kind: str) -> bool:
        """Consume a token of this kind if it is the next one."""
        if self.kind() == kind:
            self.position += 1
            return True
        return False

    def expect(self, kind: str) -> Token:
        """Consume a token of this kind or fail."""
        if self.kind() != kind:
            raise Unreadable(f"{kind} expected")
        return self.next()

    def enter(self) -> None:
        """Count one level of nesting."""
        self.depth += 1
        if self.depth > self.config.max_depth:
            raise OverLimit("depth")

    def leave(self) -> None:
        """Leave one level of nesting."""
        self.depth -= 1

    def limit_items(self, count: int) -> None:
        """Refuse long lists."""
        if count > self.config.max_items:
            raise OverLimit("items")
