# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Ask Math-Verify about a response that the verifier did not accept, without the risk that it stalls training.

It runs in one child process per process, is asked only about refusals, and gives up after a limit: a time-out, a crash
or a busy child is no opinion, is counted, and changes nothing.
"""

from __future__ import annotations

import atexit
import threading
from collections import Counter

from recipe.htpo.verifier.child import ChildGrader


class SecondOpinion:
    """A thread-safe Math-Verify with counters: ``asked``, ``correct``, ``wrong``, ``timeout``, ``busy``, ``failed``."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._child = ChildGrader("math_verify", limit_s)
        atexit.register(self.close)

    def ask(self, response: str, ground_truth: str) -> bool | None:
        """Math-Verify's verdict, or None; waits at most ``limit_s`` for its turn and ``limit_s`` for the verdict (and,
        when a child must be started, for its imports)."""
        if not self._lock.acquire(timeout=self.limit_s):
            self.counts["busy"] += 1
            return None
        try:
            result = self._child.grade(response, ground_truth)
            self.counts["asked"] += 1
            if result.correct is None:
                self.counts["timeout" if "time limit" in result.problem else "failed"] += 1
            else:
                self.counts["correct" if result.correct else "wrong"] += 1
            return result.correct
        finally:
            self._lock.release()

    def close(self) -> None:
        """Kill the child."""
        self._child.close()


_opinions: dict[float, SecondOpinion] = {}
_opinions_lock = threading.Lock()


def shared_opinion(limit_s: float) -> SecondOpinion:
    """The opinion of this process for a limit; its child starts with the first question."""
    with _opinions_lock:
        if limit_s not in _opinions:
            _opinions[limit_s] = SecondOpinion(limit_s)
        return _opinions[limit_s]
