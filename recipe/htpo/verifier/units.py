# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Words behind a number: known units with their exact size, number words, and words that are only decoration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from recipe.htpo.verifier.errors import Unreadable


@dataclass(frozen=True, slots=True)
class Unit:
    """Exact size in base units and the powers of the base dimensions; ``words`` holds unknown words, if any."""

    size: Fraction = Fraction(1)
    dimensions: tuple[tuple[str, int], ...] = ()
    words: str = ""


# dimension -> "size: names" groups; sizes are exact multiples of the first unit of the dimension
_BASE = {
    "length": (
        "1: m meter meters metre metres|1/100: cm centimeter centimeters centimetre centimetres|"
        "1/1000: mm millimeter millimeters millimetre millimetres|1000: km kilometer kilometers kilometre kilometres|"
        "1/10: dm decimeter decimeters|1/1000000: um micrometer micrometers|1/1000000000: nm nanometer nanometers|"
        "127/5000: in inch inches|381/1250: ft foot feet|1143/1250: yd yard yards|201168/125: mi mile miles"
    ),
    "time": (
        "1: s sec secs second seconds|60: min mins minute minutes|3600: h hr hrs hour hours|86400: day days|"
        "604800: week weeks|1/1000: ms millisecond milliseconds"
    ),
    "month": "1: month months|12: year years yr yrs",
    "mass": (
        "1: kg kilogram kilograms|1/1000: g gram grams gm|1/1000000: mg milligram milligrams|"
        "1000: ton tons tonne tonnes"
    ),
    "weight": "16: lb lbs pound pounds|1: oz ounce ounces",
    "money": "1: dollar dollars usd|1/100: cent cents",
    "rupee": "1: rupee rupees rs",
    "euro": "1: euro euros",
    "yuan": "1: yuan rmb",
    "volume": "1: l liter liters litre litres|1/1000: ml milliliter milliliters",
    "gallon": "1: gallon gallons|1/4: quart quarts|1/8: pint pints|1/16: cup cups",
    "force": "1: n newton newtons",
    "energy": "1: j joule joules|1000: kj",
    "power": "1: w watt watts|1000: kw",
    "angle": "1: degree degrees deg",
    "radian": "1: rad rads radian radians",
    "temperature": "1: celsius",
    "kelvin": "1: k kelvin",
}
_UNITS: dict[str, tuple[Fraction, tuple[tuple[str, int], ...]]] = {}
for _dimension, _groups in _BASE.items():
    for _group in _groups.split("|"):
        _size, _names = _group.split(":")
        for _name in _names.split():
            _UNITS[_name] = (Fraction(_size), ((_dimension, 1),))
_UNITS["mph"] = (Fraction(201168, 125) / 3600, (("length", 1), ("time", -1)))
_UNITS["kph"] = _UNITS["kmh"] = (Fraction(1000, 3600), (("length", 1), ("time", -1)))

NUMBER_WORDS = {"dozen": 12, "hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_NO_DECORATION = frozenset(
    "or and not nor maybe perhaps possibly approximately about around if when where for than to more less most least "
    "times plus minus mod modulo over divided by either neither no none but except unless otherwise wrong error half "
    "quarter third negative either between each is are".split()
)
_PIECE = re.compile(
    r"(per|/)|(?:(square|cubic|sq|cu)\.? )?([a-z]+)\.?(?: ?(squared|cubed)|\^?\{?([-+]?\d)\}?)?|[ ~.\-*]"
)


def is_unit_word(word: str) -> bool:
    """Whether a bare word of two or more letters behind a number is a unit or a number word."""
    return len(word) > 1 and (word in _UNITS or word in NUMBER_WORDS or word in ("square", "cubic", "units", "unit"))


def parse_unit(text: str) -> tuple[Unit, int]:
    """Read ``text`` as a unit and a factor from number words ("million"); raise ``Unreadable`` for words that change
    the meaning ("or", "not", "more")."""
    text = text.lower().replace("\\", "").strip(" .,;:!~")
    words = re.findall(r"[^\W\d_]+", text)
    if not _NO_DECORATION.isdisjoint(words):
        raise Unreadable("words behind the number")
    factor = 1
    for word in words:
        factor *= NUMBER_WORDS.get(word, 1)
    if factor > 1:
        if factor > 10**12:
            raise Unreadable("number words")
        text = re.sub("|".join(NUMBER_WORDS), "", text).strip()
    known = _known_unit(text)
    if known is not None:
        return known, factor
    if re.search(r"\d", text):
        raise Unreadable("digits in the words behind the number")
    return Unit(words=" ".join(words)), factor


def _known_unit(text: str) -> Unit | None:
    size, powers, position, sign = Fraction(1), dict[str, int](), 0, 1
    if text in ("unit", "units", "square units", "cubic units", "sq units", "unit^2", "units^2", "units^3"):
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
        if word not in _UNITS:
            return None
        if abs(power := int(exponent or 1)) > 4:
            return None
        if shape in ("square", "sq") or power_word == "squared":
            power *= 2
        elif shape in ("cubic", "cu") or power_word == "cubed":
            power *= 3
        unit_size, dimensions = _UNITS[word]
        size *= unit_size ** (sign * power)
        for dimension, count in dimensions:
            powers[dimension] = powers.get(dimension, 0) + sign * power * count
    return Unit(size, tuple(sorted((name, count) for name, count in powers.items() if count)))
