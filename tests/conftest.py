# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Property tests draw the same examples in every run, and have no deadline: a busy machine is not a failure.

`HTPO_TEST_PROFILE` chooses how many: `daily` (a few, the default) or `ci` (many; `scripts/run_tests.sh` without
`--fast`).
"""

import os

from hypothesis import HealthCheck, settings

for name, examples in (("daily", 10), ("ci", 60)):
    settings.register_profile(
        name,
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile(os.environ.get("HTPO_TEST_PROFILE", "daily"))
