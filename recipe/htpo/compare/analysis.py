# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Which runs belong together, on which prompts they are compared, and what the comparison says."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from recipe.htpo.compare.contamination import Contaminated
from recipe.htpo.compare.runs import Run
from recipe.htpo.evaluation import (
    Decision,
    Estimate,
    Outcomes,
    band_verdicts,
    common_prompts,
    decide,
    difference,
    pass_curve,
    powers_of_two,
)
from recipe.htpo.inspect.page import row_in_words

BASELINE = "dapo"
SURE = ("better", "worse")
STRATA = {2: ("harder prompts", "easier prompts"), 3: ("hardest third", "middle third", "easiest third")}
"""Names of parts of the prompts by the starting model's accuracy; few samples may give two parts only."""


@dataclass
class Arm:
    """Runs of one objective: seeds of one another."""

    name: str
    runs: list[Run]

    def is_of(self, objective: str) -> bool:
        """Whether that is its objective, of whatever kind its runs are."""
        return self.name in (objective, f"{objective} ({self.runs[0].kind})")

    def evaluated(self, source: str) -> list[Run]:
        """Runs whose last evaluation has the source."""
        return [run for run in self.runs if run.evaluations and source in run.evaluations[run.last_step]]


@dataclass
class Population:
    """A set of prompts of one source, and what the arms did on it."""

    source: str
    name: str
    """`all`, `clean`, or one of `STRATA`."""
    prompts: list[str]
    ks: tuple[int, ...]
    start: Estimate | None
    """pass@k before training, over all runs that were evaluated then."""
    curves: dict[str, Estimate]
    """pass@k after training, by arm."""
    differences: dict[str, Estimate]
    """Arm less baseline."""
    pairing: dict[str, str]
    """How each difference was taken."""
    decisions: dict[int, dict[str, Decision]] = field(default_factory=dict)
    """At k = 1 and at the largest k, by arm."""


@dataclass
class Comparison:
    """Everything that the page shows."""

    arms: list[Arm]
    baseline: str
    """An objective: runs of several kinds may have it, each kind on sources of its own."""
    populations: list[Population]
    contaminated: dict[str, list[str] | None]
    """Texts of the contaminated prompts by source, None where the texts are not known; empty without a report."""
    notes: list[str]

    @property
    def runs(self) -> list[Run]:
        return [run for arm in self.arms for run in arm.runs]

    def baseline_on(self, source: str) -> str:
        """The baseline's arm that was evaluated on the source, if any was."""
        arms = (arm.name for arm in self.arms if arm.is_of(self.baseline) and arm.evaluated(source))
        return next(arms, self.baseline)


def compare(runs: Sequence[Run], baseline: str | None = None, contaminated: Contaminated | None = None) -> Comparison:
    """Group the runs by objective and compare each arm with the baseline's.

    Args:
        runs: at least one.
        baseline: name of an arm; by default `dapo` where there is one, else the first.
        contaminated: evaluation problems that are in the training data.

    Raises:
        ValueError: no run, or a baseline that is no arm.
    """
    if not runs:
        raise ValueError("there is no run to compare")
    by_name: dict[str, list[Run]] = {}
    for run in runs:
        by_name.setdefault(run.objective, []).append(run)
    arms = [
        Arm(name, sorted(found, key=lambda run: (run.seed is None, run.seed, run.name)))
        for name, found in by_name.items()
    ]
    if baseline is not None and not any(arm.is_of(baseline) for arm in arms):
        raise ValueError(f"--baseline {baseline}: there is no such arm; there are {', '.join(by_name)}")
    first = arms[0].name.removesuffix(f" ({arms[0].runs[0].kind})")
    chosen = baseline or (BASELINE if any(arm.is_of(BASELINE) for arm in arms) else first)
    arms.sort(key=lambda arm: not arm.is_of(chosen))
    comparison = Comparison(arms, chosen, [], {}, [*_early(runs), *_mixed(arms)])
    for source in sorted({name for run in runs for found in run.evaluations.values() for name in found}):
        _add_source(comparison, source, contaminated)
    return comparison


def _early(runs: Sequence[Run]) -> list[str]:
    """Runs whose last evaluation is not that of the last step asked for."""
    found = [f"{run.name} ({run.note.removeprefix('ended early: ')})" for run in runs if run.note]
    return (
        [f"{len(found)} of {len(runs)} runs ended early and count as they were then: {'; '.join(found)}"]
        if found
        else []
    )


