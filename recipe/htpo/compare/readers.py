# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Reads runs: directories of the real stack, results of the lab, files of responses, and exports of loggers.

| what | how it looks |
| --- | --- |
| a run | a directory with `config.yaml` and `metrics/*.jsonl`; `validation/STEP.jsonl` has the answers |
| the lab | `seed_N.json`, the directory of an arm, or the `--out` directory with all of them |
| an offline evaluation | `responses.parquet` (`scripts/eval.sh`), its directory, or one with several of them |
| TensorBoard | `*.csv` with the columns `Step` and `Value`, one metric a file, the file named `run-RUN-tag-TAG.csv` |
| Weights & Biases | `*.csv` with a step column, and columns named by metric or `RUN - METRIC` |
"""

import csv
import json
import math
import re
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from recipe.htpo.compare.runs import LAB_METRICS, METRICS, CompareError, Curve, Run
from recipe.htpo.dotted import flat
from recipe.htpo.evaluation import Outcomes
from recipe.htpo.lab.results import is_measured
from recipe.htpo.run.held_out import VALIDATION_DIR, read_validation
from recipe.htpo.run.metrics_log import read_steps, validation_accuracy
from recipe.htpo.run.record import CONFIG_FILE

KINDS = (
    "give the directory of a run (config.yaml, metrics/), a result of the lab (seed_N.json or its directory), "
    "a responses.parquet, or a CSV export of TensorBoard or Weights & Biases"
)
_RUN_REMEDY = "give the htpo.output_dir of a run"
RESPONSES_FILE = "responses.parquet"
STEP_COLUMNS = ("Step", "_step", "step", "trainer/global_step", "global_step", "training/global_step")
# Of a run, not of what makes it differ from another.
OWN_SETTINGS = (
    "htpo.output_dir",
    "trainer.default_local_dir",
    "trainer.validation_data_dir",
    "trainer.experiment_name",
)


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """All runs under these paths, each once; CSV files of one run are put together.

    Raises:
        CompareError: naming the file, the field and the remedy.
    """
    runs: list[Run] = []
    exports: list[Path] = []
    for path in paths:
        if not path.exists():
            raise CompareError(path, "there is nothing", KINDS)
        if path.suffix == ".csv":
            exports.append(path)
        elif path.suffix == ".json":
            runs.append(read_lab(path))
        elif path.suffix == ".parquet":
            runs.append(read_responses(path))
        elif (path / "metrics").is_dir() or (path / CONFIG_FILE).is_file():
            runs.append(read_run(path))
        elif (path / RESPONSES_FILE).is_file():
            runs.append(read_responses(path / RESPONSES_FILE))
        elif results := [*sorted(path.rglob("seed_*.json")), *sorted(path.rglob(RESPONSES_FILE))]:
            runs += [read_lab(result) if result.suffix == ".json" else read_responses(result) for result in results]
        elif found := sorted(path.glob("*.csv")):
            exports += found
        else:
            raise CompareError(path, "is no result of a run", KINDS)
    # A directory and a run in it may both be given.
    once = {run.path.resolve(): run for run in reversed(runs)}
    return _told_apart([*reversed(once.values()), *read_exports(exports)])


def read_run(directory: Path) -> Run:
    """A run of the real stack from its `htpo.output_dir`."""
    config_file = directory / CONFIG_FILE
    try:
        config = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise CompareError(config_file, f"cannot be read ({_brief(error)})", _RUN_REMEDY) from error
    objective = config.get("objective") if isinstance(config, dict) else None
    if not isinstance(objective, dict) or "preset" not in objective:
        raise CompareError(config_file, "has no field objective.preset", "give the output directory of a run of HTPO")
    steps = read_steps(directory)
    if not steps:
        raise CompareError(directory / "metrics", "has no step", "give a run that has trained")
    curves: dict[str, Curve] = {}
    for step, metrics in steps.items():
        for name, value in _named(metrics).items():
            curves.setdefault(name, {})[step] = value
    settings = {name: value for name, value in flat(config).items() if name not in OWN_SETTINGS}
    run = Run(
        name=directory.resolve().name,
        kind="run",
        path=directory,
        objective=str(objective["preset"]),
        seed=settings.get("data.seed"),
        curves=curves,
        settings=settings,
    )
    sources = sorted({source for metrics in steps.values() for source in validation_accuracy(metrics)})
    source_of = _source_of_prompts(settings.get("data.val_files")) if len(sources) > 1 else {}
    for path in sorted((directory / VALIDATION_DIR).glob("*.jsonl")):
        if path.stem.isdigit() and (found := _validation(path, sources, source_of)):
            run.evaluations[int(path.stem)] = found
    if not run.curves and not run.evaluations:
        raise CompareError(directory / "metrics", "has no metric that is compared", f"log {_wanted()}")
    wanted = settings.get("trainer.total_training_steps")
    if run.evaluations and isinstance(wanted, int) and run.last_step < wanted:
        run.note = f"ended early: last validation at step {run.last_step} of {wanted}"
    return run


def _named(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The curves' values of a step's metrics."""
    found = {}
    for name, candidates in METRICS.items():
        value = next((metrics[candidate] for candidate in candidates if candidate in metrics), None)
        if value is not None:
            found[name] = float(value)
    if accuracy := validation_accuracy(dict(metrics)):
        found["accuracy"] = sum(accuracy.values()) / len(accuracy)
    return found


