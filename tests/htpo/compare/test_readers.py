# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Every kind of result is read as what it is, and what is wrong is named with the file, the field and the remedy."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from compare_runs import PROBLEMS, TEMPLATE, counts, evaluation, lab_result, real_run

from recipe.htpo.compare.readers import read_runs
from recipe.htpo.compare.runs import CompareError


def test_the_lab(tmp_path):
    for arm, seed in (("dapo", 2), ("dapo", 1), ("htpo", 1)):
        lab_result(tmp_path, arm, seed, 0.1)
    runs = read_runs([tmp_path])
    assert [(run.objective, run.seed, run.kind) for run in runs] == [
        ("dapo", 1, "lab"),
        ("dapo", 2, "lab"),
        ("htpo", 1, "lab"),
    ]
    run = runs[0]
    assert sorted(run.evaluations) == [0, 2]
    assert run.evaluations[2]["lab arithmetic"].correct.tolist() == counts(0.1, 1)
    assert run.curves["entropy"] == {1: 0.2, 2: 0.1} and run.curves["length"] == {1: 30.0, 2: 30.0}
    assert run.curves["accuracy"][2] == pytest.approx(sum(counts(0.1, 1)) / 60 / 8)
    assert run.settings["regime.lr"] == 1e-4 and "seed" not in run.settings
    assert len(read_runs([tmp_path / "dapo"])) == 2
    assert len(read_runs([tmp_path / "dapo" / "seed_1.json"])) == 1


def test_a_run_that_is_given_twice_counts_once(tmp_path):
    for arm, seed in (("dapo", 1), ("dapo", 2), ("htpo", 1)):
        path = lab_result(tmp_path / "lab", arm, seed, 0.1)
    run = real_run(tmp_path / "run", "htpo", 1, 0.1)
    once = read_runs([tmp_path / "lab", run])
    twice = read_runs([tmp_path / "lab", tmp_path / "lab" / "dapo", path, run, run.parent / "lab" / ".." / "run"])
    assert [(run.objective, run.path.resolve()) for run in twice] == [(run.objective, run.path) for run in once]


def test_a_run_that_ended_early_and_one_that_collapsed_at_its_last_step(tmp_path):
    for seed, steps in ((1, 2), (2, 40)):
        path = lab_result(tmp_path / "lab", "dapo", seed, 0.1, steps=steps)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"collapsed": "held-out pass@1 0.010 at step 2"}))
    assert [run.note for run in read_runs([tmp_path / "lab"])] == ["", "ended early: held-out pass@1 0.010 at step 2"]
    notes = {None: "", 2: "", 30: "ended early: last validation at step 2 of 30"}
    for steps, note in notes.items():
        directory = real_run(tmp_path / f"steps_{steps}", "htpo", 1, 0.1)
        config = yaml.safe_load((directory / "config.yaml").read_text()) | {"trainer": {"total_training_steps": steps}}
        (directory / "config.yaml").write_text(yaml.safe_dump(config))
        assert [run.note for run in read_runs([directory])] == [note]


def test_a_step_of_the_lab_without_mixed_prompts_has_no_training_figures(tmp_path):
    path = lab_result(tmp_path, "dapo", 1, 0.1)
    result = json.loads(path.read_text())
    result["steps"][1] |= {"mixed": 0, "replaced": 0.0, "entropy": 0.0, "train_pass_rate": 0.01}
    path.write_text(json.dumps(result))
    (run,) = read_runs([path])
    assert run.curves["entropy"] == {1: 0.2} and run.curves["replaced"] == {1: 0.01}
    # The pass rate of what was generated is measured.
    assert run.curves["train_accuracy"] == {1: 0.4, 2: 0.01} and sorted(run.curves["accuracy"]) == [0, 2]


