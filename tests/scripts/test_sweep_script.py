# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""`scripts/sweep.sh` as far as its runs."""

import shutil

from script_support import SCRIPTS, run_script


def test_a_finished_run_is_kept_and_stands_for_no_other(tmp_path):
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    shutil.copy(SCRIPTS / "sweep.sh", scripts)
    (scripts / "setup_env.sh").write_text("echo true\n")
    (scripts / "run_htpo_cpu.sh").write_text('mkdir -p "$OUTPUT_DIR"; echo "$ALGO $SEED $*" >>"$CALLS"\n')
    fixed = {"CALLS": tmp_path / "calls", "OUT": tmp_path / "out", "PRESETS": "dapo htpo"}
    steps = "trainer.total_training_steps=3 trainer.val_before_train=False trainer.test_freq=-1"
    for _ in range(2):
        assert run_script(scripts / "sweep.sh", "a=1", SEED="4", **fixed).returncode == 0
        assert fixed["CALLS"].read_text().splitlines() == [f"dapo 4 {steps} a=1", f"htpo 4 {steps} a=1"]
    for arguments, knobs in (
        (["a=1"], {"SEED": "5"}),
        ([], {"SEED": "4"}),
        (["a=1"], {"SEED": "4", "STACK_STEPS": "4"}),
    ):
        refused = run_script(scripts / "sweep.sh", *arguments, **knobs, **fixed)
        assert refused.returncode == 2
        assert "out/stack/dapo is finished with SEED=4 STACK_STEPS=3 a=1, not with SEED=" in refused.stderr
    assert len(fixed["CALLS"].read_text().splitlines()) == 2
