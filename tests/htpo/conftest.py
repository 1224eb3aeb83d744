# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Property tests draw the same examples in every run, and have no deadline: a busy machine is not a failure."""

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")
