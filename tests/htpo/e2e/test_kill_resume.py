# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL to a whole training run, and the same command again: in a save, and at some moment of a step.

`kill_resume.py` is the same with more kills (also in the start-up) and more steps:

    python tests/htpo/e2e/kill_resume.py --out DIR --kills 5 --steps 24 data.train_files=... data.val_files=... \\
        actor_rollout_ref.model.path=...
"""

from pathlib import Path

import kill_resume
import pytest

pytestmark = pytest.mark.slow


def test_kills_leave_no_trace(demo_inputs: list[str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    story = kill_resume.Story(tmp_path / "run", demo_inputs, steps=8)
    kill_resume.run(story, ["save", "step"], seed=1)
    assert list(kill_resume.findings(story)) == [], story.kills
    # The second start really resumed.
    assert (story.kills[-1].resumed_from or 0) >= 2
