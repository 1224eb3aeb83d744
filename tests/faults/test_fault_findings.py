# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The campaign's own checks: they see what they are there for, and a usual test run leaves the campaign out."""

import json

import fault_findings
import fault_scenarios
import fault_table
import pytest
from faulty_run import FaultyRun


@pytest.fixture
def run(tmp_path):
    (tmp_path / "metrics").mkdir()
    return FaultyRun(tmp_path, tmp_path, "fsdp", [], steps=5)


def write(run, name, *steps):
    lines = [json.dumps({"step": step, "data": {"actor/lr": 1.0 / step}}) for step in steps]
    (run.output_dir / "metrics" / name).write_text("\n".join(lines) + '\n{"step": 9, "da')


def test_every_step_once_in_the_files_of_all_starts(run):
    write(run, "0000.jsonl", 1, 2)
    write(run, "0001.jsonl", 3, 4, 5)
    assert list(fault_findings._records(run)) == []
    write(run, "0001.jsonl", 2, 3, 5)
    assert list(fault_findings._records(run)) == [
        "steps without a record: [4]",
        "steps recorded more than once: [2]",
    ]


def test_a_schedule_that_began_anew_is_seen(run):
    write(run, "0000.jsonl", 1, 2, 3)
    lines = [json.dumps({"step": step, "data": {"actor/lr": 1.0 / 3}}) for step in (4, 5)]
    (run.output_dir / "metrics" / "0001.jsonl").write_text("\n".join(lines))
    assert len(list(fault_findings._records(run))) == 1


def test_a_start_that_went_back_is_seen(run):
    (run.output_dir / "log.txt").write_text("Resuming from x, setting global step to 3\n")
    assert list(fault_findings.of_resume(run, [2, 3])) == []
    assert list(fault_findings.of_resume(run, [3, 4])) == ["resumed from 3, the whole checkpoints were [3, 4]"]


def test_the_reason_is_the_last_error_of_the_log():
    log = "ValueError: first\n\x1b[36m(pid=1)\x1b[0m torch.cuda.OutOfMemoryError: last\nTraceback\n"
    assert fault_scenarios.reason(log) == "torch.cuda.OutOfMemoryError: last"
    assert fault_scenarios.reason(log + "HTPO watchdog: no progress for 3 s in x; y") == (
        "HTPO watchdog: no progress for 3 s in x"
    )
    assert fault_scenarios.reason("(pid=1) WARNING [base.py:1] ValueError: harmless") == "no reason in the log"


def test_the_table_counts_kills_without_findings():
    kill = {"date": "d", "commit": "c", "backend": "fsdp", "fault": "SIGKILL, ray", "outcome": "o", "findings": []}
    lines = list(fault_table.table([kill, kill | {"findings": ["a | b"]}, kill | {"fault": "disk full"}]))
    assert lines[-1] == "SIGKILLs after which nothing was amiss: 1 of 2."
    assert lines[3] == "| d | c | fsdp | SIGKILL, ray | o | a / b |"


@pytest.mark.parametrize("expression, left_out", [("", True), ("not slow", True), ("slow", True), ("faults", False)])
def test_only_the_marker_selects_the_campaign(expression, left_out):
    assert fault_table.left_out("test_faults.py", expression) is left_out
    assert not fault_table.left_out("test_fault_findings.py", expression)
