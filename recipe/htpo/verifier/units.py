# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Words behind a number: known units with their exact size, number words, and words that are only decoration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from recipe.htpo.verifier.errors import Unreadable
from recipe.htpo.verifier.unit_table import PREFIXES, UNITS


@dataclass(frozen=True, slots=True)
class Unit:
    """Exact size in base units and the powers of the base dimensions; ``words`` holds unknown words, if any."""

    size: Fraction = Fraction(1)
    dimensions: tuple[tuple[str, int], ...] = ()
    words: str = ""


_SINGULAR = {"dozen": 12, "hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
NUMBER_WORDS = _SINGULAR | {word + "s": number for word, number in _SINGULAR.items()} | {"tens": 10}
_ORDINALS = (
    "third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth "
    "seventeenth eighteenth nineteenth twentieth thirtieth fortieth fiftieth sixtieth seventieth eightieth ninetieth "
    "hundredth thousandth millionth billionth trillionth"
)
_NO_DECORATION = frozenset(
    # joints, doubt and denial
    "or and not nor maybe perhaps possibly approximately about around if when where for than to except unless "
    "otherwise no none neither either but wrong error incorrect incorrectly false untrue invalid impossible "
    "undefined unknown "
    # comparisons
    "more less fewer most least over under above below greater smaller larger between within almost nearly "
    # arithmetic in words
    "plus minus negative divided multiplied by mod modulo factorial root roots power squared cubed square cube double "
    "doubled triple tripled twice thrice halved reciprocal inverse raised root logarithm is are equals "
    # parts of one, and numbers in words
    f"half halves quarter quarters {_ORDINALS} {_ORDINALS.replace(' ', 's ')}s "
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety quadrillion quadrillions".split()
)
# Symbols with capitals that are read without \text; others, such as Mm, are rather products of variables.
_BARE_SYMBOLS = frozenset("Pa hPa kPa MPa Hz kHz MHz GHz eV keV MeV mV kV kW MW GW Wh kWh kJ MJ kN".split())
_PIECE = re.compile(
    r"(per(?![a-zA-Z])|/)|(?:(square|cubic|sq|cu)\.? )?([a-zA-Z]+)\.?(?: ?(squared|cubed)|\^?\{?([-+]?\d)\}?)?|[ ~.\-*]"
)
_WORD = re.compile(r"[^\W\d_]+")
_NUMBER_WORD = re.compile("|".join(sorted(NUMBER_WORDS, key=len, reverse=True)))
_SCALES = {"c": "celsius", "f": "fahrenheit", "k": "kelvin"} | {
    name: name for name in ("celsius", "centigrade", "fahrenheit", "kelvin")
}
_TEMPERATURES = frozenset(UNITS[name][1] for name in _SCALES.values())
_DEGREES_OF = re.compile(r"\s*+\\?deg(?:rees?+)?+\.?\s*+([a-zA-Z]++)[\s.,;]*+")
_NOON = re.compile(r"\b([ap])\. ?m\b")
_DIGIT = re.compile(r"\d")
_CDOT = re.compile(r"\\(?:cdot|times)(?![a-zA-Z])")
_GREEK = re.compile(r"\\(mu|Omega)(?![a-zA-Z]) ?")
_PREFIX_MACRO = re.compile(r"\\((?:giga|mega|kilo|centi|milli|micro|nano)) ?\\")
_MACRO = re.compile(r"\\([a-zA-Z]+)")
_UNDER = re.compile(r"/ ?\(([^()]{1,30})\)")


def spell_unit(text: str) -> str:
    """``text`` with Greek letters, products of units and degrees of a temperature in the spelling of the table:
    ``k\\Omega`` is ``kohm``, ``degrees C`` is ``celsius``."""
    degrees = _DEGREES_OF.fullmatch(text)
    if degrees is not None and (scale := temperature_scale(degrees.group(1))) is not None:
        return scale
    return _CDOT.sub(" ", _GREEK.sub(lambda match: "u" if match.group(1) == "mu" else "ohm", text))


def spell_siunitx(text: str) -> str:
    """The unit of a ``\\qty`` in the spelling of the table: ``\\kilo\\meter\\per\\second`` is ``kilometer/second``."""
    return _MACRO.sub(lambda match: match.group(1) + " ", _PREFIX_MACRO.sub(r"\1", text.replace("\\per", "/"))).strip()


def temperature_scale(word: str) -> str | None:
    """The unit that ``C`` or ``Celsius`` names behind a degree sign, or None."""
    return _SCALES.get(word.lower()) if len(word) > 1 or word.isupper() else None


def is_temperature(unit: Unit) -> bool:
    """Whether ``unit`` is a degree of a temperature."""
    return unit.dimensions in _TEMPERATURES


def is_prefix(text: str) -> bool:
    """Whether ``text`` is the letter of an SI prefix."""
    return text in PREFIXES


def is_known_unit(text: str) -> bool:
    """Whether ``text`` is a unit such as ``m/s^2``, in the case that its symbols have."""
    return bool(text) and len(text) < 40 and (unit := _known_unit(text.strip())) is not None and bool(unit.dimensions)


def is_unit_word(word: str) -> bool:
    """Whether a bare word of two or more letters behind a number is a unit or a number word."""
    lower = word.lower()
    return word in _BARE_SYMBOLS or (
        len(word) > 1 and (lower in UNITS or lower in NUMBER_WORDS or lower in ("square", "cubic", "units", "unit"))
    )


def parse_unit(text: str) -> tuple[Unit, int]:
    """Read ``text`` as a unit and a factor from number words ("million"); raise ``Unreadable`` for words that change
    the meaning ("or", "not", "more")."""
    text = spell_unit(text).replace("\\", "").strip(" .,;:!~")
    known = _known_unit(text)
    if known is not None:
        return known, 1
    text = _NOON.sub(r"\1m", text.lower())
    words = _WORD.findall(text)
    factor = 1
    for word in words:
        factor *= NUMBER_WORDS.get(word, 1)
    if factor > 1:
        if factor > 10**12:
            raise Unreadable("number words")
        text = _NUMBER_WORD.sub("", text).strip()
        known = _known_unit(text)
        if known is not None:
            return known, factor
    if not _NO_DECORATION.isdisjoint(words):
        raise Unreadable("words behind the number")
    if _DIGIT.search(text):
        raise Unreadable("digits in the words behind the number")
    return Unit(words=" ".join(words)), factor


def _known_unit(text: str) -> Unit | None:
    size, powers, position, sign = Fraction(1), dict[str, int](), 0, 1
    text = _UNDER.sub(r"/\1", text)  # all units behind a slash are under it
    if text.lower() in ("unit", "units", "square units", "cubic units", "sq units", "unit^2", "units^2", "units^3"):
        return Unit()
    while position < len(text):
        match = _PIECE.match(text, position)
        if match is None:
            return None
        position = match.end()
        per, shape, word, power_word, exponent = match.groups()
        if per:
            sign = -1
        if not word:
            continue
        unit = UNITS.get(word) or UNITS.get(word.lower())
        if unit is None:
            return None
        if abs(power := int(exponent or 1)) > 4:
            return None
        if shape in ("square", "sq") or power_word == "squared":
            power *= 2
        elif shape in ("cubic", "cu") or power_word == "cubed":
            power *= 3
        unit_size, dimensions = unit
        size *= unit_size ** (sign * power)
        for dimension, count in dimensions:
            powers[dimension] = powers.get(dimension, 0) + sign * power * count
    return Unit(size, tuple(sorted((name, count) for name, count in powers.items() if count)))
