# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Many runs: which are finished, and the others in parallel processes of one thread."""

import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from recipe.htpo.inspect.dump import DumpConfig, dump_file
from recipe.htpo.lab.loop import Lab, RunPlan, run
from recipe.htpo.lab.results import is_measured, read_result
from recipe.htpo.objective import ObjectiveConfig


def model_digest(model_dir: Path) -> str | None:
    """What tells one model's weights from another's; None where there is no model yet."""
    weights = model_dir / "model.safetensors"
    return hashlib.sha256(weights.read_bytes()).hexdigest()[:16] if weights.exists() else None


def is_finished(path: Path, plan: RunPlan, model: str | None = None) -> bool:
    """Whether the result of `plan`, from the model of that digest, is in `path`. Raises SystemExit when it holds
    another run's, or none."""
    if not path.exists():
        return False
    result = read_result(path)
    recorded = result.get("plan", {})
    try:
        objective = ObjectiveConfig.from_mapping(recorded["objective"]).to_mapping()
    except (KeyError, TypeError, ValueError) as error:
        what = "has no field plan.objective" if isinstance(error, KeyError) else f"plan: {error}"
        raise SystemExit(f"{path}: {what}; delete it, and run the lab again") from error
    asked = json.loads(json.dumps(asdict(plan) | {"objective": plan.objective.to_mapping()}))
    # A result may be older than a field that has its default here.
    recorded = {
        "task": "arithmetic",
        **{name: asked[name] for name in ("settings", "control", "final_samples") if not asked[name]},
        **recorded,
        "objective": objective,
    }
    if model is not None and result.get("model", model) != model:
        raise SystemExit(f"{path} began from another model: give that one with --model, or choose another --out")
    if different := [key for key in asked if recorded.get(key) != asked[key]]:
        raise SystemExit(f"{path} is of another run ({', '.join(different)} differ): choose another --out or --name")
    return True


def undumped(path: Path, dump: DumpConfig) -> list[int]:
    """Steps that the run of a result has trained, and whose tokens `dump` asks for, but that it did not write."""
    trained = [record["step"] for record in read_result(path)["steps"] if is_measured(record, "replaced")]
    return [step for step in trained if step in dump.steps and not dump_file(path.with_suffix(""), step).is_file()]


def run_all(model_dir: Path, plans: dict[Path, RunPlan], workers: int, dump: DumpConfig | None = None) -> Iterator[str]:
    """Writes the result of every plan to its path; yields a line for each. One worker means this process.

    The tokens that `dump` asks for go to the directory beside the result, `seed_N/` beside `seed_N.json`.
    """
    start = None
    if workers == 1:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        for path, plan in plans.items():
            start = start or evaluate_start(model_dir, plan)
            yield _one(model_dir, path, plan, start, dump)
        torch.set_num_threads(before)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(plans)), context, start_worker) as pool:
        start = pool.submit(evaluate_start, model_dir, next(iter(plans.values()))).result()
        futures = [pool.submit(_one, model_dir, path, plan, start, dump) for path, plan in plans.items()]
        for future in as_completed(futures):
            yield future.result()


def start_worker() -> None:
    """One thread, and no life without the process that started this one, however that one ended."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def evaluate_start(model_dir: Path, plan: RunPlan) -> dict[str, Any]:
    """What every run starts from: the evaluation of the model before training."""
    return Lab(model_dir, plan).evaluate(final=True)


def _one(model_dir: Path, path: Path, plan: RunPlan, start: dict[str, Any], dump: DumpConfig | None) -> str:
    """The result appears by a rename, complete."""
    result = run(model_dir, plan, start, dump, path.with_suffix(""))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps({"plan": asdict(plan), "model": model_digest(model_dir), "start": start, **result}))
    temporary.replace(path)
    last = result["steps"][-1]
    figures = f"pass@1 {last['pass@1']:.3f}, pass@8 {last['pass@8']:.3f}, collapsed: {result['collapsed']}"
    return f"{path.parent.name} seed {plan.seed}, step {last['step']}: {figures}"
