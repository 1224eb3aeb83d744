# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""matplotlib as every picture here is drawn: to files, and names as they are."""

from types import ModuleType


def pyplot() -> ModuleType:
    """`matplotlib.pyplot`, imported when a picture is drawn: it takes a second."""
    import matplotlib

    matplotlib.use("Agg")
    # Names of arms and data sources are no formulas, and may hold dollars.
    matplotlib.rcParams["text.parse_math"] = False
    from matplotlib import pyplot

    return pyplot