def test_a_run_of_the_real_stack(tmp_path):
    (run,) = read_runs([real_run(tmp_path / "cpu_htpo", "htpo", 42, 0.1)])
    assert (run.name, run.objective, run.seed, run.kind) == ("cpu_htpo", "htpo", 42, "run")
    outcomes = run.evaluations[2]["arithmetic"]
    assert outcomes.prompts[0] == TEMPLATE.format(PROBLEMS[0]) and outcomes.least_samples == 4
    assert outcomes.correct.tolist() == counts(0.1, 44, samples=4)
    assert run.curves["accuracy"] == {0: 0.4, 2: pytest.approx(0.6)}
    assert run.curves["replaced"] == {1: 0.01, 2: 0.02} and run.curves["group8"] == {1: 0.125, 2: 0.125}
    assert "htpo.output_dir" not in run.settings


def test_sources_of_a_run(tmp_path):
    directory = real_run(tmp_path / "run", "htpo", 1, 0.1, sources=("even", "odd"))
    (run,) = read_runs([directory])
    assert {source: len(found) for source, found in run.evaluations[2].items()} == {"even": 30, "odd": 30}
    # verl's own files have no data_source: the run's validation files tell.
    for path in (directory / "validation").glob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()[:-1]]
        path.write_text("\n".join(json.dumps({k: v for k, v in row.items() if k != "data_source"}) for row in rows))
    table = {
        "data_source": [("even", "odd")[i % 2] for i in range(60)],
        "prompt": [[{"role": "user", "content": f"{problem} Put the answer in a box."}] for problem in PROBLEMS],
        "reward_model": [{"ground_truth": str(2 * i)} for i in range(60)],
    }
    pq.write_table(pa.table(table), tmp_path / "val.parquet")
    config = yaml.safe_load((directory / "config.yaml").read_text())
    config["data"]["val_files"] = [str(tmp_path / "val.parquet")]
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    (again,) = read_runs([directory])
    assert again.evaluations[2].keys() == run.evaluations[2].keys()
    for source, found in again.evaluations[2].items():
        assert found.prompts == run.evaluations[2][source].prompts
    # Without them, all are one.
    (tmp_path / "val.parquet").unlink()
    assert list(read_runs([directory])[0].evaluations[2]) == ["all sources"]


def test_runs_of_one_preset_with_other_rows_are_other_arms(tmp_path):
    paths = [real_run(tmp_path / name, "htpo", seed, 0.1) for name, seed in (("a", 1), ("b", 2))]
    assert [run.objective for run in read_runs(paths)] == ["htpo", "htpo"]
    changed = real_run(tmp_path / "c", "htpo", 3, 0.1, cells={"hard_wrong_high": {"floor": 0.9}})
    # Those with the same rows stay seeds of one another.
    assert [run.objective for run in read_runs([*paths, changed])] == ["htpo (a, b)", "htpo (a, b)", "htpo (c)"]
    seeds = [real_run(tmp_path / f"htpo_seed_{seed}", "htpo", seed, 0.1) for seed in (4, 5, 6)]
    assert [run.objective for run in read_runs([*seeds, changed])] == ["htpo (htpo)"] * 3 + ["htpo (c)"]
    other = real_run(tmp_path / "htpo_seed_7", "htpo", 7, 0.1, cells={"hard_wrong_high": {"floor": 0.9}})
    found = [run.objective for run in read_runs([*seeds[:2], other])]
    assert found == ["htpo (htpo_seed_4, htpo_seed_5)"] * 2 + ["htpo (htpo_seed_7)"]


def test_runs_of_one_seed_are_no_seeds_of_one_another(tmp_path):
    paths = [real_run(tmp_path / name, "htpo", 42, 0.1) for name in ("low_lr", "high_lr")]
    assert [run.objective for run in read_runs(paths)] == ["htpo (low_lr)", "htpo (high_lr)"]
    for regime in ("near", "off"):
        lab_result(tmp_path / "lab" / regime, "dapo", 1, 0.1)
    assert [run.objective for run in read_runs([tmp_path / "lab"])] == ["dapo (near)", "dapo (off)"]
    # Where the names do not tell either, the paths do.
    again = real_run(tmp_path / "other" / "low_lr", "htpo", 42, 0.1)
    assert [run.objective for run in read_runs([paths[0], again])] == [f"htpo ({paths[0]})", f"htpo ({again})"]


