# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""verl's own RLHFDataset reads every list of files we make, and counts prompt lengths as we do."""

from pathlib import Path

from data_support import dapo_table, rlhf_dataset, write_contract

from data_prep.command_line.main import main
from data_prep.operations.lengths import prompt_lengths
from data_prep.operations.mix import Part, mix


def test_a_list_of_built_mixed_and_selected_files(tmp_path: Path, tokenizer_folder: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(dapo_table(10, copies=3), tmp_path / "dapo_math_17k.parquet")
    assert main(["build", "dapo_math_17k", "--source", str(tmp_path), "--out", str(tmp_path)]) == 0
    assert main(["build", "arithmetic", "--out", str(tmp_path), "--train-rows", "20", "--test-rows", "5"]) == 0
    paths = [tmp_path / "dapo_math_17k" / "train.parquet", tmp_path / "arithmetic" / "train.parquet"]
    mix([Part(path) for path in paths], tmp_path / "mixed.parquet")
    assert main(["select", str(paths[1]), "--rows", "7", "--out", str(tmp_path / "few.parquet")]) == 0
    paths += [tmp_path / "mixed.parquet", tmp_path / "few.parquet"]
    dataset, _ = rlhf_dataset(paths, tokenizer_folder, tmp_path / "cache")
    assert len(dataset) == 10 + 20 + 30 + 7
    row = dataset[0]
    assert row["data_source"] == "math_dapo" and row["reward_model"]["ground_truth"] == "0"
    assert row["raw_prompt"][0]["content"].startswith("Solve the following math problem step by step.")
    assert row["index"] == 0 and row["extra_info"]["id"].startswith("dapo_math_17k/")


def test_lengths_are_those_verl_filters_by(tmp_path: Path, tokenizer_folder: Path) -> None:
    path = write_contract(tmp_path / "in.parquet", ["sum " * length for length in range(1, 30)])
    dataset, tokenizer = rlhf_dataset([path], tokenizer_folder, tmp_path / "cache", max_prompt_length=17)
    prompts = [[{"role": "user", "content": "sum " * length}] for length in range(1, 30)]
    lengths = prompt_lengths(tokenizer, prompts)
    assert 0 < sum(length <= 17 for length in lengths) < 29
    assert len(dataset) == sum(length <= 17 for length in lengths)