def _validation(
    path: Path, sources: Sequence[str], source_of: Mapping[str, list[tuple[str, str]]]
) -> dict[str, Outcomes]:
    """Of one validation, by source."""
    samples: dict[str, list[tuple[str, float]]] = {}
    try:
        entries = list(read_validation(path))
    except ValueError as error:
        raise CompareError(path, str(error), "delete the line, or validate again") from error
    for number, entry in entries:
        if not isinstance(entry.get("input", ""), str):
            what = f"line {number}, field input: {entry['input']!r} is no prompt"
            raise CompareError(path, what, "delete the line, or validate again")
        if lacking := [name for name in ("input", "acc") if entry.get(name) is None]:
            raise CompareError(
                path,
                f"line {number} has no field {lacking[0]}",
                "the reward function must return `acc`, as recipe.htpo.reward does",
            )
        asked = _without_space(entry["input"])
        named = (source for problem, source in source_of.get(str(entry.get("gts")), ()) if problem in asked)
        source = entry.get("data_source") or next(named, sources[0] if len(sources) == 1 else "all sources")
        samples.setdefault(source, []).append((entry["input"], _accuracy(path, f"line {number}", entry["acc"])))
    return {source: Outcomes.of_samples(found) for source, found in samples.items()}


def _accuracy(path: Path, place: str, acc: Any) -> float:
    if not isinstance(acc, (int, float)) or math.isnan(acc):
        raise CompareError(path, f"{place}, field acc: {acc!r} is neither right nor wrong", "judge the responses again")
    return float(acc)


def _source_of_prompts(files: Any) -> dict[str, list[tuple[str, str]]]:
    """`answer -> (problem, data source)` of the validation files that are still there."""
    found: dict[str, list[tuple[str, str]]] = {}
    for file in [files] if isinstance(files, str) else files or []:
        try:
            table = pq.read_table(file, columns=["data_source", "prompt", "reward_model"])
        except (OSError, pa.ArrowInvalid, KeyError):
            continue
        for row in table.to_pylist():
            problem = _without_space(row["prompt"][-1]["content"])
            found.setdefault(str(row["reward_model"]["ground_truth"]), []).append((problem, row["data_source"]))
    return found


def _without_space(text: str) -> str:
    return re.sub(r"\s+", "", text)


