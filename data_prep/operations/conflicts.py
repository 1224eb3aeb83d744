# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Problems that come with more than one answer."""

import json
from collections.abc import Mapping, Sequence

from data_prep.storage.digests import DigestMap, digest


def problem_key(problem: str, context: Sequence[Mapping[str, str]] = ()) -> tuple[str, ...]:
    """What makes a problem the same one: its text, and the messages before it."""
    return (problem, json.dumps(list(context), sort_keys=True)) if context else (problem,)


class Conflicts:
    """Meets problems and their answers one by one. Use as a context manager."""

    def __init__(self) -> None:
        self._answers = DigestMap()
        self._conflicting = DigestMap()
        self.problems = 0
        """Distinct problems so far."""
        self.count = 0
        """Those of them that have several answers."""

    def __enter__(self) -> "Conflicts":
        return self

    def __exit__(self, *exception: object) -> None:
        self._answers.__exit__(*exception)
        self._conflicting.__exit__(*exception)

    def add(self, problem: bytes, answer: str) -> bool:
        """Whether the problem (a digest of ``problem_key``) came with another answer before."""
        code = int.from_bytes(digest(answer)[:8], "big", signed=True)
        first = self._answers.get(problem)
        if first is None:
            self._answers.set(problem, code)
            self.problems += 1
        elif first != code:
            if not self.has(problem):
                self._conflicting.set(problem, 1)
                self.count += 1
            return True
        return False

    def has(self, problem: bytes) -> bool:
        """Whether the problem has several answers, as far as was met."""
        return self._conflicting.get(problem) is not None
