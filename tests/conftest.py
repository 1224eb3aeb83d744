# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Property tests draw the same examples in every run, and have no deadline: a busy machine is not a failure.

`HTPO_TEST_PROFILE` chooses how many: `daily` (a few, the default) or `ci` (many; `scripts/run_tests.sh` without
`--fast`).
"""

import gc
import os

import pytest
from hypothesis import HealthCheck, settings

# An eighth of the time went into looking for garbage.
gc.set_threshold(50_000, 50, 50)

for name, examples in (("daily", 10), ("ci", 60)):
    settings.register_profile(
        name,
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile(os.environ.get("HTPO_TEST_PROFILE", "daily"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """End where pytest-xdist does not hold groups together: two processes would start what one was to share."""
    if getattr(session.config.option, "loadgroup", False):
        for item in session.items:
            if item.get_closest_marker("xdist_group") and "@" not in item.nodeid:
                raise pytest.UsageError("this pytest-xdist does not group tests under this pytest; use pytest<9.2")
