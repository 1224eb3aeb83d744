# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What can go wrong between an answer string and its value. All three stay inside the verifier."""


class Unreadable(Exception):
    """The grammar does not know this text."""


class OverLimit(Exception):
    """Reading or computing this text would exceed a limit of the config."""


class Undefined(Exception):
    """The expression has no value here: a division by zero, a logarithm of zero, words."""
