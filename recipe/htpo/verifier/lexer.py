# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Normalised LaTeX (or plain text) to tokens."""

from __future__ import annotations

import re
from typing import NamedTuple

from recipe.htpo.verifier.config import VerifierConfig
from recipe.htpo.verifier.errors import OverLimit, Unreadable
from recipe.htpo.verifier.separators import comma_run
from recipe.htpo.verifier.units import is_known_unit, is_unit_word


class Token(NamedTuple):
    """``kind`` is ``num``, ``name``, ``func``, ``text``, ``word``, ``env`` or, for all else, the symbol itself."""

    kind: str
    text: str


TRIGONOMETRIC = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})
FUNCTIONS = TRIGONOMETRIC | {
    "asin", "acos", "atan", "sinh", "cosh", "tanh", "log", "ln", "exp", "gcd", "lcm", "max", "min", "mod",
}  # fmt: skip
_FUNCTION_SPELLINGS = {name: name for name in FUNCTIONS} | {
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "cosec": "csc", "lg": "log", "coth": "coth", "sgn": "sgn",
}  # fmt: skip
_GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega hbar ell partial nabla odot oplus star dagger "
    "ddagger bot perp parallel wp Re Im aleph".split()
)
_SYMBOLS = {
    "times": "*", "cdot": "*", "div": "/", "pm": "pm", "mp": "mp", "cup": "cup", "cap": "cap", "setminus": "setminus",
    "le": "<=", "ge": ">=", "ne": "!=", "in": "in", "approx": "~", "simeq": "~", "lfloor": "lfloor",
    "rfloor": "rfloor", "lceil": "lceil", "rceil": "rceil", "langle": "langle", "rangle": "rangle", "lor": "or",
    "quad": "quad", "frac": "frac", "sqrt": "sqrt", "binom": "binom", "overline": "accent", "bar": "accent",
    "dot": "accent", "ddot": "accent", "hat": "accent", "vec": "accent", "tilde": "accent", "widehat": "accent",
    "overrightarrow": "accent", "degree": "degree", "mathbb": "mathbb", "equiv": "equiv", "implies": "=>", "to": "to",
    "bmod": "bmod", "iff": "=>", "over": "over", "choose": "choose", "ldots": "ldots",
}  # fmt: skip
_TEXT_COMMANDS = frozenset({
    "text", "textbf", "textit", "textrm", "textnormal", "textsf", "texttt", "mbox", "hbox", "mathrm", "rm",
    "operatorname", "mathop", "mathcal", "mathscr", "mathfrak",
})  # fmt: skip
_IGNORED = frozenset({"angle", "triangle", "displaystyle", "nonumber", "cal", "square", "measuredangle", "nolimits"})
_ENVIRONMENTS = frozenset({
    "pmatrix", "bmatrix", "matrix", "Bmatrix", "smallmatrix", "array", "vmatrix", "cases", "aligned", "align",
    "align*", "gathered",
})  # fmt: skip

