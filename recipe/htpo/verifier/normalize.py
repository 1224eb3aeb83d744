# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Stage 2: one spelling for what LaTeX and Unicode write in many ways, without reading the mathematics.

Every rule keeps the meaning: Unicode symbols become LaTeX commands, delimiters, sizes and spacing go, thousands
separators between groups of three digits go. What a command means is the parser's business.
"""

from __future__ import annotations

import re
import unicodedata

from recipe.htpo.verifier.separators import join_marked_digits, join_spaced_digits
from recipe.htpo.verifier.units import is_known_unit, spell_siunitx

_SYMBOLS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-", "×": r"\times ", "⋅": r"\cdot ", "·": r"\cdot ",
    "∙": r"\cdot ", "•": r"\cdot ", "∗": "*", "÷": r"\div ", "∕": "/", "⁄": "/", "√": r"\sqrt ", "∛": r"\sqrt[3] ",
    "∜": r"\sqrt[4] ", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ",
    "≠": r"\ne ", "±": r"\pm ", "∓": r"\mp ", "°": r"\degree ", "º": r"\degree ", "∪": r"\cup ", "∩": r"\cap ",
    "∈": r"\in ", "∅": r"\emptyset ", "∖": r"\setminus ", "∨": r"\lor ", "∧": r"\land ", "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "⌊": r"\lfloor ",
    "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "⟨": r"\langle ", "⟩": r"\rangle ", "′": "'", "’": "'",
    "∠": r"\angle ", "△": r"\triangle ", "→": r"\to ", "⇒": r"\implies ", "…": r"\ldots ", "、": ",", "，": ",",
    "；": ";", "。": ".", "％": "%", "：": ":", "≈": r"\approx ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ",
    "δ": r"\delta ", "ε": r"\epsilon ", "θ": r"\theta ", "λ": r"\lambda ", "μ": r"\mu ", "µ": r"\mu ",
    "ρ": r"\rho ", "σ": r"\sigma ", "τ": r"\tau ", "φ": r"\phi ", "ϕ": r"\phi ", "ω": r"\omega ", "ζ": r"\zeta ",
    "ξ": r"\xi ", "η": r"\eta ", "κ": r"\kappa ", "ν": r"\nu ", "ψ": r"\psi ", "χ": r"\chi ", "Δ": r"\Delta ",
    "Ω": r"\Omega ", "Σ": r"\Sigma ", "Γ": r"\Gamma ", "Φ": r"\Phi ", "Λ": r"\Lambda ", "Θ": r"\Theta ",
}  # fmt: skip
_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ"
_SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉₊₋₍₎"
_SUPERSCRIPT = re.compile(f"[{_SUPERSCRIPTS}]+")
_SUBSCRIPT = re.compile(f"[{_SUBSCRIPTS}]+")
_RAISED = str.maketrans(_SUPERSCRIPTS, "0123456789+-()ni")
_LOWERED = str.maketrans(_SUBSCRIPTS, "0123456789+-()")
_VULGAR_FRACTION = re.compile("[¼-¾⅐-⅞]")
_TRANSLATION = str.maketrans(_SYMBOLS)

_DELIMITERS = re.compile(r"(?<!\\)\$+|(?<!\\)\\[()\[\]]")
_SIZES = re.compile(
    r"\\(?:left|right|middle|[bB]ig[gG]?[lrm]?|displaystyle|textstyle|scriptstyle|limits|nolimits|phantom\{[^{}]*\}"
    r"|hspace\*?\{[^{}]*\}|vspace\*?\{[^{}]*\}|label\{[^{}]*\}|tag\{[^{}]*\}|hfill|hline|tiny|small|normalsize|large|Large|LARGE|huge|Huge|blacksquare|qed)(?![a-zA-Z])\.?"
)
_STYLES = re.compile(
    r"\\(?:boxed|fbox|mathbf|boldsymbol|bm|bf|mathit|mathsf|mathtt|mathnormal|pmb|bold|emph|underline"
    r"|ensuremath|color\{[^{}]*\}|textcolor\{[^{}]*\})(?![a-zA-Z])"
)
_SAME_COMMAND = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "lbrace": "{",
    "rbrace": "}", "leq": "le", "leqslant": "le", "geq": "ge", "geqslant": "ge", "neq": "ne", "lt": "<", "gt": ">",
    "vert": "|", "lvert": "|", "rvert": "|", "mid": "|", "Vert": "|", "colon": ":", "lbrack": "[", "rbrack": "]",
    "varnothing": "emptyset", "vee": "lor", "wedge": ",", "bigcup": "cup", "bigcap": "cap", "cdotp": "cdot",
    "ast": "cdot", "percent": "%", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "lg": "log",
    "thinspace": " ", "enspace": " ", "space": " ", "qquad": "quad", "dots": "ldots", "cdots": "ldots",
    "varphi": "phi", "varepsilon": "epsilon", "vartheta": "theta", "dotsc": "ldots",
    "dotsb": "ldots", "infin": "infty", "prime": "'", "Dots": "ldots", "tg": "tan", "ctg": "cot", "arctg": "atan",
    "smallsetminus": "setminus", "backslash": "setminus", "R": "mathbb{R}", "land": ",", "textdollar": "$",
    "Z": "mathbb{Z}", "Bbb": "mathbb", "mathds": "mathbb",
}  # fmt: skip
_WITHOUT_BRACES = str.maketrans("", "", "{}")
_COMMAND = re.compile(r"\\([a-zA-Z]+)")
_THIN_SPACE = re.compile(r"\\[!]")
_SPACE = re.compile(r"(\\\\)(?:\[[^\[\]]{1,8}\])?|\\[,;:> \n]|~|\\(?![a-zA-Z{}%$&#_|])|\s+")
# Some data sets halve the row break of a matrix: \begin{pmatrix}1\2\end{pmatrix}.
_HALF_ROW_BREAK = re.compile(r"(?<!\\)\\(?=[-\d])")
_DEGREE = re.compile(r"\^\s*+(?:\{\s*+\\circ\s*+\}|\\circ(?![a-zA-Z]))|\\circ(?![a-zA-Z])")
_PRIME = re.compile(r"\^\s*+(?:\{\s*+((?:'\s*+)++)\}|('))")
_NUMBER_IN_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|mbox|mathrm|rm)\s*+\{\s*+([-+]?[\d.,]++)\s*+\}")
_ORDINAL = re.compile(
    r"(?<=\d)\s*+\^?+\s*+\{?+\s*+\\text[a-z]*+\s*+\{\s*+(?:st|nd|rd|th)\s*+\}\s*+\}?|(?<=\d)\^?(?:\{th\}|th\b)"
)
_SIGN_IN_BRACES = re.compile(r"\{([-+])\}")
_LABEL_IN_TEXT = re.compile(
    r"\A\s*+\\text(?:bf)?+\s*+\{\s*+(?:the\s++)?+(?:final\s++)?+answer\s*+(?:is|[:=])?+\s*+\}\s*+[:=]?", re.IGNORECASE
)
_UNIT = r"\{\s*+\\(?:text[a-z]*+|mathrm|rm)\s*+\{\s*+([^{}]{1,20})\}(\^(?:\d|\{\d\}))?+\s*+\}"
_UNIT_FRACTION = re.compile(rf"\\frac\s*+{_UNIT}\s*+{_UNIT}")
# The package siunitx: \qty{5}{m/s}, \SI{5}{\meter\per\second}, \num{5}.
_QUANTITY = re.compile(
    r"\\(?:SI|qty)\s*+(?:\[[^\[\]]{0,40}\]\s*+)?+\{([^{}]{1,40})\}\s*+\{([^{}]{1,60})\}|\\num\s*+\{([^{}]{1,40})\}"
)
_MOD_IN_TEXT = re.compile(r"\\text[a-z]*+\s*+\{\s*+(\(mod\s[^(){}]{1,40}\))\s*+\}")
_MOD_IN_BRACKETS = re.compile(
    r"\(\s*+(?:\\text[a-z]*+\s*+\{\s*+mod\s*+\}|\\?[bp]?mod(?![a-zA-Z]))\s*+([^(){}]{1,40})\)"
)
_DOTS = re.compile(r"\.{3,}+")
_FOR_ALL = re.compile(r"(?:\\text[a-z]*+\s*+\{[\s,]*+for\s++(?:all|any|every|each)\b|\\forall(?![a-zA-Z]))")
_DOMAIN = re.compile(r"(?:[a-zA-Z]{1,12}+|\\in(?![a-zA-Z])|\\text[a-z]*+|\\mathbb|[\s{},])*+\.?")
_IGNORED_SPACE = re.compile(r"(?<!\d)\s+|\s+(?!\d)")
_NEEDS_RULES = re.compile(r"[\\$~']|\{,|mod|\.\.\.")


def normalize(text: str) -> str:
    """Return ``text`` in the common spelling. Idempotent; linear in the length of ``text``."""
    if not text.isascii():
        text = _ascii_symbols(text)
    if not _NEEDS_RULES.search(text):
        text = strip_period(text)
        return join_spaced_digits(_SIGN_IN_BRACES.sub(r"\1", " ".join(text.split())))
    text = _LABEL_IN_TEXT.sub("", text)
    text = _DOTS.sub(r"\\ldots ", text)
    text = _without_domain(text)
    text = join_marked_digits(text)
    if "matrix}" in text:
        text = _HALF_ROW_BREAK.sub(r"\\\\", text)
    text = _DELIMITERS.sub(" ", text)
    text = _SIZES.sub("", text)
    text = _STYLES.sub("", text)
    text = _QUANTITY.sub(_spell_quantity, text)
    text = _COMMAND.sub(_common_command, text)
    text = _UNIT_FRACTION.sub(_spell_unit_fraction, text)
    text = _THIN_SPACE.sub("", text)
    text = _DEGREE.sub(r"\\degree ", text)
    text = _PRIME.sub(lambda match: (match.group(1) or match.group(2)).replace(" ", ""), text)
    text = _NUMBER_IN_TEXT.sub(r" \1 ", text)
    text = _ORDINAL.sub(" ", text)
    text = _MOD_IN_TEXT.sub(r"\1", text)
    text = _MOD_IN_BRACKETS.sub(r"\\pmod{\1}", text)
    text = _SIGN_IN_BRACES.sub(r"\1", text)
    text = _SPACE.sub(lambda match: match.group(1) or " ", text)
    text = strip_period(text)
    return join_spaced_digits(text)


def _without_domain(text: str) -> str:
    """``f(x) = 2x`` of "f(x) = 2x for all x": the domain of a name behind the answer says nothing new."""
    if "for" not in text:
        return text
    match = next((match for match in _FOR_ALL.finditer(text) if match.start() > 0), None)
    if match is None or _DOMAIN.fullmatch(text, match.end()) is None:
        return text
    return text[: match.start()].rstrip(" \t\n,;").removesuffix("\\quad")


def strip_period(text: str) -> str:
    """``text`` without the period that ends a sentence; an ellipsis stays."""
    text = text.strip()
    return text[:-1].rstrip() if text.endswith(".") and not text.endswith("..") else text


def without_spaces(text: str) -> str:
    """``text`` without the spaces that TeX ignores; a space between digits stays."""
    return _IGNORED_SPACE.sub("", text)


def _common_command(match: re.Match[str]) -> str:
    name = _SAME_COMMAND.get(match.group(1))
    if name is None:
        return match.group()
    if name in ("{", "}", "%", "$"):
        return "\\" + name
    return "\\" + name if name[0].isalpha() else name


def _spell_quantity(match: re.Match[str]) -> str:
    value, unit, number = match.groups()
    return f" {number} " if number else f" {value}\\text{{{spell_siunitx(unit)}}}"


def _spell_unit_fraction(match: re.Match[str]) -> str:
    top, top_power, bottom, bottom_power = match.groups(default="")
    unit = f"{top.strip()}{top_power}/{bottom.strip()}{bottom_power}".translate(_WITHOUT_BRACES)
    return f"\\text{{{unit}}}" if is_known_unit(unit) else match.group()


def _ascii_symbols(text: str) -> str:
    text = _SUPERSCRIPT.sub(lambda match: "^{" + match.group().translate(_RAISED) + "}", text)
    text = _SUBSCRIPT.sub(lambda match: "_{" + match.group().translate(_LOWERED) + "}", text)
    text = _VULGAR_FRACTION.sub(_spell_fraction, text)
    text = unicodedata.normalize("NFKC", text.translate(_TRANSLATION)).translate(_TRANSLATION)
    return "".join(char for char in text if unicodedata.category(char)[0] != "C" or char in "\n\t")


def _spell_fraction(match: re.Match[str]) -> str:
    top, bottom = unicodedata.normalize("NFKC", match.group()).split("⁄")
    return f"\\frac{{{top}}}{{{bottom}}}"
