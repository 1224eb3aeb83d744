# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Normalised LaTeX (or plain text) to tokens.

``tokenize`` cuts the text into pieces by one pattern, whose group says what a piece is, and a reader for each group
appends the piece's tokens. Words, bare or in ``\\text{}``, are the hard part: ``text_tokens`` and ``word_tokens``
decide by a list of questions in order, knowing only the kind of the token before.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from recipe.htpo.verifier.config import VerifierConfig
from recipe.htpo.verifier.errors import OverLimit, Unreadable
from recipe.htpo.verifier.separators import comma_run
from recipe.htpo.verifier.units import is_known_unit, is_prefix, is_unit_word, spell_unit, temperature_scale
from recipe.htpo.verifier.vocabulary import (
    ALPHABETS,
    CARDINALS,
    COMMANDS,
    ENVIRONMENTS,
    ESCAPES,
    FUNCTION_COMMANDS,
    FUNCTION_SPELLINGS,
    IGNORED,
    JOINTS,
    MARKS,
    ROOTS_AND_MOD,
    TEXT_COMMANDS,
    UNIT_COMMANDS,
    UPRIGHT_COMMANDS,
    WORDS,
    Token,
)

_PIECE = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<num>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+(?![\w.]))?)"
    r"|(?P<env>\\(?:begin|end)\s*\{\s*(?P<env_name>[a-zA-Z]+\*?)\s*\})"
    r"|\\(?P<command>[a-zA-Z]+)"
    r"|(?P<escape>\\[{}%$&#_|\\])"
    r"|(?P<noon>(?<![a-zA-Z])[apAP]\.?[mM](?![a-zA-Z])\.?)"
    r"|(?P<word>[a-zA-Z]+)"
    r"|(?P<other>[^\W\d_a-zA-Z]+)"
    r"|(?P<relation>[<>!]=|==|=)"
    r"|(?P<symbol>[-+*/^_!%|()\[\]{},;:&<>'])"
)
_BRACED = re.compile(r"\s*+\{([^{}]*+)\}")
# One level of braces within, as in \\mathrm{m\\,s^{-1}}.
_BRACED_UNIT = re.compile(r"\s*+\{((?:[^{}]|\{[-+]?\d\})*+)\}")
_UPRIGHT_LETTERS = re.compile(r"\s*+\\(?:text|mathrm|rm)\s*+\{\s*+([a-zA-Z]{1,8})\s*+\}")
_MATHEMATICS = re.compile(r"[\d=<>()+]")
_FUNCTION_PREFIX = re.compile("sqrt|sin|cos|tan|cot|log|exp|ln|pi")
# Some data sets drop the space behind a command: \\tanx, \\pir.
_FUSED = re.compile(r"(pi|sin|cos|tan|cot|sec|csc|log|ln)([a-zA-Z]{1,2})")
_OPENING = frozenset({"(", "[", "{", "\\{"})
_CLOSING = frozenset({")", "]", "}", "\\}"})
_OPERAND_ENDS = frozenset({"num", "}", ")"})
"""Kinds of tokens that end a number, behind which a unit may stand."""


def tokenize(text: str, config: VerifierConfig, merge_thousands: bool = True) -> list[Token]:
    """Split ``text`` into at most ``config.max_tokens`` tokens.

    ``merge_thousands`` reads ``1,234`` outside brackets as one number. Raises ``Unreadable`` for an unknown symbol
    and ``OverLimit`` for too many tokens; an unknown command is a token that no rule of the grammar takes.
    """
    lexer = _Lexer(text, config)
    while lexer.position < len(text):
        if len(lexer.tokens) > config.max_tokens:
            raise OverLimit("tokens")
        if not (merge_thousands and lexer.read_thousands()):
            lexer.read_piece()
    return lexer.tokens


