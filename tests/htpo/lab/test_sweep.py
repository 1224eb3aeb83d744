# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from recipe.htpo.lab.__main__ import main
from recipe.htpo.run.record import METRICS_DIR


def _lab(folder, preset, collapsed=False, seed=1):
    steps = [
        {"step": 1, "evaluated": 0, "pass@1": 0.3, "pass@8": 0.8, "loss": 0.2, "clipped": 0.01, "entropy": 0.5},
        {"step": 2, "evaluated": 2, "pass@1": 0.4, "pass@8": 0.9, "loss": 0.4, "clipped": 0.03, "entropy": 0.25},
    ]
    path = folder / "lab" / preset / f"seed_{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"start": {"pass@1": 0.3, "pass@8": 0.8}, "steps": steps, "collapsed": collapsed}))


def _stack(folder, preset, **clip):
    path = folder / "stack" / preset / METRICS_DIR / "1.jsonl"
    path.parent.mkdir(parents=True)
    metrics = {"actor/pg_loss": 0.1, "actor/entropy": 0.6, "htpo/pass_rate_generated": 0.5, **clip}
    lines = [{"step": 1, "data": metrics}, {"step": 2, "data": {**metrics, "actor/entropy": 0.7}}]
    path.write_text("\n".join(map(json.dumps, lines)))


def test_one_line_per_preset_from_both(tmp_path, capsys):
    _lab(tmp_path, "gspo")
    _lab(tmp_path, "htpo_paper", collapsed="held-out pass@1 0.010")
    _stack(tmp_path, "gspo", **{"actor/pg_clipfrac": 0.2})
    _stack(tmp_path, "kl_cov")
    assert main(["sweep", str(tmp_path)]) == 0
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines() if "|" in line
    ]
    by_preset = {row[0]: row[1:] for row in rows}
    assert by_preset["gspo"] == [
        "2",
        "0.3000",
        "2.00",
        "-0.250",
        "0.400",
        "0.900",
        "2",
        "0.1000",
        "20.00",
        "+0.100",
        "0.500",
    ]
    assert by_preset["htpo_paper"][0] == "2 (collapsed)" and by_preset["htpo_paper"][6:] == [""] * 5
    # KL-Cov reports no clip share.
    assert by_preset["kl_cov"] == [""] * 6 + ["2", "0.1000", "-", "+0.100", "0.500"]


def test_a_sweep_of_several_seeds(tmp_path):
    for seed in (1, 2):
        _lab(tmp_path, "gspo", seed=seed)
    with pytest.raises(SystemExit, match="lab has results of the seeds 1, 2: a sweep is of one seed"):
        main(["sweep", str(tmp_path)])
