# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Which scorer grades a row: the mathematics verifier, or a scorer of its own for a family of data sources.

Apart from reward.py, because verl may load that file by its path, a second time.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from recipe.htpo.verifier import Verdict

Scorer = Callable[[str, Any, Mapping[str, Any]], Verdict]
"""``scorer(response, ground_truth, extra_info)``. It may raise: the row then scores as ``internal_error``."""

SCORERS: dict[str, str] = {"reasoning_gym:": "recipe.htpo.tasks.reasoning_gym:score"}
"""Prefix of ``data_source`` -> ``module:function``. Imported at the first row, so that a run pays for what it uses."""


def scorer_for(data_source: str) -> Scorer | None:
    """The scorer with the longest prefix of ``data_source``, or None where the mathematics verifier grades."""
    prefix = max((prefix for prefix in SCORERS if data_source.startswith(prefix)), key=len, default=None)
    return None if prefix is None else load_scorer(SCORERS[prefix])


@lru_cache(maxsize=16)
def load_scorer(target: str) -> Scorer:
    """Import ``module:function``; raises ``ImportError`` or ``AttributeError`` where there is none."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
