# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What is said of a run that may not start."""

from dataclasses import dataclass

# A wrong setting: the scripts never start it again, and what earlier starts left stays as it was.
EXIT_CODE = 2


@dataclass(frozen=True)
class Problem:
    """Something that would break or falsify the run: the field, what is wrong with it, and what to do.

    `transient`: it may pass by itself, such as a node that is not back yet.
    """

    field: str
    message: str
    remedy: str
    transient: bool = False

    def __str__(self) -> str:
        return f"{self.field}: {self.message}\n    -> {self.remedy}"
