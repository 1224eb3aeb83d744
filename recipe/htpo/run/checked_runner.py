# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Something to do between `ray.init` and the first actor of a run.

verl's `run_ppo` connects to Ray and then makes the task runner (verl/trainer/main_ppo.py). The nodes can be asked
only in between; an object that stands for the runner's class gets its turn there, so that verl alone initialises Ray.
"""

from collections.abc import Callable
from typing import Any


class CheckedRunner:
    """Stands for a Ray actor class: `remote` and `options`, but `before_start` runs before an actor is made."""

    def __init__(self, actor_class: Any, before_start: Callable[[], None]) -> None:
        self._actor_class = actor_class
        self._before_start = before_start

    def options(self, **options: Any) -> "CheckedRunner":
        """As `ray.actor.ActorClass.options`."""
        return CheckedRunner(self._actor_class.options(**options), self._before_start)

    def remote(self) -> Any:
        """The actor's handle. What `before_start` raises comes out, and no actor was made."""
        self._before_start()
        return self._actor_class.remote()
