# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The page of a run's dumped tokens: one HTML file, without network."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import jinja2

from recipe.htpo.inspect.dump import StepDump
from recipe.htpo.inspect.pack import pack
from recipe.htpo.inspect.totals import compare, step_totals
from recipe.htpo.objective import CELL_NAMES, CellConfig

_HERE = Path(__file__).resolve().parent


def page(title: str, dumps: Sequence[StepDump], logged: Mapping[int, Mapping[str, Any]]) -> str:
    """The page of these steps; `logged` are the metrics of the run, step by step.

    Raises:
        ValueError: without a dump.
    """
    if not dumps:
        raise ValueError("there is no step to show")
    cells = dumps[-1].facts.get("objective", {}).get("cells", {})
    data = {
        "groups": [{"name": name.replace("_", " "), "row": row_in_words(cells.get(name, {}))} for name in CELL_NAMES],
        "steps": {dump.step: _step(dump, logged.get(dump.step, {})) for dump in dumps},
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html.jinja").render(
        title=title,
        objective=dumps[-1].facts.get("objective", {}).get("preset", ""),
        script=(_HERE / "page.js").read_text(encoding="utf-8"),
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        # In a script element only "<" could end the text early.
        data=json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        packed=pack(dumps),
    )


def _step(dump: StepDump, logged: Mapping[str, Any]) -> dict[str, Any]:
    """What the page says of a step: totals of the dump, logged metrics, and whether they agree."""
    totals = step_totals(dump)
    found = {"responses": dump.facts["responses"], "whole": dump.is_whole, "totals": _finite(totals)}
    if not logged:
        return found | {"check": "the run has no metrics of this step"}
    found["logged"] = _finite({name: logged[name] for name in totals if name in logged})
    if not dump.is_whole:
        return found | {"check": "a part of the step: totals differ from the logged metrics of the whole"}
    comparison = compare(dump, logged)
    if comparison.different:
        return found | {"check": "NOT the logged metrics: " + "; ".join(comparison.different), "wrong": True}
    return found | {"check": f"the whole step: totals equal all {comparison.compared} logged metrics that it has"}


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(f"{value:.6g}") for name, value in values.items() if value == value}


def row_in_words(cell: Mapping[str, Any]) -> str:
    """A row of the objective table: its rule, and what is not the default of a row."""
    if not cell:
        return ""
    parts = [str(cell["rule"])]
    detaches = bool(cell.get("detach_lowest") or cell.get("detach_highest"))
    for field in fields(CellConfig)[1:]:
        matters = detaches if field.name.startswith("detach") else cell["rule"] != "ppo"
        value = cell.get(field.name, field.default)
        if matters and value != field.default:
            parts.append(f"{field.name.replace('_', ' ')} {value}")
    return ", ".join(parts)
