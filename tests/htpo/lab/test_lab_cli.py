# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
import json
import multiprocessing
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import psutil
import pytest

from recipe.htpo.lab import runs, task
from recipe.htpo.lab.__main__ import main
from recipe.htpo.lab.loop import Lab
from recipe.htpo.lab.model import make_model, make_tokenizer
from recipe.htpo.lab.task import TASKS

RESULT = '{"start": {}, "steps": [{"step": 1, "evaluated": 1, "pass@1": 0, "pass@8": 0}], "collapsed": false}'
SMALL = ["regime.prompts=2", "regime.responses=4", "regime.updates=2"]


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Runs `run` in this process on a fresh model and a verifier that accepts half of all texts; returns its exit."""
    tokenizer = make_tokenizer()
    make_model(tokenizer, seed=0).save_pretrained(tmp_path / "fresh")
    tokenizer.save_pretrained(tmp_path / "fresh")
    monkeypatch.setattr(task, "compute_score", lambda _, text, *rest: {"acc": float(sum(text.encode()) % 2)})
    for name, known in TASKS.items():
        monkeypatch.setitem(TASKS, name, replace(known, max_response_tokens=6))
    fixed = ["--model", str(tmp_path / "fresh"), "--eval-prompts", "2", "--out", str(tmp_path / "out")]

    def call(*arguments: str, overrides: Sequence[str] = (), workers: int = 1) -> int:
        return main(["run", *arguments, *fixed, "--workers", str(workers), *overrides, *SMALL])

    return call


def test_results_are_where_and_what_the_contract_says(lab, tmp_path):
    assert lab("--objective", "htpo", "dapo", "--seeds", "1", "2", "--regime", "off_policy", "--steps", "2") == 0
    for objective in ("htpo", "dapo"):
        for seed in (1, 2):
            result = json.loads((tmp_path / "out" / objective / f"seed_{seed}.json").read_text())
            assert result["collapsed"] is False
            assert [record["step"] for record in result["steps"]] == [1, 2]
            for record in result["steps"]:
                assert {"step", "pass@1", "pass@8", "replaced", "entropy"} <= record.keys()
            assert result["plan"]["objective"]["preset"] == objective and result["plan"]["seed"] == seed
    assert result["start"]["pass@1"] > 0
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_finished_runs_are_kept_and_interrupted_ones_start_anew(lab, tmp_path, monkeypatch, capsys):
    arguments = ("--objective", "dapo", "--seeds", "1", "2", "--steps", "2")
    real_step = Lab.step

    def step(self, index):
        if self.plan.seed == 2 and index == 1:
            raise KeyboardInterrupt
        return real_step(self, index)

    monkeypatch.setattr(Lab, "step", step)
    with pytest.raises(KeyboardInterrupt):
        lab(*arguments)
    first = tmp_path / "out" / "dapo" / "seed_1.json"
    assert [path.name for path in first.parent.iterdir()] == ["seed_1.json"]
    written = first.stat().st_mtime_ns
    monkeypatch.setattr(Lab, "step", real_step)
    assert lab(*arguments) == 0
    assert first.stat().st_mtime_ns == written
    assert sorted(path.name for path in first.parent.iterdir()) == ["seed_1.json", "seed_2.json"]
    assert lab(*arguments) == 0
    assert "2 of 2 runs are finished" in capsys.readouterr().out


def test_a_presets_clip_goes_before_the_regimes_and_the_command_lines_before_both(lab, tmp_path):
    assert lab("--objective", "gspo", "--seeds", "1", "--steps", "1", overrides=["regime.clip_ratio_low=0.001"]) == 0
    plan = json.loads((tmp_path / "out" / "gspo" / "seed_1.json").read_text())["plan"]
    assert (plan["regime"]["clip_ratio_low"], plan["regime"]["clip_ratio_high"]) == (0.001, 4e-4)
    assert plan["settings"] == {"policy_loss": {"loss_mode": "gspo"}, "loss_agg_mode": "seq-mean-token-mean"}


def test_a_result_without_fields_that_have_their_defaults_is_finished(lab, tmp_path, capsys):
    arguments = ("--objective", "dapo", "--seeds", "1", "--steps", "1")
    assert lab(*arguments) == 0
    path = tmp_path / "out" / "dapo" / "seed_1.json"
    result = json.loads(path.read_text())
    assert result["plan"].pop("task") == "arithmetic"
    del result["plan"]["settings"]
    for row in result["plan"]["objective"]["cells"].values():
        del row["kl_scale"]
    path.write_text(json.dumps(result))
    assert lab(*arguments) == 0
    assert "1 of 1 runs are finished" in capsys.readouterr().out


def test_tokens_of_a_finished_run_are_asked_for_in_vain(lab, tmp_path, capsys):
    arguments = ("--objective", "dapo", "--seeds", "1", "--steps", "2")
    dump = ["htpo.dump_tokens.steps=[1,2]"]
    assert lab(*arguments, overrides=dump) == 0
    assert lab(*arguments, overrides=dump) == 0
    assert "1 of 1 runs are finished" in capsys.readouterr().out
    (tmp_path / "out" / "dapo" / "seed_1" / "tokens" / "step_000002.parquet").unlink()
    with pytest.raises(
        SystemExit, match="htpo.dump_tokens.steps: .*seed_1.json is finished.*of .2. are.*another directory"
    ):
        lab(*arguments, overrides=dump)
    # It ended before that step.
    path = tmp_path / "out" / "dapo" / "seed_1.json"
    result = json.loads(path.read_text())
    path.write_text(json.dumps(result | {"steps": result["steps"][:1], "collapsed": "held-out pass@1 0.010 at step 1"}))
    assert lab(*arguments, overrides=dump) == 0
    with pytest.raises(SystemExit, match="htpo.dump_tokens.steps: the run has 2 steps, got .3.; raise --steps"):
        lab(*arguments, overrides=["htpo.dump_tokens.steps=[1,3]"])


def test_runs_from_another_model_never_mix(lab, tmp_path):
    arguments = ("--objective", "dapo", "--seeds", "1", "--steps", "1")
    assert lab(*arguments) == 0
    make_model(make_tokenizer(), seed=1).save_pretrained(tmp_path / "fresh")
    with pytest.raises(SystemExit, match="seed_1.json began from another model"):
        lab(*arguments)


def test_overrides_make_a_named_arm_and_never_mix_with_another(lab, tmp_path):
    arguments = ["--objective", "dapo", "--seeds", "1", "--steps", "1"]
    assert lab(*arguments, "--name", "entropy_all", overrides=["high_entropy_ratio=0.5", "regime.lr=2e-4"]) == 0
    written = json.loads((tmp_path / "out" / "entropy_all" / "seed_1.json").read_text())["plan"]
    assert written["objective"]["high_entropy_ratio"] == 0.5
    assert written["regime"]["lr"] == 2e-4
    with pytest.raises(SystemExit, match="another run .objective, regime differ."):
        lab(*arguments, "--name", "entropy_all")


@pytest.mark.parametrize(
    ("arguments", "overrides", "message"),
    [
        (["dapo", "htpo", "--name", "both"], [], "one --objective"),
        (["dapo"], ["cells.hard_wrong_high.rule=never"], "never"),
        (["dapo"], ["cells=never"], "objective.cells"),
        (["dapo"], ["objective.cells.hard_wrong_high.rule=ppo"], "objective.*: .* stand without it, as in cells.hard"),
        (["dapo"], ["regime.rate=1"], "no field rate"),
        (["dapo"], ["regime.lr=low"], "regime.lr must be float, got 'low'"),
        (["dapo"], ["regime.max_generation_factor=2.5"], "regime.max_generation_factor must be int, got 2.5"),
        (["dapo"], ["regime.lr=true"], "regime.lr must be float, got True"),
        (["dapo"], ["regime.lr_warmup_steps=.inf"], "regime.lr_warmup_steps must be int, got inf"),
        (["dapo"], ["regime.weight_decay=-1"], "regime.weight_decay must not be negative, got -1"),
        (["dapo"], ["htpo.output_dir=a"], "htpo: of it the lab has htpo.dump_tokens.steps"),
        (["dapo"], ["htpo=a"], "htpo: of it the lab has htpo.dump_tokens.steps"),
        (["dapo"], ["htpo.dump_tokens.steps=1"], "htpo.dump_tokens.steps must be a list"),
        (["dapo", "--steps", "0"], [], "steps must be at least 1, got 0"),
        (["dapo", "--eval-every", "0"], [], "eval_every must be at least 1, got 0"),
        (["dapo", "--final-samples", "4"], [], "final_samples must be at least 8"),
        (["dapo", "--name", "a/b"], [], "--name must be the name of one directory, and not model, got 'a/b'"),
        (["dapo", "--name", "model"], [], "--name must be the name of one directory, and not model, got 'model'"),
    ],
)
def test_mistakes_are_named(lab, arguments, overrides, message):
    with pytest.raises(SystemExit, match=message):
        lab("--seeds", "1", "--objective", *arguments, overrides=overrides)


def test_mistakes_of_the_last_word_are_named(lab):
    """The fixture's own overrides name fields of the regime."""
    for overrides, message in (
        (["regime=foo"], "regime: 'foo' is no field; write regime.lr"),
        (["a=[1"], "overrides a=.1: .*; write FIELD=VALUE"),
    ):
        with pytest.raises(SystemExit, match=message):
            main(["run", "--objective", "dapo", "--seeds", "1", "--out", "nowhere", *overrides])
    with pytest.raises(SystemExit, match="--workers must be at least 1, got 0"):
        lab("--objective", "dapo", "--seeds", "1", workers=0)