def test_an_offline_evaluation(tmp_path):
    (run,) = read_runs([evaluation(tmp_path / "after")])
    assert run.name == run.objective == "after" and run.settings == {"n": 2, "model.name": "m"}
    assert run.evaluations[0]["s"].correct.tolist() == [1, 2, 0] and len(run.problems) == 3
    assert run.problems["s", "a"] == "A?"


def test_offline_evaluations_of_several_seeds(tmp_path):
    for name in ("dapo/seed_1", "dapo/seed_2", "htpo_seed1", "tests2"):
        evaluation(tmp_path / name)
    runs = read_runs([tmp_path])
    assert [(run.objective, run.seed) for run in runs] == [("dapo", 1), ("dapo", 2), ("htpo", 1), ("tests2", None)]
    assert [run.name for run in runs] == ["dapo/seed_1", "dapo/seed_2", "htpo/seed_1", "tests2"]
    # Results of the lab beside them hide none.
    lab_result(tmp_path, "ce_gppo", 1, 0.1)
    assert [run.kind for run in read_runs([tmp_path])] == ["lab"] + ["responses"] * 4


def test_exports_of_tensorboard(tmp_path):
    for tag, value in (
        ("actor_entropy", "0.25"),
        ("htpo_frac_group3", "0.5"),
        ("val-core_gsm8k_acc_mean@8", "0.75"),
        ("x", "1"),
    ):
        path = tmp_path / f"run-htpo_seed2-tag-{tag}.csv"
        path.write_text(f"Wall time,Step,Value\n1700000000.1,1,{value}\n1700000001.2,2,{value}\n")
    (run,) = read_runs([tmp_path])
    assert (run.name, run.objective, run.seed, run.kind) == ("htpo_seed2", "htpo", 2, "csv")
    assert run.curves == {"entropy": {1: 0.25, 2: 0.25}, "group3": {1: 0.5, 2: 0.5}, "accuracy": {1: 0.75, 2: 0.75}}


def test_one_metric_a_file_is_read_as_all_in_one(tmp_path):
    values = {"val-core/a/acc/mean@1": 0.2, "val-core/b/acc/mean@1": 0.9}
    values |= {"htpo/pass_rate_generated": 0.3, "htpo/pass_rate": 0.5}
    history = write(
        tmp_path / "one" / "htpo.csv", f"Step,{','.join(values)}\n1,{','.join(map(str, values.values()))}\n"
    )
    files = [
        write(tmp_path / "many" / f"run-htpo-tag-{name.replace('/', '_')}.csv", f"Step,Value\n1,{value}\n")
        for name, value in values.items()
    ]
    expected = {"train_accuracy": {1: 0.3}, "accuracy": {1: pytest.approx(0.55)}}
    for paths in ([history], files, files[::-1]):
        assert [run.curves for run in read_runs(paths)] == [expected]


@pytest.mark.parametrize(
    ("name", "arm", "seed"),
    [
        ("htpo_bs256", "htpo_bs256", None),
        ("qwen_epochs3", "qwen_epochs3", None),
        ("gpus8", "gpus8", None),
        ("htpo_bs256_s2", "htpo_bs256", 2),
        ("htpo - seed=3", "htpo", 3),
        ("group/dapo/seed_4", "group/dapo", 4),
        ("Seed5", "Seed5", 5),
    ],
)
def test_seeds_of_exports(tmp_path, name, arm, seed):
    path = write(tmp_path / "chart.csv", f'Step,"{name} - actor/entropy"\n1,0.1\n')
    assert [(run.objective, run.seed) for run in read_runs([path])] == [(arm, seed)]


