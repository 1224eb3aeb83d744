# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The tiny models, their references, and every layout's results; each is made once, when a test first asks for it."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
import torch
from engines_cases import LAYOUTS, MODELS
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
def layout_results(engine_inputs, tmp_path_factory) -> Iterator[Callable[[str], dict[str, CaseResult]]]:
    """Results of a layout by case. A layout that failed is not started again for every further test.

    Layouts of one process run beside each other.
    """
    with ThreadPoolExecutor() as pool:

        @cache
        def started(layout: str) -> Future[dict[str, CaseResult]]:
            return pool.submit(run_layout, layout, engine_inputs, tmp_path_factory.mktemp(layout))

        def results(layout: str) -> dict[str, CaseResult]:
            if LAYOUTS[layout].processes == 1:
                for other in (name for name, found in LAYOUTS.items() if found.processes == 1):
                    started(other)
            return started(layout).result()

        yield results
