# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Results of runs as they lie on disk, made of numbers that a test chooses."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from recipe.htpo.objective import load_preset

PROBLEMS = tuple(f"What is {i} + {i}?" for i in range(60))
TEMPLATE = "user\n{} Put the answer in a box.\nassistant\n"


def counts(rate: float, seed: int, prompts: int = 60, samples: int = 8) -> list[int]:
    """Right samples of prompts that get easier from the first to the last."""
    random = np.random.default_rng(seed)
    return random.binomial(samples, np.clip(np.linspace(0.05, 0.75, prompts) + rate, 0, 1)).tolist()


def lab_result(directory: Path, arm: str, seed: int, rate: float, **plan) -> Path:
    """`ARM/seed_N.json` of a run of two steps."""
    steps = []
    for step in (1, 2):
        record = {"step": step, "evaluated": 2 if step == 2 else 0, "train_pass_rate": 0.4, "entropy": 0.2 / step}
        steps.append(
            record | {"response_tokens": 30.0, "replaced": 0.01, "clipped": 0.02, "treated": 0.03, "hard": 0.5}
        )
    steps[1]["counts"] = counts(rate, seed)
    path = directory / arm / f"seed_{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    plan = {
        "objective": load_preset("dapo").to_mapping(),
        "regime": {"lr": 1e-4},
        "seed": seed,
        "eval_samples": 8,
    } | plan
    path.write_text(json.dumps({"plan": plan, "start": {"counts": counts(0, 99)}, "steps": steps, "collapsed": False}))
    return path


def evaluation(directory: Path, model: str = "m", acc=(1.0, 0.0, 1.0, 1.0, 0.0, 0.0)) -> Path:
    """An offline evaluation of three problems, two responses each."""
    record = {"n": 2, "model": {"name": model}}
    table = pa.table(
        {
            "data_source": ["s"] * 6,
            "id": ["a", "a", "b", "b", "c", "c"],
            "problem": ["A?"] * 2 + ["B?"] * 2 + ["C?"] * 2,
            "acc": acc,
        }
    ).replace_schema_metadata({"htpo_evaluation": json.dumps(record)})
    directory.mkdir(parents=True)
    pq.write_table(table, directory / "responses.parquet")
    return directory


def real_run(directory: Path, preset: str, seed: int, rate: float, sources=("arithmetic",), **overrides) -> Path:
    """An output directory with two validations; with several sources, their problems alternate."""
    for part in ("metrics", "validation"):
        (directory / part).mkdir(parents=True)
    objective = load_preset(preset, overrides).to_mapping()
    config = {"objective": objective, "data": {"seed": seed}, "htpo": {"output_dir": str(directory)}}
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    lines = []
    for step in (0, 1, 2):
        trained = {"actor/entropy": 0.3, "htpo/replaced_frac": 0.01 * step, "response_length/mean": 40.0}
        trained |= {f"htpo/frac_group{group}": 0.125 for group in range(1, 9)}
        metrics = trained if step else {}
        if step != 1:
            metrics |= {f"val-core/{source}/acc/mean@4": 0.4 + 0.1 * step for source in sources}
        lines.append(
            json.dumps({"step": step, "data": metrics if step else {k: v for k, v in metrics.items() if "val" in k}})
        )
    (directory / "metrics" / "0000.jsonl").write_text("\n".join(lines))
    for step, shift in ((0, 0.0), (2, rate)):
        rows = []
        for i, right in enumerate(counts(shift, seed + step, samples=4)):
            for sample in range(4):
                row = {"input": TEMPLATE.format(PROBLEMS[i]), "gts": str(2 * i), "acc": float(sample < right)}
                rows.append(row if len(sources) == 1 else row | {"data_source": sources[i % len(sources)]})
        (directory / "validation" / f"{step}.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"input": "cut')
    return directory