def read_lab(path: Path) -> Run:
    """A result of `python -m recipe.htpo.lab run`: `ARM/seed_N.json`."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CompareError(path, f"cannot be read ({_brief(error)})", "delete it and run the lab again") from error
    for name, kind in (("plan", dict), ("start", dict), ("steps", list)):
        if not isinstance(result, dict) or not isinstance(result.get(name), kind):
            what = f"has no field {name} that is a {kind.__name__}"
            raise CompareError(path, what, "give a result of `python -m recipe.htpo.lab run`")
    plan, records = result["plan"], result["steps"]
    if not all(isinstance(record, dict) and isinstance(record.get("step"), int) for record in records):
        raise CompareError(path, "has an element of steps without a field step", "run the lab again")
    run = Run(
        name=f"{path.resolve().parent.name}/{path.stem}",
        kind="lab",
        path=path,
        objective=path.resolve().parent.name,
        seed=plan.get("seed"),
        settings={name: value for name, value in flat(plan).items() if name != "seed"} | _model(result),
    )
    # A run may collapse at its last step, too.
    if result.get("collapsed") and (not records or records[-1]["step"] != plan.get("steps")):
        run.note = f"ended early: {result['collapsed']}"
    evaluated = [{"step": 0, **result["start"]}] + [record for record in records if "counts" in record]
    for record in evaluated:
        counts = record.get("counts")
        if not isinstance(counts, list) or not counts or "eval_samples" not in plan:
            place = f"steps[{records.index(record)}]" if record["step"] else "start"
            what = f"{place}.counts" if "eval_samples" in plan else "plan.eval_samples"
            raise CompareError(path, f"has no field {what}", "run the lab again: right samples per prompt are needed")
        try:
            outcomes = Outcomes.of_counts(counts, record.get("samples", plan["eval_samples"]))
        except (TypeError, ValueError) as error:
            what = f"step {record['step']}, counts and samples are none ({error})"
            raise CompareError(path, what, "run the lab again") from error
        # The lab knows its problems by position, so its prompts are not those of a file.
        run.evaluations[record["step"]] = {f"lab {plan.get('task', 'arithmetic')}": outcomes}
        run.curves.setdefault("accuracy", {})[record["step"]] = float(outcomes.pass_at((1,)).mean())
    for record in records:
        for name, lab_name in LAB_METRICS.items():
            if is_measured(record, lab_name):
                run.curves.setdefault(name, {})[record["step"]] = float(record[lab_name])
    return run


def _model(result: dict[str, Any]) -> dict[str, Any]:
    """The digest of the weights that a run began from; results before there was one have none."""
    return {"model": result["model"]} if "model" in result else {}


def read_responses(path: Path) -> Run:
    """An offline evaluation: one row a sample."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise CompareError(path, f"cannot be read ({_brief(error)})", "evaluate again with scripts/eval.sh") from error
    needed = ("data_source", "id", "problem", "acc")
    if lacking := [name for name in needed if name not in table.column_names]:
        raise CompareError(path, f"has no column {lacking[0]}", "give the responses.parquet of scripts/eval.sh")
    samples: dict[str, list[tuple[str, float]]] = {}
    problems: dict[tuple[str, str], str] = {}
    columns = [table[name].to_pylist() for name in needed]
    for number, (source, prompt, problem, acc) in enumerate(zip(*columns, strict=True), start=1):
        samples.setdefault(source, []).append((prompt, _accuracy(path, f"row {number}", acc)))
        problems[source, prompt] = problem
    record = json.loads((table.schema.metadata or {}).get(b"htpo_evaluation", b"{}"))
    outcomes = {source: Outcomes.of_samples(found) for source, found in samples.items()}
    place = path.resolve().parent if path.name == RESPONSES_FILE else path.resolve().with_suffix("")
    objective, seed = _arm_of(place)
    return Run(
        name=place.name if seed is None else f"{objective}/seed_{seed}",
        kind="responses",
        path=path,
        objective=objective,
        seed=seed,
        evaluations={0: outcomes},
        settings=flat(record),
        problems=problems,
    )


def _arm_of(place: Path) -> tuple[str, int | None]:
    """Arm and seed of a directory: `ARM/seed_N` and `ARM_seed_N` are seed N of `ARM`."""
    found = re.fullmatch(r"(?:(.+)[ _\-.])?seed[ _\-=]?(\d+)", place.name, re.IGNORECASE)
    return (found[1] or place.parent.name, int(found[2])) if found else (place.name, None)


def read_exports(paths: Iterable[Path]) -> list[Run]:
    """Curves of CSV files, put together by the name of the run."""
    steps_of: dict[str, dict[int, dict[str, float]]] = {}
    runs: dict[str, Run] = {}
    for path in paths:
        for name, metrics in _export(path).items():
            objective, seed = _seed_in(name)
            runs.setdefault(name, Run(name=name, kind="csv", path=path, objective=objective, seed=seed))
            for metric, curve in metrics.items():
                for step, value in curve.items():
                    steps_of.setdefault(name, {}).setdefault(step, {})[metric] = value
    for name, run in runs.items():
        for step, present in sorted(steps_of[name].items()):
            for curve_name, value in _named(present).items():
                run.curves.setdefault(curve_name, {})[step] = value
        if not run.curves:
            raise CompareError(run.path, "has no metric that is compared", f"export {_wanted()}")
    return list(runs.values())


def _wanted() -> str:
    names = [candidates[0] for candidates in METRICS.values() if "group" not in candidates[0]]
    return f"{', '.join(names)}, htpo/frac_group1, ..."


