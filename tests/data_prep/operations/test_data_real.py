# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The published files, where they are at hand (``HTPO_DATA_DIR``): counts, conflicts, overlap, full-size removal."""

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from data_support import read, write_copies

from data_prep.command_line.main import main
from data_prep.operations.check import check_files
from data_prep.operations.decontaminate import find_overlap
from data_prep.operations.stats import stats_of
from data_prep.sources.dedup import grouped

# (set/split, rows, distinct problems, problems with conflicting answers)
COUNTS = [
    ("dapo_math_17k/train", 17_917, 17_290, 11),
    ("aime_2024/test", 30, 30, 0),
    ("aime_2025/test", 30, 30, 0),
    ("amc23/test", 40, 40, 0),
    ("math/train", 7_498, 7_498, 0),
    ("math/test", 5_000, 5_000, 0),
    ("math_500/test", 500, 500, 0),
    ("minerva/test", 272, 272, 0),
    ("olympiadbench/test", 675, 675, 0),
    ("gsm8k/train", 7_473, 7_473, 0),
    ("gsm8k/test", 1_319, 1_319, 0),
    ("aime_1983_2023/train", 975, 975, 0),
]


@pytest.fixture(scope="module")
def built(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built")
    names = sorted({name.split("/")[0] for name, *_ in COUNTS}) + ["deepscaler"]
    assert main(["build", *names, "--source", str(real_data), "--out", str(out)]) == 0
    return out


def test_counts(built: Path) -> None:
    found = []
    for name, *_ in COUNTS:
        stats = stats_of(built / f"{name}.parquet")
        found.append((name, stats.rows, stats.distinct_problems, stats.conflicts))
    assert found == COUNTS


def test_answers(built: Path) -> None:
    stats = stats_of(built / "dapo_math_17k" / "train.parquet")
    assert (stats.answers["integer"], stats.negative, stats.longest_answer) == (17_917, 366, 23)
    assert (stats.languages["en"], stats.languages["zh"]) == (14_048, 3_242)
    for name in ("aime_2024", "aime_2025", "amc23"):
        answers = [row["reward_model"]["ground_truth"] for row in read(built / name / "test.parquet")]
        assert all(answer == str(int(answer)) for answer in answers)
    assert "336" in [row["reward_model"]["ground_truth"] for row in read(built / "aime_2025" / "test.parquet")]


def test_both_publications_of_aime_agree(built: Path, real_data: Path, tmp_path: Path) -> None:
    for year, ours in (("24", "aime_2024"), ("25", "aime_2025")):
        source = real_data / f"skywork_aime{year}.parquet"
        assert main(["build", ours, "--source", str(source), "--out", str(tmp_path)]) == 0
        answers = [
            sorted(row["reward_model"]["ground_truth"] for row in read(folder / ours / "test.parquet"))
            for folder in (built, tmp_path)
        ]
        assert answers[0] == answers[1]


def test_built_files_pass_the_check(built: Path) -> None:
    """Apart from the published training sets' copies of evaluation problems, which it names."""
    assert {problem.kind for problem in check_files(sorted(built.glob("*/*.parquet")))} == {"train-is-test"}


def test_overlap_of_the_evaluation_sets_with_dapo(built: Path) -> None:
    # A problem of OlympiadBench has a share of exactly 0.5; without it there are 60.
    expected = {
        "amc23/test": 26,
        "olympiadbench/test": 61,
        "math_500/test": 24,
        "math/test": 1_283,
        "aime_1983_2023/train": 786,
        "aime_2024/test": 0,
        "aime_2025/test": 0,
        "minerva/test": 0,
    }
    paths = {name: built / f"{name}.parquet" for name in expected}
    report = find_overlap(built / "dapo_math_17k" / "train.parquet", list(paths.values()))
    by_phrases = {
        name: sum(p.kind == "shingles" and p.share >= report.threshold for p in report.contaminated(path))
        for name, path in paths.items()
    }
    assert by_phrases == expected
    contaminated = {name: len(report.contaminated(paths[f"{name}/test"])) for name in ("amc23", "olympiadbench")}
    assert contaminated == {"amc23": 27, "olympiadbench": 65}
    pairs = [(p.answer, match.answer) for p in report.contaminated(paths["amc23/test"]) for match in p.matches]
    assert sum(ours == theirs for ours, theirs in pairs) >= 0.9 * len(pairs)


@pytest.mark.long
@pytest.mark.parametrize("layout", ["tiled", "adjacent", "shuffled"])
def test_dapo_at_full_size(real_data: Path, built: Path, tmp_path: Path, layout: str) -> None:
    """1,791,700 rows become the rows of the bare file; memory stays below 1 GiB."""
    copies = tmp_path / "copies.parquet"
    write_copies(pq.read_table(real_data / "dapo_math_17k.svs.parquet"), copies, 100, layout, row_group_size=1 << 20)
    batches = grouped([copies], {"read": 0, "duplicate_rows": 0})
    assert batches is not None and sum(map(len, batches)) == 17_917
    script = (
        "import sys; from pathlib import Path; from data_prep.command_line.main import main; "
        "code = main(['build', 'dapo_math_17k', '--source', sys.argv[1], '--out', sys.argv[2]]); "
        "status = Path('/proc/self/status').read_text(); "
        "print(code, int(status.partition('VmHWM:')[2].split()[0]) // 1024)"
    )
    command = [sys.executable, "-c", script, str(copies), str(tmp_path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    code, peak_mib = map(int, output.splitlines()[-1].split())
    assert code == 0 and peak_mib < 1024
    rows = [row["extra_info"]["id"] for row in read(tmp_path / "dapo_math_17k" / "train.parquet")]
    assert sorted(rows) == sorted(row["extra_info"]["id"] for row in read(built / "dapo_math_17k" / "train.parquet"))
