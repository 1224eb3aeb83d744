# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the demo model directory, or finds it already made.

python -m recipe.htpo.lab.warmup --out DIR [--task countdown]
"""

import argparse
import json
import os
import shutil
import time
from dataclasses import asdict, fields, replace
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from recipe.htpo.lab.recipes import RECIPES, WarmupRecipe
from recipe.htpo.lab.task import TASKS

RECORD = "warmup.json"
# Raise it whenever a change of model, tokenizer, data or training makes other weights from the same recipe.
RECIPE_VERSION = 1
EVALUATION_SAMPLES = 8


def ensure_warm_model(
    out_dir: str | Path,
    recipe: WarmupRecipe | None = None,
    *,
    threads: int = 1,
    evaluation_prompts: int = 256,
    console: Console | None = None,
) -> Path:
    """Returns ``out_dir`` with a model made by ``recipe`` (default: ``WarmupRecipe()``), training it if need be.

    A finished directory is used again when its ``warmup.json`` records the same recipe; otherwise the model is made
    anew and takes its place. The directory appears by a rename, complete, so an interrupted run leaves no half model.
    Same recipe, same ``threads`` and same machine give the same weights. The number of torch threads is put back. Two
    threads save a third of the time on an idle machine, and cost many times more on a busy one. ``evaluation_prompts``
    held-out problems are sampled afterwards; none with 0.

    Raises FileExistsError when ``out_dir`` exists and is not a directory that this function made.
    """
    out_dir = Path(out_dir)
    recipe = recipe or WarmupRecipe()
    console = console or Console()
    if out_dir.exists():
        difference = other_recipe(out_dir, recipe)
        if not difference:
            console.print(f"Demo model: {out_dir} is there, made by the same recipe.", soft_wrap=True)
            return out_dir
        console.print(
            f"Demo model: {out_dir} was made by another recipe ({difference}); it is made anew.", soft_wrap=True
        )
    building = out_dir.with_name(f".{out_dir.name}.building-{os.getpid()}")
    # Of a process that was killed, and had this one's number, as the processes of a container have.
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        _build(building, recipe, threads, evaluation_prompts, console)
        if out_dir.exists():
            shutil.rmtree(out_dir)
        building.rename(out_dir)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return out_dir


def _build(directory: Path, recipe: WarmupRecipe, threads: int, evaluation_prompts: int, console: Console) -> None:
    # They take seconds to import, and every start of the demo looks whether its model is there.
    import torch

    from recipe.htpo.lab.evaluate import LevelResult, evaluate, results_table
    from recipe.htpo.lab.training import train

    # Before the training, which would be lost where there are not so many.
    held_out = TASKS[recipe.task].problems("test", evaluation_prompts, recipe.seed, recipe.terms)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        started = time.monotonic()
        model, tokenizer, losses = train(recipe)
        seconds = time.monotonic() - started
        console.print(f"Warm-up: {recipe.steps} steps in {seconds:.0f} s, loss {losses[0]:.3f} -> {losses[-1]:.3f}")
        results: dict[int | str, LevelResult] = {}
        if held_out:
            results = evaluate(model, tokenizer, held_out, EVALUATION_SAMPLES, recipe.seed, TASKS[recipe.task])
            console.print(results_table(results, f"Held-out problems, {EVALUATION_SAMPLES} samples per prompt"))
    finally:
        torch.set_num_threads(threads_before)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    record = {
        "recipe": _asked(recipe),
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        "threads": threads,
        "train_seconds": round(seconds, 1),
        "final_loss": losses[-1],
        "held_out": {str(level): asdict(result) for level, result in results.items()},
    }
    (directory / RECORD).write_text(json.dumps(record, indent=2) + "\n")


def other_recipe(directory: Path, recipe: WarmupRecipe) -> str:
    """How the recipe of the model in ``directory`` differs from this one, for people; empty when nothing does.

    Raises FileExistsError when ``directory`` is not one that ``ensure_warm_model`` made.
    """
    return _difference(_recorded_recipe(directory), json.loads(json.dumps(_asked(recipe))))


def _asked(recipe: WarmupRecipe) -> dict:
    return {"version": RECIPE_VERSION, **asdict(recipe)}


def _recorded_recipe(directory: Path) -> dict:
    record = directory / RECORD
    if not record.is_file():
        raise FileExistsError(
            f"{directory} exists but is no demo model ({RECORD} is missing): choose another directory or remove it"
        )
    # A record may be older than the field.
    return {"task": "arithmetic"} | json.loads(record.read_text())["recipe"]


def _difference(recorded: dict, asked: dict) -> str:
    """What differs between two recipes, for people; empty when nothing does."""
    return ", ".join(
        f"{name}: {recorded.get(name)} there, {asked.get(name)} asked"
        for name in sorted(recorded.keys() | asked.keys())
        if recorded.get(name) != asked.get(name)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the demo model directory, unless it is there already.")
    parser.add_argument("--out", type=Path, required=True, help="model directory to make")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--evaluation-prompts", type=int, default=256, help="held-out problems to sample afterwards")
    parser.add_argument("--task", choices=tuple(RECIPES), default="arithmetic")
    changeable = [field for field in fields(WarmupRecipe) if field.name != "task"]
    for field in changeable:
        default = getattr(RECIPES["arithmetic"], field.name)
        many = isinstance(default, tuple)
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=int if many else type(default),
            nargs="+" if many else None,
            help=f"default: {default}, or what the task's recipe has",
        )
    args = parser.parse_args()
    given = {field.name: value for field in changeable if (value := getattr(args, field.name)) is not None}
    if "terms" in given:
        given["terms"] = tuple(given["terms"])
    if args.threads < 1:
        parser.error(f"argument --threads: must be at least 1, got {args.threads}")
    try:
        recipe = replace(RECIPES[args.task], **given)
        ensure_warm_model(args.out, recipe, threads=args.threads, evaluation_prompts=args.evaluation_prompts)
    except (ValueError, FileExistsError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
