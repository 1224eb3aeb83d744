# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Conditions on columns: ``level=Level 4,Level 5``, ``year>=2010``, ``text!~proof``."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from data_prep.errors import DataError

_CONDITION = re.compile(r"([\w.\-]+(?: [\w.\-]+)*)\s*(!=|>=|<=|!~|=|>|<|~)(.*)", re.DOTALL)
_FORM = "write COLUMN=VALUE[,VALUE], !=, >, >=, <, <= (numbers), ~ or !~ (regular expression)"
_ORDER: dict[str, Callable[[float, float], bool]] = {
    ">": lambda value, limit: value > limit,
    ">=": lambda value, limit: value >= limit,
    "<": lambda value, limit: value < limit,
    "<=": lambda value, limit: value <= limit,
}


@dataclass(frozen=True)
class Condition:
    """One condition; a missing value meets none but ``!=`` and ``!~``."""

    column: str
    """Dotted path."""
    operator: str
    """``=``, ``!=``, ``>``, ``>=``, ``<``, ``<=``, ``~`` or ``!~``."""
    value: str
    """A number for the order, a regular expression for ``~``, else values with commas (and blanks) between."""

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """From ``COLUMN OPERATOR VALUE``; raises DataError."""
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise DataError(f"{text!r} is no condition", remedy=_FORM)
        condition = cls(*match.groups())
        try:
            if condition.operator in _ORDER:
                float(condition.value)
            elif condition.operator.endswith("~"):
                re.compile(condition.value)
        except (ValueError, re.error) as error:
            raise DataError(f"{text!r} is no condition: {error}", remedy=_FORM) from error
        return condition

    def __str__(self) -> str:
        return f"{self.column}{self.operator}{self.value}"

    def holds(self, value: Any) -> bool:
        """Whether a value of the column meets the condition; raises DataError when an order is asked of a text."""
        if value is None:
            return self.operator in ("!=", "!~")
        if self.operator in _ORDER:
            try:
                return _ORDER[self.operator](float(value), float(self.value))
            except (TypeError, ValueError) as error:
                raise DataError(f"{self}: {value!r:.40} is no number", remedy=_FORM) from error
        if self.operator.endswith("~"):
            return (re.search(self.value, _text(value)) is not None) == (self.operator == "~")
        wanted = [text.strip() for text in self.value.split(",")]
        if isinstance(value, bool):
            wanted = [text.lower() for text in wanted]
        return (_text(value) in wanted) == (self.operator == "=")


def value_at(record: Mapping, path: str) -> Any:
    """Value at a dotted path, or None; a name that holds dots itself is found too."""
    if path in record:
        return record[path]
    value: Any = record
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def has_path(record: Mapping, path: str) -> bool:
    """Whether there is anything at a dotted path, null too."""
    parent, _, name = path.rpartition(".")
    if path in record:
        return True
    value = value_at(record, parent) if parent else None
    return isinstance(value, Mapping) and name in value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)