def _mixed(arms: Sequence[Arm]) -> list[str]:
    """Arms whose runs differ in more than their seed."""
    notes = []
    for arm in arms:
        # Evaluations of several seeds are of as many models.
        own = ("model.name", "model.digest") if arm.runs[0].kind == "responses" else ()
        found = {name: by_arm for name, by_arm in different_settings(arm.runs).items() if name not in own}
        # A setting that one of them does not record is not known to differ.
        names = [
            name
            for name, by_arm in found.items()
            if not name.endswith("seed") and len({value for value in by_arm[arm.name] if value != "-"}) > 1
        ]
        if names:
            notes.append(f"{arm.name}: its runs are taken for seeds of one another, and differ in {', '.join(names)}")
    return notes


def _add_source(comparison: Comparison, source: str, contaminated: Contaminated | None) -> None:
    runs = [run for arm in comparison.arms for run in arm.evaluated(source)]
    if not runs:
        return
    last = [run.evaluations[run.last_step][source] for run in runs]
    prompts = common_prompts(last)
    widest = max(len(outcomes) for outcomes in last)
    if len(prompts) < widest:
        comparison.notes.append(
            f"{source}: compared on the {len(prompts)} prompts that all runs were evaluated on, of {widest}"
        )
    if len(prompts) < 2:
        comparison.notes.append(f"{source}: no comparison, fewer than two common prompts")
        return
    populations = {"all": prompts}
    if contaminated is not None:
        _add_clean(comparison, populations, source, runs, contaminated)
    populations |= _terciles(comparison, source, runs, prompts)
    for name, chosen in populations.items():
        if len(chosen) < 2:
            comparison.notes.append(f"{source}, {name}: {len(chosen)} prompts are too few for an interval")
        else:
            of_source = replace(comparison, baseline=comparison.baseline_on(source))
            comparison.populations.append(_population(of_source, source, name, chosen))


def _add_clean(
    comparison: Comparison,
    populations: dict[str, list[str]],
    source: str,
    runs: Sequence[Run],
    contaminated: Contaminated,
) -> None:
    """Mark the source's contaminated prompts, and add the others where there are both."""
    if any(run.kind == "lab" for run in runs):
        # Its prompts are known by their position.
        comparison.contaminated[source] = None
        return
    texts = {name: text for run in runs for name, text in run.problems.items()}
    asked = {prompt: texts.get((source, prompt), prompt) for prompt in populations["all"]}
    found = {prompt: text for prompt, text in asked.items() if (source, prompt, text) in contaminated}
    comparison.contaminated[source] = [text or prompt for prompt, text in found.items()]
    if found:
        populations["clean"] = [prompt for prompt in asked if prompt not in found]


def _starts(runs: Sequence[Run], source: str) -> list[Outcomes]:
    """Evaluations before training."""
    return [
        run.evaluations[0][source]
        for run in runs
        if 0 in run.evaluations and source in run.evaluations[0] and run.last_step > 0
    ]


def _terciles(comparison: Comparison, source: str, runs: Sequence[Run], prompts: Sequence[str]) -> dict[str, list[str]]:
    """Thirds of the prompts by the starting model's accuracy; prompts of one accuracy stay together."""
    starts = [start for start in _starts(runs, source) if set(prompts) <= set(start.prompts)]
    if not starts:
        comparison.notes.append(f"{source}: no evaluation before training, so none by difficulty of the starting model")
        return {}
    accuracy = np.mean([start.take(prompts).pass_at((1,))[:, 0] for start in starts], axis=0)
    values = np.unique(accuracy)
    below = np.array([(accuracy < value).sum() for value in values])
    # The value at which a third, and two thirds, of the prompts are nearest to lying below.
    cuts = [values[np.abs(below - share * len(prompts) / 3).argmin()] for share in (1, 2)]
    third = (accuracy[:, None] >= np.array(cuts)).sum(1)
    parts = [[prompt for prompt, place in zip(prompts, third, strict=True) if place == index] for index in range(3)]
    parts = [part for part in parts if part]
    return dict(zip(STRATA[len(parts)], parts, strict=True)) if len(parts) > 1 else {}