def test_a_validation_with_numbers_that_are_none(tmp_path):
    directory = real_run(tmp_path / "run", "htpo", 1, 0.1)
    path = directory / "validation" / "2.jsonl"
    (expected,) = read_runs([directory])
    lines = path.read_text().splitlines()
    write(path, "\n".join([lines[0].replace("{", '{"reward": NaN, ', 1), *lines[1:]]))
    (found,) = read_runs([directory])
    outcomes = [run.evaluations[2]["arithmetic"] for run in (expected, found)]
    assert outcomes[0].samples.tolist() == outcomes[1].samples.tolist()


def test_exports_of_weights_and_biases(tmp_path):
    chart = tmp_path / "chart.csv"
    names = [f"{run} - actor/entropy{end}" for run in ("dapo-seed1", "dapo-seed2") for end in ("", "__MIN", "__MAX")]
    chart.write_text(",".join(f'"{name}"' for name in ["Step", *names]) + "\n1,0.1,0,1,0.2,0,1\n2,0.3,0,1,,,\n")
    history = tmp_path / "htpo.csv"
    history.write_text(
        "_step,actor/entropy,response_length/mean,val/generations\n1,0.5,40," + 200_000 * "t" + "\n2,NaN,,\n"
    )
    runs = {run.name: run for run in read_runs([chart, history])}
    assert runs["dapo-seed1"].curves == {"entropy": {1: 0.1, 2: 0.3}}
    assert runs["dapo-seed2"].curves == {"entropy": {1: 0.2}} and runs["dapo-seed2"].objective == "dapo"
    assert runs["htpo"].curves["length"] == {1: 40.0} and runs["htpo"].curves["entropy"][1] == 0.5


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


OTHER = '{"step": 1, "data": {"timing_s/step": 1.0}}'


def without_answers(directory):
    for path in (directory / "validation").iterdir():
        path.unlink()
    return directory


def changed(path, **fields):
    """A result of the lab with other fields in its last step."""
    result = json.loads(path.read_text())
    result["steps"][-1] |= fields
    return write(path, json.dumps(result))


