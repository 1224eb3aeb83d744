# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What a comparison says of runs, its page, its pictures, its command line."""

import json
import re
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from compare_runs import PROBLEMS, counts, evaluation, lab_result, real_run

from data_prep.operations.decontaminate import EvalProblem, Report, write_report
from recipe.htpo.compare.__main__ import main
from recipe.htpo.compare.analysis import compare, different_settings
from recipe.htpo.compare.contamination import read_reports
from recipe.htpo.compare.figures import _curves, _save, _style, plt
from recipe.htpo.compare.markdown import tables, write_into
from recipe.htpo.compare.page import results
from recipe.htpo.compare.readers import read_runs
from recipe.htpo.compare.runs import CompareError
from recipe.htpo.evaluation import Outcomes, band_verdicts, difference, pass_curve

START = Outcomes.of_counts(counts(0, 99), 8)
STUDY = Path(__file__).resolve().parents[3] / "docs" / "study" / "first_series" / "off_policy"


@pytest.fixture
def lab(tmp_path):
    for arm, seeds, rate in (("htpo", (1, 2, 3, 5), 0.2), ("dapo", (1, 2, 3, 4), 0.1)):
        for seed in seeds:
            lab_result(tmp_path / "lab", arm, seed, rate)
    return tmp_path / "lab"


def populations(comparison):
    return {(found.source, found.name): found for found in comparison.populations}


def test_numbers_are_those_of_the_evaluation_package(lab):
    comparison = compare(read_runs([lab]))
    assert [arm.name for arm in comparison.arms] == ["dapo", "htpo"] and comparison.baseline == "dapo"
    found = populations(comparison)["lab arithmetic", "all"]
    assert found.ks == (1, 2, 4, 8) and len(found.prompts) == 60
    outcomes = {
        (arm, seed): Outcomes.of_counts(counts(rate, seed), 8)
        for arm, seeds, rate in (("htpo", (1, 2, 3, 5), 0.2), ("dapo", (1, 2, 3, 4), 0.1))
        for seed in seeds
    }
    expected = pass_curve([outcomes["htpo", seed] for seed in (1, 2, 3, 5)])
    assert np.array_equal(found.curves["htpo"].value, expected.value)
    assert np.array_equal(found.curves["htpo"].band_low, expected.band_low)
    # Seeds that both have are paired.
    paired = difference([outcomes["htpo", s] for s in (1, 2, 3)], [outcomes["dapo", s] for s in (1, 2, 3)])
    assert np.array_equal(found.differences["htpo"].low, paired.low)
    assert found.pairing == {"htpo": "3 paired seeds"}
    (row,) = [row for row in results(comparison, found) if row["arm"] == "htpo"]
    sure = [k for k, verdict in band_verdicts(paired).items() if verdict == "better"]
    assert row["whole"] == [f"better at k = {', '.join(map(str, sure))}", f"{100 * paired.detectable[0]:.1f}"]
    assert found.decisions[1]["htpo"].verdict == "better" and found.decisions.keys() == {1, 8}
    assert found.start is not None and found.start.value[0] == pytest.approx(np.mean(counts(0, 99)) / 8)


def test_an_arm_with_fewer_samples_has_the_smaller_budgets(tmp_path):
    for arm, samples in (("dapo", 16), ("htpo", 8), ("ce_gppo", 16)):
        for seed in (1, 2):
            path = lab_result(tmp_path / "lab", arm, seed, 0.1, eval_samples=samples)
            result = json.loads(path.read_text())
            result["start"] = {"counts": counts(0, 99, samples=16), "samples": 16}
            result["steps"][1]["counts"] = counts(0.1, seed, samples=samples)
            path.write_text(json.dumps(result))
    comparison = compare(read_runs([tmp_path / "lab"]))
    found = populations(comparison)["lab arithmetic", "all"]
    assert found.ks == (1, 2, 4, 8, 16) and found.differences["htpo"].ks == found.curves["htpo"].ks == (1, 2, 4, 8)
    assert found.decisions[1].keys() == {"htpo", "ce_gppo"} and found.decisions[16].keys() == {"ce_gppo"}
    (row,) = [row for row in results(comparison, found) if row["arm"] == "htpo"]
    assert row["values"][1] == row["differences"][1] == "-"
    text = tables(comparison)
    assert "60 held-out prompts, 16 samples each (`htpo` 8)." in text
    assert all(
        line.split(" | ")[-1].startswith("- |") for line in text.splitlines() if line.startswith("| `htpo` | 2 |")
    )


