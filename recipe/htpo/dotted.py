# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Nested settings by dotted names."""

from typing import Any


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`; what is no mapping has the name `prefix`."""
    if not isinstance(node, dict):
        return {prefix: node}
    return {
        name: value
        for key, inner in node.items()
        for name, value in flat(inner, f"{prefix}.{key}" if prefix else str(key)).items()
    }