def _export(path: Path) -> dict[str, dict[str, Curve]]:
    """`run -> metric -> step -> value` of one CSV file."""
    # Columns of text, such as generated samples, may be longer than the module's limit of 128 KiB.
    csv.field_size_limit(sys.maxsize)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CompareError(path, f"cannot be read ({_brief(error)})", "export the chart again, as UTF-8") from error
    columns = list(rows[0]) if rows else []
    step_column = next((name for name in STEP_COLUMNS if name in columns), None)
    if step_column is None:
        raise CompareError(
            path, f"has none of the columns {', '.join(STEP_COLUMNS)}", "export with the training step as x-axis"
        )
    found: dict[str, dict[str, Curve]] = {}
    for column in columns:
        if column in (step_column, "Wall time", None) or column.endswith(("__MIN", "__MAX")):
            continue
        if column == "Value":
            run, metric = _tensorboard_name(path)
        else:
            run, _, metric = column.rpartition(" - ")
            run = run or path.stem
        curve: Curve = {}
        for number, row in enumerate(rows, start=2):
            if not (row[column] or "").strip() or not (row[step_column] or "").strip():
                continue
            place = step_column
            try:
                step = int(float(row[step_column]))
                place = column
                curve[step] = float(row[column])
            except (ValueError, OverflowError):
                # Columns of text, such as generated samples, are no metric.
                if metric in _KNOWN:
                    raise CompareError(
                        path,
                        f"line {number}, column {place}: {row[place][:40]!r} is no number",
                        "export the chart again, or delete the line",
                    ) from None
                break
        if curve:
            found.setdefault(run, {})[metric] = curve
    return found


_KNOWN = {name for candidates in METRICS.values() for name in candidates}


def _tensorboard_name(path: Path) -> tuple[str, str]:
    """Run and metric of a file that TensorBoard names `run-RUN-tag-TAG.csv`, `/` written as `_`."""
    run, found, tag = path.stem.removeprefix("run-").partition("-tag-")
    if not found:
        raise CompareError(
            path, "has the columns Step and Value, but its name has no metric", "name it run-RUN-tag-METRIC.csv"
        )
    written = {name.replace("/", "_"): name for name in _KNOWN}
    if tag.startswith("val-core_") and (parts := re.fullmatch(r"val-core_(.+)_acc_(mean@\d+)", tag)):
        return run, f"val-core/{parts[1]}/acc/{parts[2]}"
    return run, written.get(tag, tag)


def _seed_in(name: str) -> tuple[str, int | None]:
    """`htpo_seed3` is the third seed of `htpo`."""
    found = re.fullmatch(r"(?:(.+?)[ _\-/.]+)?(?:seed|s)[ _\-=]?(\d+)", name, re.IGNORECASE)
    return (found[1] or name, int(found[2])) if found else (name, None)


def _told_apart(runs: list[Run]) -> list[Run]:
    """Give runs that are not seeds of one another arms of their own.

    Runs of one preset whose tables differ, and runs of one seed, get the names of their directories (a lab run, of the
    one above its arm's); runs of two kinds, the kind.
    """
    for group in _grouped(runs, lambda run: (run.kind, run.objective)):
        alike = {id(run): part for part in _grouped(group, _table) for run in part}
        places = (
            [", ".join(dict.fromkeys(map(_place, alike[id(run)]))) for run in group],
            [", ".join(part.name for part in alike[id(run)]) for run in group],
            [_place(run) for run in group],
            [str(run.path) for run in group],
        )
        ways = [[run.objective for run in group]]
        ways += [[f"{run.objective} ({place})" for run, place in zip(group, found, strict=True)] for found in places]
        chosen = next((names for names in ways if _are_arms(group, names)), ways[-1])
        for run, name in zip(group, chosen, strict=True):
            run.objective = name
    for group in _grouped(runs, lambda run: run.objective):
        if len({run.kind for run in group}) > 1:
            for run in group:
                run.objective = f"{run.objective} ({run.kind})"
    return runs


def _grouped(runs: Iterable[Run], key: Callable[[Run], Hashable]) -> list[list[Run]]:
    found: dict[Hashable, list[Run]] = {}
    for run in runs:
        found.setdefault(key(run), []).append(run)
    return list(found.values())


def _are_arms(runs: Sequence[Run], names: Sequence[str]) -> bool:
    """Whether runs of one name may be seeds of one another."""
    arms: dict[str, list[Run]] = {}
    for run, name in zip(runs, names, strict=True):
        arms.setdefault(name, []).append(run)
    seeds = [[run.seed for run in arm if run.seed is not None] for arm in arms.values()]
    return all(len(set(found)) == len(found) for found in seeds) and all(
        len(set(map(_table, arm))) == 1 for arm in arms.values()
    )


def _table(run: Run) -> str:
    """The objective of a run of the real stack; an arm of the lab is its directory, whatever ran there."""
    rows = {name: value for name, value in run.settings.items() if name.startswith("objective.") and run.kind == "run"}
    return json.dumps(rows, sort_keys=True, default=str)


def _place(run: Run) -> str:
    """What a run's directories say beside its arm and its seed."""
    place = run.path.resolve()
    if run.kind == "lab":
        return place.parent.parent.name
    return _arm_of(place)[0] if run.kind == "run" else run.name


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
