# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""One batch through both engines, every layout, packed or padded, however split: the same HTPO update."""

import pytest
import torch
from engines_cases import GRADIENT_CASES, layout_cases
from engines_checks import RELATIVE_TOLERANCE, check_gradients, check_sums, group_sums, in_parameters

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("engines")]

BASE_LAYOUT = "fsdp-1"


@pytest.mark.parametrize("layout, case", layout_cases("", GRADIENT_CASES), ids=str)
def test_equals_one_fsdp_process(layout, case, layout_results, references):
    wanted = (case.model, case.entropy_source)
    base_case = next(other for other in GRADIENT_CASES if (other.model, other.entropy_source) == wanted)
    expected = layout_results(BASE_LAYOUT)[str(base_case)].checked()
    actual = layout_results(layout)[str(case)].checked()
    expected_groups, groups = expected.by_row("groups"), actual.by_row("groups")
    assert groups.keys() == expected_groups.keys()
    assert all(torch.equal(groups[row], expected_groups[row]) for row in groups)
    for name in ("loss", "grad_norm"):
        assert actual.metrics[name] == pytest.approx(expected.metrics[name], rel=RELATIVE_TOLERANCE), name
    check_sums(group_sums(layout, actual), group_sums(BASE_LAYOUT, expected))
    reference = references[case.model]
    check_gradients(
        in_parameters(actual.tensors("gradients"), reference), in_parameters(expected.tensors("gradients"), reference)
    )