class _Lexer:
    """The tokens up to ``position``; every ``read_`` method appends what it read and moves on."""

    def __init__(self, text: str, config: VerifierConfig) -> None:
        self.text = text
        self.config = config
        self.position = 0
        self.tokens: list[Token] = []
        self._depth = 0
        self._list_end = 0

    def before(self) -> str:
        """The kind of the last token, or the empty string at the start."""
        return self.tokens[-1].kind if self.tokens else ""

    def add(self, *tokens: Token) -> None:
        """Append tokens and count the brackets among them."""
        self.tokens.extend(tokens)
        self._depth += sum((token.kind in _OPENING) - (token.kind in _CLOSING) for token in tokens)

    def read_thousands(self) -> bool:
        """Read ``1,234`` as one number, outside brackets and outside a list such as ``27,63,99``."""
        if self._depth != 0 or self.position < self._list_end or not self.text[self.position].isdecimal():
            return False
        number, self._list_end = comma_run(self.text, self.position)
        if number is None:
            return False
        self.add(Token("num", number))
        self.position = self._list_end
        return True

    def read_piece(self) -> None:
        """Read the next piece of the text."""
        match = _PIECE.match(self.text, self.position)
        if match is None:
            raise Unreadable(f"symbol {self.text[self.position]!r}")
        self.position = match.end()
        assert match.lastgroup is not None
        _READERS[match.lastgroup](self, match)

    def read_space(self, match: re.Match[str]) -> None:
        """Space parts pieces and is none."""

    def read_number(self, match: re.Match[str]) -> None:
        """``3``, ``3.14``, ``1e-3``."""
        self.add(Token("num", match.group()))

    def read_environment(self, match: re.Match[str]) -> None:
        """``\\begin{pmatrix}`` and ``\\end{pmatrix}``."""
        name = match.group("env_name")
        if name not in ENVIRONMENTS:
            raise Unreadable(f"environment {name}")
        self.add(Token("begin" if match.group().startswith("\\begin") else "end", name))

    def read_command(self, match: re.Match[str]) -> None:
        """A command with what belongs to it: the braces of ``\\text{}``, the letters of ``\\mu\\text{m}``."""
        name = match.group("command")
        if name in TEXT_COMMANDS:
            self.read_braced_text(name)
        elif name in UNIT_COMMANDS and self.before() == "num":
            self.read_unit_command(name)
        elif name == "Omega" and self.before() == "text" and is_prefix(self.tokens[-1].text):
            self.tokens[-1] = Token("text", self.tokens[-1].text + "ohm")
        elif name == "mod":
            self.add(modulo(self.before()))
        elif name in COMMANDS:
            self.add(COMMANDS[name])
        elif (fused := _FUSED.fullmatch(name)) is not None:
            self.add(COMMANDS[fused.group(1)], *letters(fused.group(2)))
        elif name not in IGNORED:
            self.add(Token("unknown", "\\" + name))

    def read_braced_text(self, command: str) -> None:
        """The braces behind ``\\text``, ``\\mathrm`` and their relatives."""
        match = _BRACED.match(self.text, self.position)
        if match is None:
            match = _BRACED_UNIT.match(self.text, self.position)
            if match is None or self.before() not in _OPERAND_ENDS or not is_known_unit(spell_unit(match.group(1))):
                raise Unreadable(f"nested braces in \\{command}")
        self.position = match.end()
        if not self.read_scale(match.group(1)):
            self.add(*text_tokens(match.group(1), command, self.before(), self.config))

    def read_scale(self, word: str) -> bool:
        """``C`` behind a degree sign: both are one unit. Whether ``word`` was such a scale."""
        scale = temperature_scale(word.strip(" ~.,;")) if self.before() == "degree" else None
        if scale is not None:
            self.tokens[-1] = Token("text", scale)
        return scale is not None

    def read_unit_command(self, name: str) -> None:
        """``\\Omega`` or ``\\mu\\text{m}`` behind a number: a unit, where its letters are set upright."""
        match = _UPRIGHT_LETTERS.match(self.text, self.position)
        if name == "Omega":
            self.add(Token("text", "ohm"))
        elif match is not None and is_known_unit("u" + match.group(1)):
            self.add(Token("text", "u" + match.group(1)))
            self.position = match.end()
        else:
            self.add(Token("name", name))

    def read_escape(self, match: re.Match[str]) -> None:
        """``\\{``, ``\\%``, ``\\$``, ``\\\\``."""
        found = match.group()
        self.add(Token(ESCAPES.get(found, found), found))

    def read_noon(self, match: re.Match[str]) -> None:
        """``a.m.`` and ``PM``."""
        self.add(Token("text", match.group()))

    def read_word(self, match: re.Match[str]) -> None:
        """Bare letters."""
        if not self.read_scale(match.group()):
            self.add(*word_tokens(match.group(), self.before()))

    def read_other(self, match: re.Match[str]) -> None:
        """Letters that are not Latin: a joint, or words."""
        self.add(Token(JOINTS.get(match.group(), "text"), match.group()))

    def read_relation(self, match: re.Match[str]) -> None:
        """``=``, ``==``, ``<=``, ``>=``, ``!=``."""
        self.add(Token("=" if match.group() == "==" else match.group(), match.group()))

    def read_symbol(self, match: re.Match[str]) -> None:
        """One character that is its own kind."""
        self.add(Token(match.group(), match.group()))