def cut(path, *names):
    """A result of the lab without some fields."""
    result = json.loads(path.read_text())
    for name in names:
        *parents, last = name.split(".")
        node = result
        for parent in parents:
            node = node[parent]
        del node[last]
    return write(path, json.dumps(result))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda d: d / "gone", "gone: there is nothing; give the directory of a run"),
        (lambda d: d, "is no result of a run; give the directory of a run"),
        (lambda d: write(d / "seed_1.json", "{"), "seed_1.json: cannot be read .*; delete it and run the lab again"),
        (
            lambda d: cut(lab_result(d, "a", 1, 0), "plan"),
            "seed_1.json: has no field plan that is a dict; give a result",
        ),
        (lambda d: cut(lab_result(d, "a", 1, 0), "start.counts"), "has no field start.counts; run the lab again"),
        (lambda d: cut(lab_result(d, "a", 1, 0), "plan.eval_samples"), "has no field plan.eval_samples; run the lab"),
        (
            lambda d: write(d / "seed_1.json", '{"plan": [], "start": {}, "steps": []}'),
            "seed_1.json: has no field plan that is a dict; give a result of",
        ),
        (
            lambda d: write(d / "seed_1.json", '{"plan": {}, "start": {}, "steps": [1]}'),
            "seed_1.json: has an element of steps without a field step; run the lab again",
        ),
        (
            lambda d: changed(lab_result(d, "a", 1, 0), counts=None),
            r"has no field steps\[1\].counts; run the lab again",
        ),
        (
            lambda d: changed(lab_result(d, "a", 1, 0), counts=[1, None]),
            "seed_1.json: step 2, counts and samples are none .*; run the lab again",
        ),
        (
            lambda d: changed(lab_result(d, "a", 1, 0), counts=[1, 9]),
            "seed_1.json: step 2, counts and samples are none .every prompt needs samples.*; run the lab again",
        ),
        (
            lambda d: (
                write(real_run(d / "r", "htpo", 1, 0) / "metrics" / "0000.jsonl", OTHER) and without_answers(d / "r")
            ),
            "metrics: has no metric that is compared; log htpo/pass_rate_generated, actor/entropy",
        ),
        (lambda d: write(d / "config.yaml", "a: [").parent, "config.yaml: cannot be read .*; give the htpo.output_dir"),
        (
            lambda d: write(d / "config.yaml", "a: 1").parent,
            "config.yaml: has no field objective.preset; give the output",
        ),
        (
            lambda d: write(d / "config.yaml", "objective: {preset: a}").parent,
            "metrics: has no step; give a run that has trained",
        ),
        (
            lambda d: write(real_run(d / "r", "htpo", 1, 0) / "validation" / "2.jsonl", '{"input": "a"}').parents[1],
            "2.jsonl: line 1 has no field acc; the reward function must return `acc`",
        ),
        (
            lambda d: write(real_run(d / "r", "htpo", 1, 0) / "validation" / "2.jsonl", '{"in\n{"in').parents[1],
            "2.jsonl: line 1 is no JSON; delete the line, or validate again",
        ),
        (
            lambda d: write(
                real_run(d / "r", "htpo", 1, 0) / "validation" / "2.jsonl", '{"input": "a", "acc": NaN}'
            ).parents[1],
            "2.jsonl: line 1, field acc: nan is neither right nor wrong; judge the responses again",
        ),
        *(
            (
                lambda d, line=line: write(
                    real_run(d / "r", "htpo", 1, 0) / "validation" / "2.jsonl", f"{line}\n{{}}"
                ).parents[1],
                f"2.jsonl: line 1{problem}; delete the line",
            )
            for line, problem in (
                ("3", " is no JSON object"),
                ('{"input": 5, "acc": 1.0}', ", field input: 5 is no prompt"),
            )
        ),
        (
            lambda d: evaluation(d / "e", acc=(1.0, 0.0, None, 1.0, 0.0, 0.0)),
            "responses.parquet: row 3, field acc: None is neither right nor wrong; judge",
        ),
        (
            lambda d: write(d / "a.csv", "Step\n"),
            "a.csv: has none of the columns Step, _step.*; export with the training",
        ),
        (lambda d: write(d / "a.csv", "Step,Value\n1,2\n"), "its name has no metric; name it run-RUN-tag-METRIC.csv"),
        (
            lambda d: write(d / "a.csv", "Step,actor/entropy\n1,2\n2,two\n"),
            "line 3, column actor/entropy: 'two' is no number; export the chart again",
        ),
        (
            lambda d: write(d / "a.csv", "Step,actor/entropy\n1,2\nInfinity,3\n"),
            "line 3, column Step: 'Infinity' is no number; export the chart again",
        ),
        (
            lambda d: (d / "a.csv").write_bytes(b"Step,actor/entropy\n1,\xe9\n") and d / "a.csv",
            "a.csv: cannot be read .*; export the chart again, as UTF-8",
        ),
        (lambda d: write(d / "a.csv", "Step,other\n1,2\n"), "has no metric that is compared; export .*actor/entropy"),
        (lambda d: write(d / "responses.parquet", "x"), "responses.parquet: cannot be read .*; evaluate again with"),
        (
            lambda d: pq.write_table(pa.table({"id": ["a"]}), d / "r.parquet") or d / "r.parquet",
            "r.parquet: has no column data_source; give the responses.parquet of scripts/eval.sh",
        ),
    ],
)
def test_bad_input(tmp_path, make, message):
    with pytest.raises(CompareError, match=message):
        read_runs([make(tmp_path)])


def test_arms_of_two_kinds_are_told_apart(tmp_path):
    lab_result(tmp_path, "htpo", 1, 0.1)
    runs = read_runs([tmp_path / "htpo", real_run(tmp_path / "run", "htpo", 1, 0.1)])
    assert {run.objective for run in runs} == {"htpo (lab)", "htpo (run)"}
