# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What is said of a run that may not start."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Something that would break or falsify the run: the field, what is wrong with it, and what to do."""

    field: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}\n    -> {self.remedy}"