def test_arms_with_few_seeds_in_common_are_not_paired(tmp_path):
    for arm, seeds in (("a", (1,)), ("b", (2, 3)), ("c", (3, 4)), ("d", (3,))):
        for seed in seeds:
            lab_result(tmp_path, arm, seed, 0.1)
    comparison = compare(read_runs([tmp_path]), baseline="b")
    assert comparison.baseline == "b" and comparison.arms[0].name == "b"
    assert comparison.populations[0].pairing == {
        "a": "1 and 2 runs, prompts paired",
        "c": "2 and 2 runs, prompts paired",
        "d": "1 paired seed",
    }
    with pytest.raises(ValueError, match="--baseline e: there is no such arm; there are a, b, c, d"):
        compare(read_runs([tmp_path]), baseline="e")


def test_thirds_by_the_starting_model(lab):
    found = populations(compare(read_runs([lab])))
    thirds = [found["lab arithmetic", name] for name in ("hardest third", "middle third", "easiest third")]
    start = dict(zip(map(str, range(60)), counts(0, 99), strict=True))
    spans = [[start[prompt] for prompt in third.prompts] for third in thirds]
    # No prompt of a harder third was easier, or as easy; thirds are as even as that allows.
    assert max(spans[0]) < min(spans[1]) and max(spans[1]) < min(spans[2])
    assert sum(map(len, spans)) == 60 and all(12 <= len(span) <= 28 for span in spans)
    assert thirds[0].start.value[0] < thirds[1].start.value[0] < thirds[2].start.value[0]


def test_other_prompts_are_left_out_and_said(tmp_path):
    path = lab_result(tmp_path, "dapo", 1, 0.1)
    lab_result(tmp_path, "htpo", 1, 0.1)
    result = json.loads(path.read_text())
    for record in (result["start"], result["steps"][1]):
        record["counts"] = record["counts"][:40]
    path.write_text(json.dumps(result))
    comparison = compare(read_runs([tmp_path]))
    assert len(populations(comparison)["lab arithmetic", "all"].prompts) == 40
    assert "lab arithmetic: compared on the 40 prompts that all runs were evaluated on, of 60" in comparison.notes


def report(path, *problems):
    """What `data_prep decontaminate --report` writes."""
    found = [
        EvalProblem(Path("eval.parquet"), i, f"x/{i}", text, "0", 3, data_source="x", index=i, share=1.0)
        for i, text in enumerate(problems)
    ]
    write_report(Report(found, threshold=0.5, train_rows=10, near=0.8), path)
    return path


def test_contaminated_prompts(tmp_path):
    run = real_run(tmp_path / "run", "htpo", 1, 0.1)
    # The report's text has other white space and case; the run's prompt has a template around it.
    asked = [f"{problem} Put the answer in a box." for problem in PROBLEMS]
    file = report(tmp_path / "report.jsonl", f" {asked[3]}\n", asked[7].upper(), "Something else?")
    comparison = compare(read_runs([run]), contaminated=read_reports([file]))
    found = populations(comparison)
    marked = comparison.contaminated["arithmetic"]
    assert len(marked) == 2 and PROBLEMS[3] in marked[0] and PROBLEMS[7] in marked[1]
    assert len(found["arithmetic", "all"].prompts) == 60
    clean = found["arithmetic", "clean"].prompts
    assert len(clean) == 58 and not any(PROBLEMS[3] in prompt or PROBLEMS[7] in prompt for prompt in clean)
    # No contaminated prompt: the numbers of all are those of the clean ones.
    nothing = compare(read_runs([run]), contaminated=read_reports([report(tmp_path / "none.jsonl")]))
    assert nothing.contaminated == {"arithmetic": []} and ("arithmetic", "clean") not in populations(nothing)


