# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What a scorer of a task raises where a row cannot be graded."""


class MissingInfo(KeyError):
    """``extra_info`` lacks the field that it names: the row was not made by ``data_prep build``."""
