# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""How a file was made decides what is up to date."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from data_support import read

from data_prep.operations.build import BuildOptions, build_split
from data_prep.sources.dataset import DataSet, Parsed
from data_prep.storage import provenance


def test_a_source_tree_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(provenance, "version", missing)
    assert provenance.tool()["version"] == "unknown"


def test_another_parser_is_not_up_to_date(tmp_path: Path) -> None:
    source, out = tmp_path / "rows.jsonl", tmp_path / "out.parquet"
    source.write_text('{"problem": "p", "answer": "1"}')
    options = BuildOptions(source=str(source))

    def typed(answer: str) -> DataSet:
        names: dict = {"DataSet": DataSet, "Parsed": Parsed}
        exec(
            f"class Typed(DataSet):\n    def parse(self, record):\n        return Parsed(problem='p', answer={answer})",
            names,
        )
        return names["Typed"](name="typed", title="typed")

    one, other = typed("record['answer']"), typed("str(len(record))")
    assert not build_split(one, "train", out, options).up_to_date
    assert build_split(one, "train", out, options).up_to_date
    assert not build_split(other, "train", out, options).up_to_date
    assert [row["reward_model"]["ground_truth"] for row in read(out)] == ["2"]