def test_contaminated_prompts_of_two_sources_with_the_same_ids(tmp_path):
    directory = evaluation(tmp_path / "after")
    one = pq.read_table(directory / "responses.parquet")
    other = one.set_column(0, "data_source", pa.array(["t"] * 6)).set_column(2, "problem", pa.array(["D?"] * 6))
    pq.write_table(pa.concat_tables([one, other]), directory / "responses.parquet")
    file = report(tmp_path / "report.jsonl", "A?")
    comparison = compare(read_runs([directory]), contaminated=read_reports([file]))
    assert comparison.contaminated == {"s": ["A?"], "t": []}


def test_the_page_names_contaminated_prompts_and_what_was_not_checked(lab, tmp_path):
    file = report(tmp_path / "report.jsonl", "A?", "<b>")
    places = [str(lab), str(evaluation(tmp_path / "after")), "--contaminated", str(file)]
    assert main([*places, "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "compare.html").read_text()
    assert "<b>lab arithmetic:</b> not checked" in text
    assert (
        "<b>s:</b> in the training data are 1 prompts" in text and "<li>A?</li>" in text and "<li>B?</li>" not in text
    )


def test_what_counts_as_contaminated(tmp_path):
    long = "What is the sum of all primes that are below\na hundred, squared?"
    found = read_reports([report(tmp_path / "report.jsonl", "1+2", long)])
    # A short problem has its lines for itself; a long one may have an instruction on the same line.
    for text in ("1+2", "user\n1 + 2\nassistant\n", f"user\n{long.upper()} Answer in a box.\nassistant\n"):
        assert ("other", "other", text) in found, text
    for text in ("1+2+3", "user\n31+2\nassistant\n", long.replace("hundred", "thousand")):
        assert ("other", "other", text) not in found, text
    # A line of the report may hold what ends a line of text.
    parted = read_reports([report(tmp_path / "parted.jsonl", "1+2\u2028= ?")])
    assert ("other", "other", "1+2\u2028= ?") in parted
    # By the id of the data, whatever the text.
    assert ("x", "x/0", "") in found and ("y", "x/0", "") not in found


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "line 1 is no JSON"),
        ('{"id": "a"}', "line 1 has no field text"),
        ('{"text": "a"}', "line 1 has no field id"),
    ],
)
def test_a_bad_report(tmp_path, text, message):
    (tmp_path / "report.jsonl").write_text(text)
    with pytest.raises(CompareError, match=f"report.jsonl: {message}; make it with `python -m data_prep decontaminate"):
        read_reports([tmp_path / "report.jsonl"])


def test_settings_that_differ(tmp_path):
    lab_result(tmp_path, "dapo", 1, 0.1)
    lab_result(tmp_path, "dapo", 2, 0.1, regime={"lr": 2e-4})
    other = {"cells": {"hard_wrong_high": {"rule": "penalize", "region": "below", "floor": 0.5}}}
    lab_result(tmp_path, "htpo", 1, 0.1, objective=other)
    found = different_settings(read_runs([tmp_path]))
    assert found["regime.lr"] == {"dapo": ["0.0001", "0.0002"], "htpo": ["0.0001"]}
    assert found["objective.cells.hard_wrong_high"] == {"dapo": ["ppo"], "htpo": ["penalize, region below, floor 0.5"]}
    assert not any("seed" in name or name.count(".") > 2 for name in found)
    # Runs of an arm that are more than seeds of one another are named.
    notes = compare(read_runs([tmp_path])).notes
    assert notes == ["dapo: its runs are taken for seeds of one another, and differ in regime.lr"]


