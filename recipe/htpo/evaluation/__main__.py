# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluate a model on prompts: responses, verdicts, pass@1 with its interval, pass@n, maj@n; resumable.

    python -m recipe.htpo.evaluation MODEL DATA... [n=32 temperature=1 max_tokens=4096 out=DIR against=MODEL ...]

MODEL is a Hugging Face directory or name, a checkpoint of verl, or the directory of a run. With `against`, a second
model is evaluated on the same prompts, and the two are compared and drawn. All settings: docs/evaluation.md.
"""

import atexit
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from data_prep.errors import DataError
from data_prep.storage.files import file_in_the_way
from recipe.htpo.evaluation.models import load, model_directory
from recipe.htpo.evaluation.run import evaluate
from recipe.htpo.evaluation.settings import EvalSettings, SettingsError, is_setting, parse
from recipe.htpo.evaluation.store import read_outcomes
from recipe.htpo.evaluation.summary import compare_files, comparison_table, draw, draw_difference, results_table


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 2 with a message on settings that cannot be meant."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0 if arguments else 2
    try:
        settings = parse(arguments)
        if (file := file_in_the_way(settings.directory)) is not None:
            raise SettingsError("out", f"{file} is a file", "name a directory: out=DIR")
        baseline = _baseline(settings, arguments) if settings.against else None
        path = evaluate(settings)
        # Names of directories and data sources may have brackets, which are no markup.
        console = Console(width=None if sys.stdout.isatty() else 160, markup=False)
        console.print(results_table(path))
        if baseline:
            _compare(console, path, baseline)
    except (SettingsError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _baseline(settings: EvalSettings, arguments: Sequence[str]) -> Path:
    """Responses of the second model; in a process of its own, since vLLM does not give all memory back."""
    # Before hours of sampling: is the first one a model?
    load(settings.model, model_directory(settings.model, settings.directory))
    out = settings.directory / "against"
    kept = [text for text in arguments if is_setting(text) and not text.startswith(("out=", "against="))]
    command = [sys.executable, "-m", "recipe.htpo.evaluation", settings.against, *settings.data, *kept, f"out={out}"]
    if code := subprocess.run(command).returncode:
        remedy = "see what it says above; the same command goes on where it ended"
        raise SettingsError("against", f"the evaluation of {settings.against} ended with exit code {code}", remedy)
    return evaluate(replace(settings, model=settings.against, out=str(out), against=""))


def _compare(console: Console, path: Path, baseline: Path) -> None:
    differences = compare_files(path, baseline)
    ours, theirs = read_outcomes(path), read_outcomes(baseline)
    if single := ours.keys() - differences.keys():
        console.print(f"not compared, since one prompt has no interval: {', '.join(sorted(single))}")
    if not differences:
        return
    console.print(comparison_table(differences))
    for source, found in differences.items():
        curves = {"before": theirs[source], "after": ours[source]}
        name = source.replace("/", "_")
        for picture in (
            draw(curves, path.parent / f"pass_at_k_{name}.png", f"{source}: {len(ours[source])} prompts, 95 % bands"),
            draw_difference(found, path.parent / f"difference_{name}.png", f"{source}: after - before"),
        ):
            console.print(f"{picture}: written", soft_wrap=True)


def _end_quietly() -> None:
    """At the very end triton's bindings, which vLLM loads, write 40 lines on stderr about objects that they leak."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


if __name__ == "__main__":
    # Registered before anything else, so that it runs last.
    atexit.register(_end_quietly)
    raise SystemExit(main())
