# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The tiny models, their references, and every layout's results; each is made once, when a test first asks for it."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from engines_cases import MODELS
from engines_launch import CaseResult, run_layout
from engines_models import write_model
from engines_reference import Reference


@pytest.fixture(scope="session")
def engine_inputs(tmp_path_factory) -> Path:
    """Directory with one directory per model: the model, its tokenizer, and `batch.pt`."""
    inputs = tmp_path_factory.mktemp("engine_inputs")
    for model in MODELS:
        write_model(model, inputs / model)
        torch.save(Reference(inputs / model).batch, inputs / model / "batch.pt")
    return inputs


@pytest.fixture(scope="session")
def references(engine_inputs) -> dict[str, Reference]:
    return {model: Reference(engine_inputs / model) for model in MODELS}


@pytest.fixture(scope="session")
def layout_results(engine_inputs, tmp_path_factory) -> Callable[[str], dict[str, CaseResult]]:
    """Results of a layout by case. A layout that failed is not started again for every further test."""

    @cache
    def attempt(layout: str) -> dict[str, CaseResult] | Exception:
        try:
            return run_layout(layout, engine_inputs, tmp_path_factory.mktemp(layout))
        except Exception as error:
            return error

    def results(layout: str) -> dict[str, CaseResult]:
        outcome = attempt(layout)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return results
