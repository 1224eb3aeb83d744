# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Conditions on columns."""

import pytest

from data_prep.sources.filters import Condition, has_path


@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [
        ("level=Level 4, Level 5", "Level 5", True),
        ("level = Level 4 ,Level 5", "Level 4", True),
        ("level!=4, 5", 5.0, False),
        ("valid!=false", False, False),
        ("valid!=false", True, True),
        ("valid=true", True, True),
        ("valid=True", True, True),
        ("valid=true", "True", False),
        ("valid=1", True, False),
        ("valid~^t", True, True),
        ("valid!=false", None, True),
    ],
)
def test_condition(condition: str, value: object, holds: bool) -> None:
    assert Condition.parse(condition).holds(value) == holds


def test_a_path_to_null_is_there() -> None:
    record = {"a": {"b": None, "c.d": 1}, "x.y": None}
    assert [path for path in ("a", "a.b", "a.e", "x.y", "x", "a.b.c") if has_path(record, path)] == ["a", "a.b", "x.y"]
