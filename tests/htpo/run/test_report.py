# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The report of a run: figures from verl's metrics file, and a picture."""

import json
import sys
from dataclasses import replace

import pytest
from PIL import Image
from rich.console import Console
from verl.utils.tracking import FileLogger

from recipe.htpo.objective import metrics_from_sums
from recipe.htpo.run import report
from recipe.htpo.run.held_out import VALIDATION_DIR, Change
from recipe.htpo.run.metrics_log import read_steps
from recipe.htpo.run.record import next_metrics_file
from recipe.htpo.run.supervise import STATS_FILE


def group_metrics():
    """All names that the trainer logs, from sums of four tokens in every group."""
    names = (
        "tokens clip clip_lower neg_log_ratio ratio replaced replaced_above replaced_below detach_low detach_high "
        "entropy entropy_zero sign_mismatch abs_loss abs_grad"
    ).split()
    return metrics_from_sums({f"{name}/{group}": 4.0 for name in names for group in range(1, 9)})


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("VERL_FILE_LOGGER_PATH", str(next_metrics_file(tmp_path)))
    logger = FileLogger("project", "run")
    logger.log({"val-core/arithmetic/acc/mean@4": 0.25}, 0)
    for step, (rate, held_out) in enumerate([(0.3, None), (0.7, 0.75), (0.5, 0.5)], start=1):
        metrics = group_metrics() | {
            "htpo/pass_rate": rate,
            "htpo/pass_rate_generated": 0.6,
            "htpo/treated_frac": 0.01 * (step + 1),
            "htpo/replaced_frac": 0.01,
            "htpo/hard_prompt_frac": 1 - rate,
            "actor/entropy": 1.0 / step,
            "timing_s/step": float(step),
            "timing_s/gen": 0.5,
        }
        if held_out is not None:
            metrics |= {"val-core/arithmetic/acc/mean@4": held_out, "timing_s/testing": 10.0}
        logger.log(metrics, step)
    logger.finish()
    return tmp_path


def cells(table):
    return [[column._cells[row] for column in table.columns] for row in range(table.row_count)]


HELD_OUT = Change(first_step=0, last_step=3, prompts=64, responses=2, before=0.25, after=0.5, low=0.2, high=0.3)


def test_accuracy_before_and_after_with_its_interval(run_dir):
    rows = cells(report.accuracy_table(read_steps(run_dir), HELD_OUT))
    assert rows == [
        ["held-out arithmetic", "0.250", "0.500", "+25.0", "+20.0 to +30.0"],
        # Before dynamic sampling drops prompts, and not `htpo/pass_rate`, which is of those that it keeps.
        ["training, as generated", "0.600", "0.600", "+0.0", ""],
    ]


def test_the_ends_of_training_have_no_step_in_common(tmp_path):
    steps = {step: {"htpo/pass_rate_generated": rate} for step, rate in enumerate((0.1, 0.5, 0.9), start=1)}
    table = report.accuracy_table(steps, None)
    assert cells(table) == [["training, as generated", "0.100", "0.900", "+80.0", ""]]
    assert table.caption == "steps 1 to 3; training: means of 1 steps"
    assert cells(report.accuracy_table({1: steps[1]}, None)) == [["training, as generated", "0.100", "", "", ""]]
    many = {step: {"htpo/pass_rate_generated": step / 100} for step in range(1, 13)}
    assert cells(report.accuracy_table(many, None)) == [["training, as generated", "0.030", "0.100", "+7.0", ""]]


def test_no_interval_without_the_answers(run_dir):
    assert cells(report.accuracy_table(read_steps(run_dir), None))[0][-1] == ""


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [(0.01, 0.3, "it learned"), (-0.3, -0.01, "it got worse"), (-0.01, 0.3, "no change that could be told")],
)
def test_the_verdict_is_the_intervals(low, high, says):
    assert says in report.verdict(replace(HELD_OUT, low=low, high=high))


def test_shares_of_tokens_treated_unlike_ppo(run_dir):
    rows = dict(cells(report.treatment_table(read_steps(run_dir))))
    assert rows["treated unlike PPO: replaced or detached"] == "3.00 %"
    assert rows["replaced: a fork term instead of PPO's"] == "1.00 %"


def test_a_metric_that_is_no_number_is_passed_over(run_dir, monkeypatch, capsys):
    with next_metrics_file(run_dir).open("w") as stream:
        data = {"htpo/pass_rate": 0.5, "htpo/treated_frac": None, "actor/entropy": None}
        stream.write(json.dumps({"step": 4, "data": data}) + "\n")
    monkeypatch.setattr(sys, "argv", ["report", str(run_dir)])
    assert report.main() == 0
    assert "3.00 %" in capsys.readouterr().out


