# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL to a whole training run in a save, and the same command again.

`kill_resume.py` is the same with more steps and more kills, in a step and in the start-up as well:

    python tests/htpo/e2e/kill_resume.py --out DIR --kills 5 --steps 24 data.train_files=... data.val_files=... \\
        actor_rollout_ref.model.path=...
"""

from pathlib import Path

import kill_resume
import pytest

pytestmark = pytest.mark.slow


def test_kills_leave_no_trace(demo_inputs: list[str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    story = kill_resume.Story(tmp_path / "run", demo_inputs, steps=6)
    kill_resume.run(story, ["save"], seed=1)
    assert list(kill_resume.findings(story)) == [], story.kills
    # From the checkpoint of step 2 if the kill left it whole, else from the beginning: findings() has compared.
    assert story.kills[0].resumed_from in (0, 2)
