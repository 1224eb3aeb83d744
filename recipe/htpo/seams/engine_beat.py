# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The training engines' part of the heartbeat: micro-batches, of an update and of passes without one."""

from typing import Any

from recipe.htpo.run import heartbeat


class EngineBeat:
    """Mixed in before one of verl's engine classes: touches the run's heartbeat file before each micro-batch."""

    def forward_step(self, *args: Any, **kwargs: Any) -> Any:
        """verl's forward pass of one micro-batch."""
        heartbeat.beat()
        return super().forward_step(*args, **kwargs)  # type: ignore[misc]
