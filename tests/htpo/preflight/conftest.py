# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Configurations without problems, to be broken one field at a time."""

import pytest
from preflight_support import composed

from data_prep.operations.build import BuildOptions, build_split
from data_prep.sources.dataset import GenerateOptions
from data_prep.sources.registry import find_data_set
from recipe.htpo.lab.model import make_model, make_tokenizer


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """Data built by data_prep, and a model directory."""
    root = tmp_path_factory.mktemp("inputs")
    options = BuildOptions(generate=GenerateOptions(train_rows=48, test_rows=16))
    for split in ("train", "test"):
        build_split(find_data_set("arithmetic"), split, root / f"{split}.parquet", options)
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(root / "model")
    make_model(tokenizer, seed=0).save_pretrained(root / "model")
    return root


@pytest.fixture(scope="session")
def sound(inputs, tmp_path_factory):
    """Overrides of a CPU run that may start."""
    return [
        "platform=cpu",
        f"data.train_files={inputs}/train.parquet",
        f"data.val_files={inputs}/test.parquet",
        f"actor_rollout_ref.model.path={inputs}/model",
        f"htpo.output_dir={tmp_path_factory.mktemp('outputs')}/run",
    ]


@pytest.fixture(scope="session")
def sound_config(sound):
    """Composed once; tests that change it take a copy."""
    return composed(sound)


@pytest.fixture
def no_ray():
    """Nothing in a preflight without a cluster starts Ray."""
    import ray

    yield
    assert not ray.is_initialized()
