# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
import pytest

from recipe.htpo.evaluation import intervals


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """The bands' width is the evaluation package's matter, and most of a comparison's time."""
    monkeypatch.setattr(intervals, "RESAMPLES", 100)
