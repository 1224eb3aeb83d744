# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Every unit that is known, generated from base units, SI prefixes and names.

Sizes are exact multiples of metre, kilogram, second, ampere, kelvin, mole and the units of counting below. Symbols
keep their case (``mW`` is no ``MW``); names are lower case.
"""

from __future__ import annotations

from fractions import Fraction

Size = tuple[Fraction, tuple[tuple[str, int], ...]]
"""Size in base units, and the powers of the dimensions."""

PREFIXES = {
    "T": ("tera", 12), "G": ("giga", 9), "M": ("mega", 6), "k": ("kilo", 3), "h": ("hecto", 2), "d": ("deci", -1),
    "c": ("centi", -2), "m": ("milli", -3), "u": ("micro", -6), "n": ("nano", -9), "p": ("pico", -12),
    "f": ("femto", -15),
}  # fmt: skip
# size: symbol: names: powers of m kg s A K mol; all take prefixes
_SI = """
1      m   meter,metre        1 0 0 0 0 0
1/1000 g   gram,gramme        0 1 0 0 0 0
1      s   second             0 0 1 0 0 0
1      A   ampere,amp         0 0 0 1 0 0
1      K   kelvin             0 0 0 0 1 0
1      mol mole               0 0 0 0 0 1
1      Hz  hertz              0 0 -1 0 0 0
1      N   newton             1 1 -2 0 0 0
1      Pa  pascal             -1 1 -2 0 0 0
1      J   joule              2 1 -2 0 0 0
1      W   watt               2 1 -3 0 0 0
1      C   coulomb            0 0 1 1 0 0
1      V   volt               2 1 -3 -1 0 0
1      ohm ohm                2 1 -3 -2 0 0
1      F   farad              -2 -1 4 2 0 0
1      Wb  weber              2 1 -2 -1 0 0
1      T   tesla              0 1 -2 -1 0 0
1      H   henry              2 1 -2 -2 0 0
1/1000 L   liter,litre        3 0 0 0 0 0
1/1000 l   liter,litre        3 0 0 0 0 0
801088317/5000000000000000000000000000 eV electronvolt 2 1 -2 0 0 0
1/10000000 erg erg            2 1 -2 0 0 0
1/100000 dyn dyne             1 1 -2 0 0 0
4184/1000 cal calorie         2 1 -2 0 0 0
100000 bar bar                -1 1 -2 0 0 0
1/10000 G  gauss              0 1 -2 -1 0 0
"""
_DIMENSIONS = ("length", "mass", "time", "current", "temperature", "amount")
# size: names of one dimension, without prefixes
_OTHERS = {
    "length": (
        "127/5000: in inch inches|381/1250: ft foot feet|1143/1250: yd yard yards|201168/125: mi mile miles|"
        "1/10000000000: angstrom angstroms|149597870700: AU au"
    ),
    "time": ("1: sec secs|60: min mins minute minutes|3600: h hr hrs hour hours|86400: day days|604800: week weeks"),
    "month": "1: month months|12: year years yr yrs",
    "mass": "1000: ton tons tonne tonnes|1/1000: gm",
    "weight": "16: lb lbs pound pounds|1: oz ounce ounces",
    "money": "1: dollar dollars usd|1/100: cent cents",
    "rupee": "1: rupee rupees rs",
    "euro": "1: euro euros",
    "yuan": "1: yuan rmb",
    "gallon": "1: gallon gallons|1/4: quart quarts|1/8: pint pints|1/16: cup cups",
    "angle": "1: degree degrees deg",
    "radian": "1: rad rads radian radians",
    # Scales with zeros of their own: no conversion from one to another.
    "celsius": "1: celsius centigrade degreecelsius",
    "fahrenheit": "1: fahrenheit",
}


def _table() -> dict[str, Size]:
    table: dict[str, Size] = {}
    for line in _SI.split("\n"):
        if not line:
            continue
        size, symbol, names, *powers = line.split()
        dimensions = tuple(
            sorted((name, int(power)) for name, power in zip(_DIMENSIONS, powers, strict=True) if int(power))
        )
        for short, long, exponent in (("", "", 0), *((key, name, power) for key, (name, power) in PREFIXES.items())):
            value = Fraction(size) * Fraction(10) ** exponent
            table.setdefault(short + symbol, (value, dimensions))
            for name in names.split(","):
                table.setdefault(long + name, (value, dimensions))
                table.setdefault(long + name + "s", (value, dimensions))
    for dimension, groups in _OTHERS.items():
        for group in groups.split("|"):
            size, words = group.split(":")
            table |= dict.fromkeys(words.split(), (Fraction(size), ((dimension, 1),)))
    mile, kilometre = table["mile"][0], table["km"][0]
    speed = (("length", 1), ("time", -1))
    return table | {"mph": (mile / 3600, speed)} | dict.fromkeys(("kph", "kmh"), (kilometre / 3600, speed))


UNITS = _table()
