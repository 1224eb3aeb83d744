# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The page of a comparison in a real browser: its pictures load, nothing fails, is fetched or runs out of the page."""

import pytest
from browser import chromium
from compare_runs import lab_result

from recipe.htpo.compare.__main__ import main

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]


def test_the_page_renders(tmp_path):
    for arm, rate in (("htpo", 0.2), ("dapo", 0.1), ("an_arm_with_a_long_name_and_no_end", 0.15)):
        for seed in (1, 2):
            lab_result(tmp_path / "lab", arm, seed, rate)
    assert main([str(tmp_path / "lab"), "--out", str(tmp_path / "out")]) == 0
    with chromium(tmp_path / "profile") as tab:
        tab.open(tmp_path / "out" / "compare.html", "document.readyState === 'complete'")
        pictures = tab.js("[...document.images].map(image => image.naturalWidth)")
        assert len(pictures) == 4 and all(width > 500 for width in pictures)
        assert tab.js("document.querySelectorAll('tbody tr').length") > 10
        for width in (1280, 480):
            tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
            assert tab.js("document.documentElement.scrollWidth <= innerWidth"), width
        assert tab.errors == [] and tab.requests == []
