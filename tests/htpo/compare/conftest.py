# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
import gc

import pytest

from recipe.htpo.evaluation import intervals


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """The bands' width is the evaluation package's matter, and costs time; so does statsmodels, which collects garbage
    at every correction of p-values."""
    monkeypatch.setattr(intervals, "RESAMPLES", 100)
    monkeypatch.setattr(gc, "collect", lambda *_: 0)
