# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""verl's Megatron engine, on real processes, against Hugging Face."""

import pytest
from engines_cases import CASES, layout_cases
from engines_checks import CHECKS

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("engines")]


@pytest.mark.parametrize("layout, case", layout_cases("megatron", CASES), ids=str)
def test_equals_hugging_face(layout, case, layout_results, references):
    result = layout_results(layout)[str(case)].checked()
    CHECKS[case.run](layout, case, result, references[case.model])