def test_evaluations_of_two_seeds_are_of_two_models(tmp_path):
    for seed in (1, 2):
        evaluation(tmp_path / "dapo" / f"seed_{seed}", model=f"checkpoint of seed {seed}")
    comparison = compare(read_runs([tmp_path]))
    assert [(arm.name, len(arm.runs)) for arm in comparison.arms] == [("dapo", 2)]
    assert not any("differ in" in note for note in comparison.notes)


def test_every_kind_of_run_has_a_baseline(lab, tmp_path):
    """The lab's prompts are its own, so its runs are no baseline of evaluations."""
    places = [
        lab,
        *(evaluation(tmp_path / "eval" / f"{arm}_seed{seed}") for arm in ("htpo", "dapo") for seed in (1, 2)),
    ]
    for baseline, other in ((None, "htpo"), ("dapo", "htpo"), ("htpo", "dapo")):
        comparison = compare(read_runs(places), baseline=baseline)
        found = {name: population.differences.keys() for (name, _), population in populations(comparison).items()}
        assert found == {"lab arithmetic": {f"{other} (lab)"}, "s": {f"{other} (responses)"}}
        assert comparison.baseline == (baseline or "dapo")
    assert not any("no differences" in note for note in comparison.notes)
    text = tables(compare(read_runs(places)))
    assert "Difference to `dapo (lab)`" in text and "Difference to `dapo (responses)`" in text
    with pytest.raises(
        ValueError, match="--baseline ppo: there is no such arm; there are dapo .lab., htpo .lab., htpo"
    ):
        compare(read_runs(places), baseline="ppo")


def test_the_page_is_whole(lab, tmp_path, capsys):
    out = tmp_path / "out"
    real = real_run(tmp_path / "run", "htpo_paper", 1, 0.1)
    kept = tmp_path / "kept.md"
    kept.write_text("<!-- compare: out -->\n<!-- end: out -->\n")
    assert main([str(lab), str(real), "--out", str(out), "--into", str(kept)]) == 0
    assert kept.read_text().count("60 held-out prompts") == 2
    printed = capsys.readouterr().out
    assert "compare.html: " in printed and "better; 3 paired seeds" in printed
    assert "arithmetic, all: 60 prompts" in printed and "lab arithmetic, all: 60 prompts" in printed
    text = (out / "compare.html").read_text()
    assert re.findall(r"<[^>]*(?:src|href)=\"(?!data:|#)[^>]*>", text) == [] and "<script" not in text
    pictures = sorted(path.stem for path in out.glob("*.png"))
    assert {"groups", "training", "pass_arithmetic", "pass_lab_arithmetic", "difference_lab_arithmetic"} < set(pictures)
    assert text.count("<img") == len(pictures)


def test_names_are_shown_as_they_are(tmp_path, capsys):
    """Neither as the markup of a terminal nor as a formula."""
    arms = [evaluation(tmp_path / name) for name in ("dapo", "a [bold] $\\frac{$", "b:smile:")]
    assert main([*map(str, arms), "--out", str(tmp_path / "[red]")]) == 0
    printed = capsys.readouterr().out
    assert "a [bold] $\\frac{$" in printed and "b:smile:" in printed and "[red]/compare.html: " in printed


def test_pictures_of_two_sources_with_one_stem(tmp_path):
    pictures = {}
    for title in ("math/500", "math-500", "math 500"):
        _save(plt.figure(figsize=(1, 1)), pictures, title, tmp_path, "pass_math_500")
    assert [file.name for file in pictures.values()] == [f"pass_math_500{end}.png" for end in ("", "_2", "_3")]


