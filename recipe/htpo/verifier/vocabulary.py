# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What each command and word of an answer is: tables alone, read by :mod:`.lexer`."""

from __future__ import annotations

from typing import NamedTuple


class Token(NamedTuple):
    """``kind`` is ``num``, ``name``, ``func``, ``text``, ``begin``, ``end``, ``unknown``, or what the symbol means."""

    kind: str
    text: str


TRIGONOMETRIC = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})
FUNCTIONS = TRIGONOMETRIC | {
    "asin", "acos", "atan", "sinh", "cosh", "tanh", "log", "ln", "exp", "gcd", "lcm", "max", "min", "mod",
}  # fmt: skip
FUNCTION_SPELLINGS = {name: name for name in FUNCTIONS} | {
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
TEXT_COMMANDS = frozenset({
    "text", "textbf", "textit", "textrm", "textnormal", "textsf", "texttt", "mbox", "hbox", "mathrm", "rm",
    "operatorname", "mathop", "mathcal", "mathscr", "mathfrak",
})  # fmt: skip
IGNORED = frozenset({"angle", "triangle", "displaystyle", "nonumber", "cal", "square", "measuredangle", "nolimits"})
ENVIRONMENTS = frozenset({
    "pmatrix", "bmatrix", "matrix", "Bmatrix", "smallmatrix", "array", "vmatrix", "cases", "aligned", "align",
    "align*", "gathered",
})  # fmt: skip
UPRIGHT_COMMANDS = frozenset({"mathrm", "rm", "operatorname"})
"""Text commands that set a single letter or a function upright."""
FUNCTION_COMMANDS = UPRIGHT_COMMANDS | {"mathop", "text"}
ALPHABETS = frozenset({"mathcal", "mathscr", "mathfrak"})
UNIT_COMMANDS = frozenset({"mu", "Omega"})
JOINTS = {"and": "and", "or": "or", "和": "and", "与": "and", "或": "or", "或者": "or", "以及": "and", "&": "and"}
MARKS = {"percent": "%", "percents": "%", "pct": "%", "degree": "degree", "degrees": "degree"}
"""Words for the signs behind a number."""
ESCAPES = {"\\$": "currency", "\\%": "%", "\\|": "|", "\\&": "and"}

COMMANDS = (
    {name: Token("func", function) for name, function in FUNCTION_SPELLINGS.items()}
    | {name: Token(kind, name) for name, kind in _SYMBOLS.items()}
    | {name: Token("name", name) for name in (*_GREEK, "pi", "infty")}
    | dict.fromkeys(("emptyset", "O"), Token("text", "empty set"))
    | dict.fromkeys(("i", "imath"), Token("name", "i"))
    | {"pmod": Token("pmod", "pmod")}
)
"""The token of each command that is one whatever stands around it."""
WORDS = {word: Token("name", "infty") for word in ("infinity", "infty")} | {"pi": Token("name", "pi")}
"""Bare words, in any case, that are a name."""
ROOTS_AND_MOD = {"sqrt": "sqrt", "cbrt": "cbrt", "mod": "bmod"}
"""Bare words that are what a command of another name is."""
ALL_REALS = frozenset({"all real numbers", "all reals", "any real number", "all real values"})
_COUNTED = "zero one two three four five six seven eight nine ten eleven twelve".split()
CARDINALS = {word: number for number, word in enumerate(_COUNTED)}
"""Words that are a number where they are the whole value."""