_READERS: dict[str, Callable[[_Lexer, re.Match[str]], None]] = {
    "space": _Lexer.read_space,
    "num": _Lexer.read_number,
    "env": _Lexer.read_environment,
    "command": _Lexer.read_command,
    "escape": _Lexer.read_escape,
    "noon": _Lexer.read_noon,
    "word": _Lexer.read_word,
    "other": _Lexer.read_other,
    "relation": _Lexer.read_relation,
    "symbol": _Lexer.read_symbol,
}


def text_tokens(content: str, command: str, before: str, config: VerifierConfig) -> list[Token]:
    """Tokens of ``\\command{content}`` behind a token of the kind ``before``.

    In this order: nothing, punctuation, a joint, a function, a percent or degree sign, a unit, a constant, mathematics,
    a letter of another alphabet, words.
    """
    content = content.replace("~", " ").strip()
    plain = content.strip(" ,.;:").lower()
    if not content:
        return []
    if not plain:
        return tokenize(content, config)
    if plain in JOINTS:
        return [Token(JOINTS[plain], plain)]
    if plain == "mod":
        return [modulo(before)]
    if plain in FUNCTION_SPELLINGS and before != "num" and command in FUNCTION_COMMANDS:
        return [Token("func", FUNCTION_SPELLINGS[plain])]
    if plain in MARKS:
        return [Token(MARKS[plain], plain)]
    if before in _OPERAND_ENDS and is_known_unit(unit := spell_unit(content)):
        return [Token("text", unit)]
    if content in ("e", "i", "d") and command in UPRIGHT_COMMANDS:
        return [Token("name", content)]
    if _MATHEMATICS.search(content):
        return tokenize(content, config)
    if command in ALPHABETS:
        return [Token("name", f"{command}({content})")]
    return [Token("text", content)]


def word_tokens(word: str, before: str) -> list[Token]:
    """Tokens of a bare run of letters behind a token of the kind ``before``.

    In this order: a joint, a name, a root, a function, a percent or degree sign, a unit behind a number, a product of
    letters (but for "six" and its like), a function with its argument (``sinx``), a word.
    """
    lower = word.lower()
    if lower in JOINTS:
        return [Token(JOINTS[lower], word)]
    if lower in WORDS:
        return [WORDS[lower]]
    if word in ROOTS_AND_MOD:
        return [Token(ROOTS_AND_MOD[word], word)]
    if word in FUNCTION_SPELLINGS:
        return [Token("func", FUNCTION_SPELLINGS[word])]
    if lower in MARKS:
        return [Token(MARKS[lower], word)]
    if is_unit_word(word) and (before in _OPERAND_ENDS or before in ("text", "^")):
        return [Token("text", word)]
    if len(word) <= 3 and lower not in CARDINALS:
        return letters(word)
    prefix = _FUNCTION_PREFIX.match(word)
    if prefix is not None and len(word) - prefix.end() == 1:
        return [*word_tokens(prefix.group(), before), *letters(word[-1])]
    return [Token("text", word)]


def modulo(before: str) -> Token:
    """``17 \\mod 5`` behind an operand; a function at the start."""
    return Token("bmod" if before in _OPERAND_ENDS or before == "name" else "func", "mod")


def letters(word: str) -> list[Token]:
    """Each letter a name of its own."""
    return [Token("name", letter) for letter in word]
