# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What the preflight reports."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from omegaconf import DictConfig


@dataclass(frozen=True)
class Problem:
    """Something that would break or falsify the run: the field, what is wrong with it, and what to do."""

    field: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}\n    -> {self.remedy}"


Check = Callable[[DictConfig], Iterator[Problem]]
