# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""All data sets by name: the built-in ones and those of installed packages.

A package registers a set with an entry point that loads a ``DataSet``::

    [project.entry-points."verl_htpo.datasets"]
    my_set = "my_package.sets:MY_SET"
"""

from importlib.metadata import entry_points

from data_prep.errors import DataError
from data_prep.sources.dataset import DataSet
from data_prep.sources.generated import GYM, gym_set

ENTRY_POINT_GROUP = "verl_htpo.datasets"


def data_sets() -> dict[str, DataSet]:
    """Every set by name.

    Raises DataError when an entry point does not load a DataSet or takes a name that is in use.
    """
    from data_prep.sources.sets import BUILTIN

    sets = {data_set.name: data_set for data_set in BUILTIN}
    for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        try:
            data_set = entry_point.load()
        except Exception as error:
            raise DataError(
                f"entry point {entry_point.name!r} ({entry_point.value}) does not load: {error}",
                remedy="mend or uninstall the package that registers it",
            ) from error
        if not isinstance(data_set, DataSet) or data_set.name in sets:
            why = "takes a name in use" if isinstance(data_set, DataSet) else "is no DataSet"
            raise DataError(f"entry point {entry_point.name!r} ({entry_point.value}) {why}")
        sets[data_set.name] = data_set
    return sets


def find_data_set(name: str) -> DataSet:
    """The set of this name (``-`` and ``_`` are the same); raises DataError listing the known names."""
    if name.startswith(GYM):
        return gym_set(name)
    sets = data_sets()
    key = name.lower().replace("-", "_")
    if key not in sets:
        raise DataError(f"unknown data set {name!r}", remedy=f"choose one of {', '.join(sets)}, {GYM}TASK")
    return sets[key]