def test_time_and_memory(run_dir):
    (run_dir / report.PHASES_FILE).write_text("environment\t12\ntraining\t99.6\n")
    (run_dir / STATS_FILE).write_text(json.dumps({"peak_pss_bytes": 3 * 2**30}))
    assert cells(report.time_table(read_steps(run_dir), run_dir)) == [
        ["environment", "12 s"],
        ["training", "100 s"],
        ["  of it, in steps", "6 s"],
        ["  of it, in validations after a step", "20 s"],
        ["  of it, start of the processes, first validation, saving", "74 s"],
        ["mean of a step: step", "2.00 s"],
        ["mean of a step: gen", "0.50 s"],
        ["peak memory of all processes (PSS)", "3.0 GiB"],
    ]


def test_time_is_that_of_the_last_start(run_dir):
    """The steps of earlier ones were not trained in its time."""
    with next_metrics_file(run_dir).open("w") as stream:
        stream.write(json.dumps({"step": 4, "data": {"timing_s/step": 2.0, "timing_s/testing": 1.0}}) + "\n")
    (run_dir / report.PHASES_FILE).write_text("training\t4\n")
    rows = dict(cells(report.time_table(read_steps(run_dir), run_dir)))
    assert [rows[name] for name in rows if "of it" in name] == ["2 s", "1 s", "1 s"]
    assert rows["mean of a step: step"] == "2.00 s"
    # That start recorded nothing, and the newest file is another's.
    (run_dir / report.PHASES_FILE).write_text("training\t1\n")
    rows = dict(cells(report.time_table(read_steps(run_dir), run_dir)))
    assert rows["training"] == "1 s" and not [name for name in rows if "of it" in name]


def test_damaged_records_of_time_and_memory_are_left_out(run_dir):
    (run_dir / report.PHASES_FILE).write_text("environment\t12\ndata\t\ntrai")
    (run_dir / STATS_FILE).write_text("")
    names = list(dict(cells(report.time_table(read_steps(run_dir), run_dir))))
    assert names == ["environment", "mean of a step: step", "mean of a step: gen"]


def test_the_command_prints_the_table_and_draws_the_curves(run_dir, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["report", str(run_dir)])
    assert report.main() == 0
    output = capsys.readouterr().out
    assert "held-out arithmetic" in output and "+25.0" in output and report.CURVES_FILE in output
    # Validated three times, by its metrics: what it lacks are the answers.
    assert "verdict: none without the answers of two validations in validation/" in output
    # Only what is there is pointed at.
    assert f"{run_dir / VALIDATION_DIR}: " not in output
    with Image.open(run_dir / report.CURVES_FILE) as image:
        image.load()
        assert image.format == "PNG" and image.width > 600 and image.height > 400
        # Something is drawn: all eight groups' colours are there.
        drawn = {"#{:02x}{:02x}{:02x}".format(*pixel) for _, pixel in image.convert("RGB").getcolors(2**24)}
    assert set(report.GROUP_COLOURS) <= drawn


def test_a_damaged_validation_costs_the_verdict_only(run_dir, monkeypatch, capsys):
    (run_dir / VALIDATION_DIR).mkdir()
    for step in (0, 1):
        (run_dir / VALIDATION_DIR / f"{step}.jsonl").write_text("{\n{}\n")
    monkeypatch.setattr(sys, "argv", ["report", str(run_dir)])
    assert report.main() == 0
    output = capsys.readouterr().out
    assert "0.jsonl: line 1 is no JSON" in output and "tokens treated unlike PPO" in output


def test_a_run_that_was_only_validated(tmp_path, monkeypatch):
    monkeypatch.setenv("VERL_FILE_LOGGER_PATH", str(next_metrics_file(tmp_path)))
    logger = FileLogger("project", "run")
    logger.log({"val-core/arithmetic/acc/mean@4": 0.25}, 0)
    logger.finish()
    steps = read_steps(tmp_path)
    assert report.draw_curves(steps, tmp_path / "curves.png").stat().st_size > 1000
    console = Console(record=True, width=100)
    console.print(report.accuracy_table(steps, None))
    output = console.export_text()
    assert "0.250" in output and "+0.0" not in output


def test_brackets_and_dollars_in_names_are_no_markup(tmp_path, monkeypatch, capsys):
    run_dir = tmp_path / "run[1]" / "a"
    line = json.dumps(
        {"step": 0, "data": {"val-core/math[/hard]/acc/mean@1": 0.5, "val-core/$\\frac$/acc/mean@1": 0.5}}
    )
    next_metrics_file(run_dir).write_text(f"{line}\n")
    monkeypatch.setattr(sys, "argv", ["report", str(run_dir)])
    assert report.main() == 0
    output = capsys.readouterr().out
    assert (
        "held-out math[/hard]" in output and "held-out $\\frac$" in output and "run[1]/a/curves.png: curves" in output
    )


def test_a_picture_that_cannot_be_written_costs_the_picture_only(run_dir, monkeypatch, capsys):
    (run_dir / report.CURVES_FILE).mkdir()
    monkeypatch.setattr(sys, "argv", ["report", str(run_dir)])
    assert report.main() == 0
    found = capsys.readouterr()
    assert "held-out arithmetic" in found.out and "curves.png: not drawn" in found.err


def test_a_directory_without_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["report", str(tmp_path)])
    assert report.main() == 2
    assert "no metrics of a run there; give the run's htpo.output_dir" in capsys.readouterr().err
