# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Columns that someone named: each has to occur in some row of the source."""

from collections.abc import Mapping, Sequence

from data_prep.errors import DataError
from data_prep.sources.filters import has_path

SHOWN = 20


class NamedColumns:
    """Meets the rows of a source one by one, until every named column has occurred."""

    def __init__(self, named: Sequence[Sequence[str]]) -> None:
        """``named``: dotted paths, of several alternatives one is enough."""
        self._missing = list(named)
        self._columns: dict[str, None] = {}

    def meet(self, record: Mapping) -> None:
        """Looks at one row."""
        if self._missing:
            self._missing = [paths for paths in self._missing if not any(has_path(record, path) for path in paths)]
            self._columns.update(dict.fromkeys(_paths(record)))

    def require(self, source: str) -> None:
        """After the last row: raises DataError that names what never occurred, and the columns that did."""
        if self._missing and self._columns:
            columns = list(self._columns)
            more = ", ..." if len(columns) > SHOWN else ""
            raise DataError(
                f"no row has a column {' or '.join(self._missing[0])}",
                file=source,
                remedy=f"name one of those there are: {', '.join(columns[:SHOWN])}{more}",
            )


def _paths(record: Mapping) -> list[str]:
    """Names of the columns, and of the fields of those that have fields."""
    found = []
    for name, value in record.items():
        found += [f"{name}.{field}" for field in value] if isinstance(value, Mapping) and value else [name]
    return found