def _population(comparison: Comparison, source: str, name: str, prompts: list[str]) -> Population:
    last = {
        arm.name: {
            _key(run, i): run.evaluations[run.last_step][source].take(prompts) for i, run in enumerate(evaluated)
        }
        for arm in comparison.arms
        if (evaluated := arm.evaluated(source))
    }
    least = {arm: min(outcomes.least_samples for outcomes in by_run.values()) for arm, by_run in last.items()}
    ks = powers_of_two(max(least.values()))
    # An arm with fewer samples than the others has the smaller budgets.
    ks_of = {arm: tuple(k for k in ks if k <= samples) for arm, samples in least.items()}
    starts = _starts([run for arm in comparison.arms for run in arm.evaluated(source)], source)
    starts = [start.take(prompts) for start in starts if set(prompts) <= set(start.prompts)]
    start_ks = tuple(k for k in ks if starts and k <= min(start.least_samples for start in starts))
    found = Population(
        source=source,
        name=name,
        prompts=prompts,
        ks=tuple(ks),
        start=pass_curve(starts, start_ks) if starts else None,
        curves={arm: pass_curve(list(outcomes.values()), ks_of[arm]) for arm, outcomes in last.items()},
        differences={},
        pairing={},
    )
    reference = last.get(comparison.baseline)
    if reference is None:
        if name == "all" and len(last) > 1:
            comparison.notes.append(
                f"{source}: no differences, the baseline {comparison.baseline} was not evaluated on it"
            )
        return found
    for arm, outcomes in last.items():
        if arm == comparison.baseline:
            continue
        both = min(ks_of[arm], ks_of[comparison.baseline], key=len)
        common = [key for key in outcomes if key in reference and key[0] == "seed"]
        # Runs of other seeds are left out of a pairing: only where it keeps most runs of one arm.
        if 2 * len(common) > min(len(outcomes), len(reference)):
            estimate = difference([outcomes[key] for key in common], [reference[key] for key in common], both)
            found.pairing[arm] = f"{len(common)} paired seed{'s' if len(common) > 1 else ''}"
        else:
            estimate = difference(list(outcomes.values()), list(reference.values()), both, paired=False)
            found.pairing[arm] = f"{len(outcomes)} and {len(reference)} runs, prompts paired"
        found.differences[arm] = estimate
    found.decisions = {k: decisions_at(found, k) for k in sorted({ks[0], ks[-1]})}
    return found


def decisions_at(found: Population, k: int) -> dict[str, Decision]:
    """Verdicts on the arms that have so many samples."""
    return decide({arm: estimate for arm, estimate in found.differences.items() if k in estimate.ks}, k)


def by_band(estimate: Estimate) -> str:
    """Verdicts on a difference by its band, right at all budgets at once."""
    found = {verdict: [k for k, given in band_verdicts(estimate).items() if given == verdict] for verdict in SURE}
    words = [f"{verdict} at k = {', '.join(map(str, ks))}" for verdict, ks in found.items() if ks]
    return "; ".join(words) or "tied at every k"


def detectable(estimate: Estimate, k: int) -> str:
    """In points, the smallest difference that would have been found with 80 %."""
    return f"{100 * estimate.detectable[estimate.at(k)]:.1f}"


def _key(run: Run, place: int) -> tuple[str, int]:
    return ("seed", run.seed) if run.seed is not None else ("run", place)


def different_settings(runs: Sequence[Run]) -> dict[str, dict[str, list[str]]]:
    """Settings that are not the same in all runs of a kind: field -> arm -> its values; `-` where a run has none.

    A row of the objective table is one setting.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for kind in sorted({run.kind for run in runs}):
        chosen = [(run, _settings(run)) for run in runs if run.kind == kind]
        for name in sorted({name for _, settings in chosen for name in settings}):
            values = [(run.objective, settings.get(name, "-")) for run, settings in chosen]
            if len({value for _, value in values}) > 1:
                by_arm = found[name] = {}
                for arm, value in values:
                    if value not in by_arm.setdefault(arm, []):
                        by_arm[arm].append(value)
    return found


def _settings(run: Run) -> dict[str, str]:
    """Settings as text, each row of the objective table as one."""
    prefix = "objective.cells."
    cells: dict[str, dict[str, Any]] = {}
    shown: dict[str, str] = {}
    for name, value in run.settings.items():
        cell, _, parameter = name.removeprefix(prefix).partition(".")
        if name.startswith(prefix) and parameter:
            cells.setdefault(cell, {})[parameter] = value
        else:
            shown[name] = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return shown | {f"{prefix}{cell}": row_in_words(row) for cell, row in cells.items()}


def mean_curve(runs: Sequence[Run], name: str) -> Mapping[int, float]:
    """Mean over the runs that have a step."""
    values: dict[int, list[float]] = {}
    for run in runs:
        for step, value in run.curves.get(name, {}).items():
            values.setdefault(step, []).append(value)
    return {step: float(np.mean(found)) for step, found in sorted(values.items())}