_NEXT = re.compile(
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
_UPRIGHT = re.compile(r"\s*+\\(?:text|mathrm|rm)\s*+\{\s*+([a-zA-Z]{1,8})\s*+\}")
_UNIT_COMMANDS = frozenset({"mu", "Omega"})
_MATHEMATICS = re.compile(r"[\d=<>()+]")
_FUNCTION_PREFIX = re.compile("sqrt|sin|cos|tan|cot|log|exp|ln|pi")
# Some data sets drop the space behind a command: \\tanx, \\pir.
_FUSED = re.compile(r"(pi|sin|cos|tan|cot|sec|csc|log|ln)([a-zA-Z]{1,2})")
_JOINTS = {"and": "and", "or": "or", "和": "and", "与": "and", "或": "or", "或者": "or", "以及": "and", "&": "and"}


def tokenize(text: str, config: VerifierConfig, merge_thousands: bool = True) -> list[Token]:
    """Split ``text`` into at most ``config.max_tokens`` tokens.

    ``merge_thousands`` reads ``1,234`` outside brackets as one number. Raises ``Unreadable`` for an unknown symbol
    and ``OverLimit`` for too many tokens; an unknown command is a token that no rule of the grammar takes.
    """
    tokens: list[Token] = []
    position = depth = list_end = 0
    while position < len(text):
        if len(tokens) > config.max_tokens:
            raise OverLimit("tokens")
        if merge_thousands and depth == 0 and position >= list_end and text[position].isdecimal():
            number, list_end = comma_run(text, position)
            if number is not None:
                tokens.append(Token("num", number))
                position = list_end
                continue
        match = _NEXT.match(text, position)
        if match is None:
            raise Unreadable(f"symbol {text[position]!r}")
        kind, found = match.lastgroup, match.group()
        position = match.end()
        if kind == "space":
            continue
        if kind == "command":
            position = _command(match.group("command"), text, position, tokens, config)
        elif kind == "env_name" or kind == "env":
            _environment(match, tokens)
        elif kind == "word":
            _word(found, tokens)
        elif kind == "noon":
            tokens.append(Token("text", found))
        elif kind == "other":
            tokens.append(Token(_JOINTS[found], found) if found in _JOINTS else Token("text", found))
        elif kind == "relation":
            tokens.append(Token("=" if found == "==" else found, found))
        elif kind == "num":
            tokens.append(Token("num", found))
        elif kind == "escape":
            tokens.append(_escape(found))
        else:
            tokens.append(Token(found, found))
        if tokens and tokens[-1].kind in ("(", "[", "{", "\\{"):
            depth += 1
        elif tokens and tokens[-1].kind in (")", "]", "}", "\\}"):
            depth -= 1
    return tokens


def _escape(found: str) -> Token:
    if found == "\\$":
        return Token("currency", found)
    if found in ("\\%", "\\|", "\\&"):
        return Token({"\\%": "%", "\\|": "|", "\\&": "and"}[found], found)
    return Token(found, found)


def _environment(match: re.Match[str], tokens: list[Token]) -> None:
    name = match.group("env_name")
    if name not in _ENVIRONMENTS:
        raise Unreadable(f"environment {name}")
    tokens.append(Token("begin" if match.group().startswith("\\begin") else "end", name))


def _command(name: str, text: str, position: int, tokens: list[Token], config: VerifierConfig) -> int:
    """Append the tokens of a command and return the position behind what it consumed."""
    if name in _TEXT_COMMANDS:
        match = _BRACED.match(text, position)
        if match is None:
            raise Unreadable(f"nested braces in \\{name}")
        _text(match.group(1), name, tokens, config)
        return match.end()
    if name in _FUNCTION_SPELLINGS:
        tokens.append(Token("func", _FUNCTION_SPELLINGS[name]))
    elif name in _SYMBOLS:
        tokens.append(Token(_SYMBOLS[name], name))
    elif name in _UNIT_COMMANDS and tokens and tokens[-1].kind == "num":
        position = _unit_command(name, text, position, tokens)
    elif name == "pi" or name == "infty" or name in _GREEK:
        tokens.append(Token("name", name))
    elif name in ("emptyset", "O"):
        tokens.append(Token("text", "empty set"))
    elif name in ("i", "imath"):
        tokens.append(Token("name", "i"))
    elif name == "pmod":
        tokens.append(Token("pmod", name))
    elif name == "mod":
        tokens.append(Token("bmod", name))
    elif (fused := _FUSED.fullmatch(name)) is not None:
        _command(fused.group(1), text, position, tokens, config)
        tokens.extend(Token("name", letter) for letter in fused.group(2))
    elif name not in _IGNORED:
        tokens.append(Token("unknown", "\\" + name))
    return position


def _behind_number(tokens: list[Token]) -> bool:
    return bool(tokens) and tokens[-1].kind in ("num", "}", ")")


def _unit_command(name: str, text: str, position: int, tokens: list[Token]) -> int:
    """``\\Omega`` or ``\\mu\\text{m}`` behind a number: a unit, where its letters are set upright."""
    match = _UPRIGHT.match(text, position)
    if name == "Omega":
        tokens.append(Token("text", "ohm"))
    elif match is not None and is_known_unit("u" + match.group(1)):
        tokens.append(Token("text", "u" + match.group(1)))
        return match.end()
    else:
        tokens.append(Token("name", name))
    return position


def _text(content: str, command: str, tokens: list[Token], config: VerifierConfig) -> None:
    """Tokens of ``\\text{content}``: a joint, a function, a single letter, mathematics, or words."""
    content = content.replace("~", " ").strip()
    plain = content.strip(" ,.;:").lower()
    if not content:
        return
    if not plain:
        tokens.extend(tokenize(content, config))
    elif plain in _JOINTS:
        tokens.append(Token(_JOINTS[plain], plain))
    elif (
        plain in _FUNCTION_SPELLINGS
        and not (tokens and tokens[-1].kind == "num")
        and command in ("mathrm", "operatorname", "mathop", "rm", "text")
    ):
        tokens.append(Token("func", _FUNCTION_SPELLINGS[plain]))
    elif plain in ("percent", "percents", "pct", "degree", "degrees"):
        tokens.append(Token("%" if plain.startswith("p") else "degree", plain))
    elif _behind_number(tokens) and is_known_unit(content):
        tokens.append(Token("text", content))
    elif content in ("e", "i", "d") and command in ("mathrm", "rm", "operatorname"):
        tokens.append(Token("name", content))
    elif _MATHEMATICS.search(content):
        tokens.extend(tokenize(content, config))
    elif command in ("mathcal", "mathscr", "mathfrak"):
        tokens.append(Token("name", f"{command}({content})"))
    else:
        tokens.append(Token("text", content))


def _word(word: str, tokens: list[Token]) -> None:
    """Tokens of a bare run of letters: a joint, a function, a unit behind a number, a word, or a product of letters."""
    lower = word.lower()
    if lower in _JOINTS:
        tokens.append(Token(_JOINTS[lower], word))
    elif lower in ("pi", "infinity", "infty"):
        tokens.append(Token("name", "pi" if lower == "pi" else "infty"))
    elif word in ("sqrt", "cbrt", "mod"):
        tokens.append(Token({"sqrt": "sqrt", "cbrt": "cbrt", "mod": "bmod"}[word], word))
    elif word in _FUNCTION_SPELLINGS:
        tokens.append(Token("func", _FUNCTION_SPELLINGS[word]))
    elif lower in ("percent", "pct", "degrees", "degree"):
        tokens.append(Token("%" if lower.startswith("p") else "degree", word))
    elif is_unit_word(lower) and tokens and tokens[-1].kind in ("num", "}", ")", "text", "^"):
        tokens.append(Token("text", word))
    elif len(word) > 3 and (prefix := _FUNCTION_PREFIX.match(word)) and len(word) - prefix.end() == 1:
        _word(prefix.group(), tokens)
        tokens.append(Token("name", word[-1]))
    elif len(word) > 3:
        tokens.append(Token("text", word))
    else:
        tokens.extend(Token("name", letter) for letter in word)