def test_updates_that_would_be_fewer_than_asked_for(tmp_path):
    with pytest.raises(SystemExit, match="regime.updates must divide regime.prompts, 32, got 9"):
        main(["run", "--objective", "dapo", "--seeds", "1", "--out", str(tmp_path), "regime.updates=9"])


def test_what_a_run_would_need_in_vain_is_named_before_it_trains(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(Lab, "step", lambda *_: pytest.fail("trained"))
    arguments = ["--objective", "dapo", "--seeds", "1"]
    (tmp_path / "out").write_text("a file")
    with pytest.raises(SystemExit, match=f"--out .*: {tmp_path / 'out'} is a file; choose another directory"):
        lab(*arguments)
    (tmp_path / "out").unlink()
    result = tmp_path / "out" / "dapo" / "seed_1.json"
    result.parent.mkdir(parents=True)
    for text, message in (
        ("{", "cannot be read"),
        ("[1]", "has no field start"),
        (RESULT, "has no field plan.objecti"),
    ):
        result.write_text(text)
        with pytest.raises(SystemExit, match=f"{result}: {message}.*; delete it, and run the lab again"):
            lab(*arguments)
    call = ["run", *arguments, "--out", str(tmp_path / "other"), "--model"]
    with pytest.raises(SystemExit, match="--model .* is no directory of a model: it has no model.safetensors"):
        main([*call, str(tmp_path)])
    with pytest.raises(SystemExit, match="--eval-prompts: count=600 asks for more problems than were found"):
        main([*call, str(tmp_path / "fresh"), "--task", "countdown", "--eval-prompts", "600"])


def test_a_model_that_runs_began_from_is_not_made_anew(tmp_path):
    """It would be another one, and the new runs would stand beside the old ones as seeds of the same."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "warmup.json").write_text('{"recipe": {"version": 0}}')
    _write(tmp_path, "dapo", 1, 0.5)
    call = ["run", "--objective", "htpo", "--seeds", "1", "--steps", "1", "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match="model, from which .* is of another recipe .*version: 0 there.*another --out"):
        main(call)
    (model / "warmup.json").unlink()
    with pytest.raises(SystemExit, match="model exists but is no demo model"):
        main(call)


def test_overrides_on_both_sides_of_an_option(lab, tmp_path, capsys):
    arguments = ["--objective", "dapo", "--steps", "1", "high_entropy_ratio=0.5", "--seeds", "1"]
    assert lab(*arguments, overrides=["regime.lr=2e-4"]) == 0
    written = json.loads((tmp_path / "out" / "dapo" / "seed_1.json").read_text())["plan"]
    assert (written["objective"]["high_entropy_ratio"], written["regime"]["lr"]) == (0.5, 2e-4)
    for mistaken in (["run", *arguments, "--out", "nowhere", "--stride=1"], ["table", "nowhere", "a=1"]):
        with pytest.raises(SystemExit):
            main(mistaken)
        assert f"unrecognized arguments: {mistaken[-1]}" in capsys.readouterr().err


def test_parallel_workers_and_one_process_agree(lab, tmp_path, monkeypatch):
    """The processes are forked: new interpreters would take most of the time, and have a verifier of their own."""
    monkeypatch.setattr(runs.multiprocessing, "get_context", lambda _, get=multiprocessing.get_context: get("fork"))
    for workers in (1, 2):
        name = f"with_{workers}"
        assert lab("--objective", "dapo", "--name", name, "--seeds", "1", "2", "--steps", "1", workers=workers) == 0
    for seed in (1, 2):
        one, two = (json.loads((tmp_path / f"out/with_{n}/seed_{seed}.json").read_text()) for n in (1, 2))
        for step in one["steps"] + two["steps"]:
            del step["cpu_s"]
        assert one == two


@pytest.mark.long
def test_workers_end_with_a_killed_run():
    code = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from recipe.htpo.lab.runs import start_worker

with ProcessPoolExecutor(1, multiprocessing.get_context("fork"), start_worker) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        worker = psutil.Process(int(run.stdout.readline()))
        run.kill()
    worker.wait(timeout=60)


def _write(folder, arm: str, seed: int, pass_at_1: float, collapsed: bool | str = False) -> None:
    common = {"replaced": 0.01, "treated": 0.02, "clipped": 0.03, "entropy": 0.5}
    steps = [
        {"step": 1, "evaluated": 0, "pass@1": 0.3, "pass@8": 0.8, **common},
        {"step": 2, "evaluated": 2, "pass@1": pass_at_1, "pass@8": 0.9, **common},
    ]
    (folder / arm).mkdir(exist_ok=True)
    result = {"start": {"pass@1": 0.3, "pass@8": 0.8}, "steps": steps, "collapsed": collapsed}
    (folder / arm / f"seed_{seed}.json").write_text(json.dumps(result))


def test_table_pairs_the_arms_seed_by_seed(tmp_path, capsys):
    for seed, value in ((1, 0.50), (2, 0.40)):
        _write(tmp_path, "dapo", seed, value)
        _write(tmp_path, "htpo", seed, value + 0.01 * seed)
    _write(tmp_path, "htpo", 3, 0.01, collapsed="held-out pass@1 0.010 at step 2")
    assert main(["table", str(tmp_path)]) == 0
    lines = {line.split("|")[1].strip(): line for line in capsys.readouterr().out.splitlines() if "|" in line}
    assert "0.510/0.900 0.420/0.900 0.010/0.900" in lines["htpo"]
    assert "+1.5 +- 0.5 (2)" in lines["htpo"]
    assert "1.00" in lines["htpo"] and "2.00" in lines["htpo"] and "1 of 3" in lines["htpo"]
    assert "+-" not in lines["dapo"] and "0.450" in lines["dapo"]


def test_a_step_that_trained_on_nothing_is_in_no_mean_and_no_curve(tmp_path, capsys):
    for seed, replaced in ((1, 0.0), (2, None)):
        _write(tmp_path, "htpo", seed, 0.5)
        path = tmp_path / "htpo" / f"seed_{seed}.json"
        result = json.loads(path.read_text())
        # As older results have it, and as a run that ends at its first step has.
        result["steps"][1] |= {"mixed": 0, "replaced": replaced, "treated": 0.0, "entropy": replaced}
        path.write_text(json.dumps(result))
    assert main(["table", str(tmp_path)]) == 0
    assert "| 1.00 | 2.00 | 3.00 |" in re.sub(" +", " ", capsys.readouterr().out)
    for seed in (1, 2):
        path = tmp_path / "htpo" / f"seed_{seed}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"steps": json.loads(path.read_text())["steps"][1:]}))
    assert main(["table", str(tmp_path)]) == 0
    assert "| - | - | - |" in re.sub(" +", " ", capsys.readouterr().out)
    assert main(["plot", str(tmp_path), "--file", str(tmp_path / "curves.png")]) == 0


def test_table_averages_the_last_evaluations(tmp_path, capsys):
    for arm, value in (("dapo", 0.4), ("htpo", 0.6)):
        _write(tmp_path, arm, 1, value)
        path = tmp_path / arm / "seed_1.json"
        result = json.loads(path.read_text())
        result["steps"][0]["evaluated"] = 1
        path.write_text(json.dumps(result))
    assert main(["table", str(tmp_path), "--evaluations", "2"]) == 0
    output = capsys.readouterr().out
    assert "0.350/0.850" in output and "0.450/0.850" in output and "+10.0 (1)" in output


def test_plot_writes_a_picture(tmp_path):
    for arm in ("dapo", "htpo"):
        for seed in (1, 2):
            _write(tmp_path, arm, seed, 0.4 + 0.1 * seed)
    assert main(["plot", str(tmp_path), "--file", str(tmp_path / "curves.png")]) == 0
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_names_and_lines_of_any_length_are_shown_as_they_are(tmp_path, capsys):
    for seed in range(40):
        _write(tmp_path, "a [bold] $\\frac{$", seed, 0.5)
    assert main(["table", str(tmp_path)]) == 0
    assert f"|a [bold] $\\frac{{$ |    40 | {' '.join(['0.500/0.900'] * 40)} |" in capsys.readouterr().out
    assert main(["plot", str(tmp_path), "--file", str(tmp_path / "curves.png")]) == 0


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("seed_1.json", "", "cannot be read .Expecting value"),
        ("seed_1.json", RESULT[:-20], "cannot be read"),
        ("seed_1.json", '{"start": {}, "steps": 1}', "has no field steps"),
        ("seed_1.json", '{"start": {}, "steps": [1], "collapsed": false}', "an element of steps without a field step"),
        ("seed_1.json", RESULT.replace("evaluated", "e"), "an element of steps without a field evaluated"),
        ("seed_1.json", RESULT.replace('"evaluated": 1', '"evaluated": 0'), "no step that was evaluated"),
        ("seed_1 (copy).json", RESULT, "a result is named seed_N.json, N a number; rename it"),
    ],
)
def test_a_result_that_is_none_is_named(tmp_path, name, text, message):
    (tmp_path / "dapo").mkdir()
    path = tmp_path / "dapo" / name
    path.write_text(text)
    for command in (["table"], ["plot", "--file", str(tmp_path / "curves.png")]):
        with pytest.raises(SystemExit, match=f"{re.escape(str(path))}: .*{message}"):
            main([*command, str(tmp_path)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table", "--baseline", "ppo"], "--baseline ppo: there is no such arm; there are dapo"),
        (["table", "--evaluations", "0"], "--evaluations must be at least 1, got 0"),
        (["plot", "--file", "curves.txt"], "--file curves.txt: Format 'txt' is not supported"),
        (["plot", "--file", "nowhere/curves.png"], "--file nowhere/curves.png: .*No such file or directory"),
    ],
)
def test_mistakes_of_tables_and_pictures_are_named(tmp_path, arguments, message):
    _write(tmp_path, "dapo", 1, 0.5)
    with pytest.raises(SystemExit, match=message):
        main([*arguments, str(tmp_path)])


@pytest.mark.parametrize("command", ["table", "sweep"])
def test_a_folder_without_results_is_an_error(tmp_path, command):
    with pytest.raises(SystemExit, match="no results"):
        main([command, str(tmp_path)])
