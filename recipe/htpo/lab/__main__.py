# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A laboratory for token-level objectives: many short runs of the demo model, one process and one thread each.

python -m recipe.htpo.lab run --objective htpo dapo --seeds 1 2 --regime off_policy --steps 40 --out DIR [OVERRIDES]
python -m recipe.htpo.lab table DIR
python -m recipe.htpo.lab plot DIR --file curves.png

It is for studying objectives and replaces nothing of the real stack: no vLLM, no Ray, no verl trainer.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from data_prep.storage.files import file_in_the_way
from recipe.htpo.inspect.dump import DumpConfig
from recipe.htpo.lab.loop import CONTROLS, RunPlan
from recipe.htpo.lab.policy_loss import CLIP, settings_of
from recipe.htpo.lab.recipes import RECIPES
from recipe.htpo.lab.regime import load_regime, regime_names
from recipe.htpo.lab.results import plot, read_arms, results_table
from recipe.htpo.lab.runs import is_finished, model_digest, run_all, undumped
from recipe.htpo.lab.sweep import sweep_table
from recipe.htpo.lab.task import TASKS
from recipe.htpo.lab.warmup import ensure_warm_model, other_recipe
from recipe.htpo.objective import load_preset, preset_names

BASELINE = "dapo"


def main(argv: Sequence[str] | None = None) -> int:
    args = _parse(argv)
    return args.command(args)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Overrides may stand on both sides of an option; argparse itself takes them in one piece."""
    parser = _parser()
    args, more = parser.parse_known_args(argv)
    if more and ("overrides" not in args or any(text.startswith("-") for text in more)):
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    if more:
        args.overrides += more
    return args


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m recipe.htpo.lab", description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(required=True)
    runs = commands.add_parser("run", help="train; finished runs are kept, interrupted ones start anew")
    runs.add_argument("--objective", nargs="+", required=True, choices=preset_names(), help="presets to run")
    runs.add_argument("--seeds", nargs="+", type=int, required=True, help="runs per objective, paired by seed")
    runs.add_argument("--regime", choices=regime_names(), default="off_policy")
    runs.add_argument("--task", choices=tuple(TASKS), default="arithmetic")
    runs.add_argument("--steps", type=int, default=40)
    runs.add_argument("--out", type=Path, required=True, help="results: OUT/NAME/seed_N.json")
    runs.add_argument("--name", help="name of the arm where overrides make another objective of it")
    runs.add_argument("--model", type=Path, help="start from this one; default: OUT/model, warmed up if need be")
    runs.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="parallel processes")
    runs.add_argument("--eval-every", type=int, default=10, help="steps between evaluations")
    runs.add_argument("--eval-prompts", type=int, default=256, help="held-out problems")
    runs.add_argument("--final-samples", type=int, help="of each problem before and after training; default: 8")
    runs.add_argument("--control", choices=CONTROLS, help="random groups of equal size, or a coin for the reward")
    runs.add_argument(
        "overrides",
        nargs="*",
        help="such as cells.hard_wrong_high.rule=ppo, regime.lr=2e-4 or htpo.dump_tokens.steps=[1,10]",
    )
    runs.set_defaults(command=_run)
    table = commands.add_parser("table", help="results as a Markdown table")
    table.add_argument("out", type=Path, help="folder of results")
    table.add_argument("--baseline", help=f"arm that the others are paired with, seed by seed; default: {BASELINE}")
    table.add_argument("--evaluations", type=int, default=1, help="average a run's last so many evaluations")
    table.set_defaults(command=_table)
    sweep = commands.add_parser("sweep", help="one table of the results of scripts/sweep.sh")
    sweep.add_argument("out", type=Path, help="folder with lab/ and stack/")
    sweep.set_defaults(command=_sweep)
    curves = commands.add_parser("plot", help="curves of all arms")
    curves.add_argument("out", type=Path, help="folder of results")
    curves.add_argument("--file", type=Path, required=True, help="picture to write")
    curves.set_defaults(command=_plot)
    return parser


def _run(args: argparse.Namespace) -> int:
    if args.model and model_digest(args.model) is None:
        raise SystemExit(f"--model {args.model} is no directory of a model: it has no model.safetensors")
    if args.name is not None and (args.name in ("", ".", "..", "model") or "/" in args.name):
        raise SystemExit(f"--name must be the name of one directory, and not model, got {args.name!r}")
    if args.name and len(args.objective) > 1:
        raise SystemExit("--name names one arm: give one --objective")
    if args.workers < 1:
        raise SystemExit(f"--workers must be at least 1, got {args.workers}")
    try:
        plans, dump = _plans(args)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    try:
        TASKS[args.task].problems("test", args.eval_prompts, 0)
    except ValueError as error:
        raise SystemExit(f"--eval-prompts: {error}") from error
    if late := [step for step in dump.steps if step > args.steps]:
        raise SystemExit(
            f"htpo.dump_tokens.steps: the run has {args.steps} steps, got {late}; raise --steps, or omit them"
        )
    verls = [name for name in args.objective if _settings(name, args).get("policy_loss")]
    if dump.steps and verls:
        raise SystemExit(f"htpo.dump_tokens: {', '.join(verls)} train with verl's loss, which says nothing of a token")
    model_dir = args.model or args.out / "model"
    digest = model_digest(model_dir)
    missing = {path: plan for path, plan in plans.items() if not is_finished(path, plan, digest)}
    for path in plans.keys() - missing.keys():
        if gone := undumped(path, dump):
            remedy = "choose another directory with --out, or omit them"
            raise SystemExit(f"htpo.dump_tokens.steps: {path} is finished, the tokens of {gone} are not kept; {remedy}")
    console = Console(markup=False, emoji=False)
    console.print(f"{len(plans) - len(missing)} of {len(plans)} runs are finished", soft_wrap=True)
    if not missing:
        return 0
    # A run writes at its end, and would be lost.
    for path in missing:
        if (file := file_in_the_way(path.parent)) is not None:
            raise SystemExit(f"--out {args.out}: {file} is a file; choose another directory")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(f"--out {args.out} cannot be made ({error.strerror}); choose another directory") from error
    if not os.access(args.out, os.W_OK):
        raise SystemExit(f"--out {args.out} cannot be written; choose another directory")
    if not args.model:
        _warm_up(model_dir, args, console)
    for line in run_all(model_dir, missing, args.workers, dump):
        console.print(line, soft_wrap=True)
    return 0


def _warm_up(model_dir: Path, args: argparse.Namespace, console: Console) -> None:
    """Makes the model if need be; never one in the place of that which finished runs began from."""
    recipe = RECIPES[args.task]
    try:
        if model_dir.exists() and any(args.out.glob("*/seed_*.json")) and (other := other_recipe(model_dir, recipe)):
            raise SystemExit(
                f"{model_dir}, from which the results beside it began, is of another recipe ({other}): "
                "choose another --out, or give a model with --model"
            )
        ensure_warm_model(model_dir, recipe, console=console)
    except FileExistsError as error:
        raise SystemExit(str(error)) from error


def _plans(args: argparse.Namespace) -> tuple[dict[Path, RunPlan], DumpConfig]:
    """What is to run, by the file of its result, and which tokens are kept. Raises ValueError naming the field."""
    try:
        overrides: Any = OmegaConf.to_container(OmegaConf.from_dotlist(args.overrides))
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        what = " ".join(str(error).split())
        raise ValueError(
            f"overrides {' '.join(args.overrides)}: {what}; write FIELD=VALUE, as regime.lr=2e-4"
        ) from error
    if "objective" in overrides:
        raise ValueError("objective.*: the lab's fields stand without it, as in cells.hard_wrong_high.rule=ppo")
    regime, htpo = overrides.pop("regime", {}), overrides.pop("htpo", {})
    if not isinstance(regime, dict):
        raise ValueError(f"regime: {regime!r} is no field; write regime.lr=2e-4, or --regime for another regime")
    if not isinstance(htpo, dict) or htpo.keys() - {"dump_tokens"}:
        raise ValueError(f"htpo: of it the lab has htpo.dump_tokens.steps and .prompts alone, got {htpo!r}")
    plans = {
        args.out / (args.name or name) / f"seed_{seed}.json": _plan(name, seed, regime, overrides, args)
        for seed in args.seeds
        for name in args.objective
    }
    return plans, DumpConfig.from_mapping(htpo.get("dump_tokens", {}))


def _plan(name: str, seed: int, regime: dict[str, Any], overrides: Any, args: argparse.Namespace) -> RunPlan:
    """A preset's clip goes before the regime's, and the command line's before both."""
    settings = _settings(name, args)
    clip = {field: settings.pop(field) for field in CLIP if field in settings}
    return RunPlan(
        objective=load_preset(name, overrides),
        regime=load_regime(args.regime, clip | regime),
        seed=seed,
        steps=args.steps,
        task=args.task,
        eval_every=args.eval_every,
        eval_prompts=args.eval_prompts,
        final_samples=args.final_samples,
        control=args.control,
        settings=settings,
    )


def _settings(name: str, args: argparse.Namespace) -> dict[str, Any]:
    return settings_of(name, TASKS[args.task].max_response_tokens)


def _table(args: argparse.Namespace) -> int:
    arms = read_arms(args.out)
    if args.baseline and args.baseline not in arms:
        raise SystemExit(f"--baseline {args.baseline}: there is no such arm; there are {', '.join(arms)}")
    if args.evaluations < 1:
        raise SystemExit(f"--evaluations must be at least 1, got {args.evaluations}")
    _wide().print(results_table(arms, args.baseline or BASELINE, args.evaluations))
    return 0


def _wide() -> Console:
    """Breaks no line of a table, whatever its seeds, and takes a name for what it is."""
    return Console(width=100_000, markup=False, emoji=False)


def _sweep(args: argparse.Namespace) -> int:
    _wide().print(sweep_table(args.out))
    return 0


def _plot(args: argparse.Namespace) -> int:
    try:
        plot(read_arms(args.out), args.file)
    except (OSError, ValueError) as error:
        raise SystemExit(f"--file {args.file}: {error}") from error
    print(f"{args.file}: written")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