def test_the_study_of_the_repository(tmp_path, capsys):
    """Real results of the lab: three seeds of one arm, one of another."""
    names = ("dapo/seed_1", "dapo/seed_2", "dapo/seed_3", "htpo_paper/seed_1")
    paths = [str(STUDY / f"{name}.json") for name in names]
    assert main([*paths, "--out", str(tmp_path)]) == 0
    assert (
        "1 of 4 runs ended early and count as they were then: htpo_paper/seed_1 (no prompt" in capsys.readouterr().out
    )
    text = (tmp_path / "compare.html").read_text()
    for wanted in (
        "hardest third",
        "before training",
        "pass@8",
        "worse; 1 paired seed",
        "by its own band over all k",
        "smallest pass@1 difference found with 80 %, alone",
        "<td>worse at k = 1, 2, 4, 8</td>",
        "objective.cells.hard_wrong_high",
    ):
        assert wanted in text
    assert sorted(path.stem for path in tmp_path.glob("*.png")) == [
        "difference_lab_arithmetic", "pass_lab_arithmetic", "terciles_lab_arithmetic", "training",
    ]  # fmt: skip
    assert (tmp_path / "compare.html").stat().st_size < 1_500_000


def test_no_two_arms_look_the_same(tmp_path):
    for index in range(24):
        lab_result(tmp_path, f"arm_{index}", 1, 0.1)
    comparison = compare(read_runs([tmp_path]))
    figure = _curves(comparison, ["entropy"], {arm.name: _style(i) for i, arm in enumerate(comparison.arms)}, 1)
    lines = figure.axes[0].get_lines()
    looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines}
    assert len(looks) == len(lines) == 24
    # Not in black and white either, up to nine of them.
    assert len({line.get_marker() for line in lines}) == 9
    plt.close(figure)


def test_tables_for_a_page_of_the_project(lab, tmp_path):
    comparison, file = compare(read_runs([lab])), tmp_path / "study.md"
    begin, end = "<!-- compare: lab_runs -->", "<!-- end: lab_runs -->"
    with pytest.raises(CompareError, match="study.md: there is no such file"):
        write_into(file, "lab_runs", comparison)
    file.write_text(f"# Study\n\n{begin}\nold\n{end}\nlast\n")
    write_into(file, "lab_runs", comparison)
    text = file.read_text()
    write_into(file, "lab_runs", comparison)
    assert file.read_text() == text and "old" not in text
    assert text.startswith(f"# Study\n\n{begin}\nlab arithmetic: 60 held-out prompts, 8 samples each.\n")
    assert text.endswith(f"\n{end}\nlast\n")
    rows = {line.split(" | ")[0].strip("| `"): line.split(" | ") for line in text.splitlines() if line.startswith("| ")}
    found = populations(comparison)["lab arithmetic", "all"]
    change = difference([Outcomes.of_counts(counts(0.1, seed), 8) for seed in (1, 2, 3, 4)], [START] * 4, found.ks)
    ends = zip(change.value, change.low, change.high, strict=True)
    shown = [f"{100 * value:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})" for value, low, high in ends]
    assert f"| `dapo` | 4 | {' | '.join(shown)} |" in text.splitlines()
    assert rows["before training"][7].startswith(f"{found.start.value[0]:.3f} (")
    assert "| `dapo` | 4 | 1.00 | 3.00 | 2.00 | 0.200, 0.100 |" in text
    decision = found.decisions[8]["htpo"]
    last = f"{100 * decision.value:+.1f} ({100 * decision.low:+.1f} to {100 * decision.high:+.1f})"
    assert rows["htpo"][1] == "3 paired seeds" and rows["htpo"][4].startswith(last)
    assert rows["htpo"][4].endswith(f"**{decision.verdict}**")
    # What is written by hand stands in the same file, and outlives a full disk.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_into(file, "lab_runs", comparison)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_text() == text
    with pytest.raises(CompareError, match="study.md: has no place for other; write the lines <!-- compare: other -->"):
        write_into(file, "other", comparison)


def test_command_line_errors(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "nowhere: there is nothing; give" in capsys.readouterr().err


@pytest.mark.parametrize("below", [False, True])
def test_an_output_that_is_a_file(tmp_path, capsys, below):
    file = tmp_path / "notes.md"
    file.write_text("kept")
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path / "nowhere"), "--out", str(file / "page" if below else file)])
    assert f"argument --out: {file} is a file; give a directory" in capsys.readouterr().err
    assert file.read_text() == "kept"
