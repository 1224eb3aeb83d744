# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Property tests draw the same examples in every run, and have no deadline: a busy machine is not a failure.

`HTPO_TEST_PROFILE` chooses how many: `daily` (a few, the default) or `ci` (many; `scripts/run_tests.sh` without
`--fast`).
"""

import gc
import os
from functools import cache
from pathlib import Path

import omegaconf
import pytest
import yaml
from hypothesis import HealthCheck, settings

# An eighth of the time went into looking for garbage.
gc.set_threshold(50_000, 50, 50)
# A third of the time of tests that compose went into parsing the same files and interpolations, in Python.
yaml.SafeLoader = yaml.CSafeLoader
for module in (omegaconf.base, omegaconf._utils):
    module.parse = cache(module.parse)

MARKERS = ("slow", "stack", "faults")

for name, examples in (("daily", 10), ("ci", 60)):
    settings.register_profile(
        name,
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile(os.environ.get("HTPO_TEST_PROFILE", "daily"))


def names_marker(path: Path, marker: str) -> bool:
    return f"mark.{marker}" in path.read_text(encoding="utf-8")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where only a marker's tests are wanted, the other files need not be imported."""
    marker = config.option.markexpr
    if marker not in MARKERS or not collection_path.name.startswith("test_"):
        return None
    return not names_marker(collection_path, marker) or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """End where a marker came into a file by another way: with `-m` of it the file would be passed over."""
    found = {(item.path, marker.name) for item in items for marker in item.iter_markers() if marker.name in MARKERS}
    for path, marker in sorted(found):
        if not names_marker(path, marker):
            raise pytest.UsageError(f"{path} has tests marked {marker}: write pytest.mark.{marker} in the file itself")


def pytest_collection_finish(session: pytest.Session) -> None:
    """End where pytest-xdist does not hold groups together: two processes would start what one was to share."""
    if getattr(session.config.option, "loadgroup", False):
        for item in session.items:
            if item.get_closest_marker("xdist_group") and "@" not in item.nodeid:
                raise pytest.UsageError("this pytest-xdist does not group tests under this pytest; use pytest<9.2")
