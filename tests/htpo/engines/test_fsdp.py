# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""verl's FSDP2 engine, on real processes, against Hugging Face."""

import pytest
from engines_cases import CASES, LAYOUTS
from engines_checks import CHECKS

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("engines")]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name.startswith("fsdp")])
def test_equals_hugging_face(layout, case, layout_results, references):
    result = layout_results(layout)[str(case)].checked()
    CHECKS[case.run](layout, case, result, references[case.model])
