# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: filters work, the keyboard reaches everything, nothing fails or is fetched."""

import numpy as np
import pytest
from browser import chromium
from test_dump import response
from test_page import TOKENIZER, write

from recipe.htpo.inspect.__main__ import main
from recipe.htpo.inspect.dump import read_dump

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]
READY = "document.querySelector('#count')"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Two steps of four prompts x 4 responses; the second has other lengths."""
    directory, random = tmp_path_factory.mktemp("run"), np.random.default_rng(0)
    for step in (1, 4):
        ids = TOKENIZER.encode("12+3=15\n\\boxed{15}" * step)
        rows = [response(i, ids, uid=f"u{i // 4}", correct=i % 2 == 0, hard=i < 8) for i in range(16)]
        write(directory, step, rows, random, thr=random.standard_normal)
    assert main([str(directory)]) == 0
    return directory


@pytest.fixture(scope="module")
def tab(tmp_path_factory, run_dir):
    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture(autouse=True)
def opened(tab, run_dir):
    tab.open(run_dir / "tokens.html", READY)
    yield
    assert tab.errors == [] and tab.requests == []


def table(tab):
    """Cells of the totals' table, by the row's name."""
    rows = tab.js(
        "[...document.querySelectorAll('#table tbody tr')].map(row => [...row.children].map(cell => cell.innerText))"
    )
    return {row[0].replace("\xa0", " ").split("\n")[0].strip(): row[1:] for row in rows}


def shown(tab):
    return tab.js("[...document.querySelectorAll('.response')].filter(card => !card.hidden).length")


def test_totals_are_those_of_the_dump(tab, run_dir):
    states = np.concatenate([dump.flat("state") for dump in read_dump(run_dir)])
    rows = table(tab)
    assert rows["all"][0] == str((states > 0).sum())
    for group in (3, 4):
        name = next(name for name in rows if name.startswith(str(group)))
        members = (states & 15) == group
        assert rows[name][0] == str(members.sum())
        numbers = {
            column: np.concatenate([dump.flat(column) for dump in read_dump(run_dir)])[members].mean()
            for column in ("entropy", "ratio")
        }
        assert [float(cell) for cell in rows[name][7:9]] == pytest.approx(list(numbers.values()), abs=6e-5)
        assert float(rows[name][1].removesuffix(" %")) == pytest.approx(100 * members.mean(), abs=0.006)


def test_filters(tab):
    assert shown(tab) == 32 and tab.js("document.title").startswith("32 of 32 responses")
    for name, value, expected in (
        ("step", "4", 16),
        ("answer", "correct", 8),
        ("difficulty", "hard", 4),
        ("prompt", "4", 2),
    ):
        tab.choose(name, value)
        assert shown(tab) == expected, name
    assert "step=4" in tab.js("location.hash") and "prompt=4" in tab.js("location.hash")
    tab.choose("step", "1")
    # A prompt of the other step is no choice any more.
    assert tab.js("document.forms[0].elements.prompt.value") == "" and shown(tab) == 4
    tab.choose("group", "8")
    assert shown(tab) == 0 and "No response has all of this" in tab.js("document.querySelector('#count').innerText")
    tab.js("document.querySelector('button[type=reset]').click()")
    tab.wait("document.title.startsWith('32 of 32')")
    tab.choose("group", "4")
    assert set(tab.js("[...document.querySelectorAll('#table tbody tr')].map(row => row.cells[1].innerText)")) > {"0"}
    assert tab.js("document.querySelectorAll('#responses .dim').length") > 0
    tab.js("document.querySelector('button[type=reset]').click()")
    tab.wait("document.title.startsWith('32 of 32')")
    tab.choose("rule", "replaced")
    assert shown(tab) == 0


def test_a_link_opens_the_same_view(tab, run_dir):
    tab.open(run_dir / "tokens.html", READY, "#step=4&difficulty=easy&colour=thr")
    assert shown(tab) == 8
    assert tab.js("document.forms[0].elements.colour.value") == "thr"


def test_a_link_to_a_step_that_the_page_has_not_opens_all_steps(tab, run_dir):
    tab.open(run_dir / "tokens.html", READY, "#step=9&difficulty=easy")
    assert shown(tab) == 16


def test_colours(tab):
    backgrounds = {}
    for colour in ("group", "entropy", "weight", "thr"):
        tab.js(f"document.querySelector('input[value={colour}]').click()")
        backgrounds[colour] = tab.js(
            "[...document.querySelectorAll('.tokens .t')].map(token => getComputedStyle(token).backgroundColor)"
        )
        assert len(set(backgrounds[colour])) > 1
        assert tab.js("document.querySelector('#legend').innerText")
    assert len({tuple(colours) for colours in backgrounds.values()}) == 4


def test_hover_names_numbers_and_rule(tab, run_dir):
    tab.point(".tokens .t:nth-child(3)")
    tab.wait("document.querySelector('#fired')")
    row = read_dump(run_dir)[0].table.slice(0, 1).to_pylist()[0]
    text = tab.js("document.querySelector('#token').innerText")
    assert f'"{row["token_text"][2]}"' in text and f"id {row['token_id'][2]}" in text
    assert tab.js("document.querySelector('#fired').innerText") == row["fired"][2]
    found = tab.js(
        "Object.fromEntries([...document.querySelectorAll('#token dl div')]"
        ".map(fact => [...fact.children].map(part => part.innerText)))"
    )
    for name, column in (
        ("old log-prob", "old_log_prob"),
        ("new log-prob", "log_prob"),
        ("ratio", "ratio"),
        ("THR", "thr"),
    ):
        assert float(found[name]) == pytest.approx(row[column][2], rel=6e-3, abs=2e-3), name


def test_keyboard(tab):
    """Tab goes through the controls and the responses; arrow keys go through a response's tokens."""
    reached = set()
    for _ in range(40):
        tab.press("Tab")
        reached.add(tab.js("(e => e.name || e.id || e.className || e.tagName)(document.activeElement)"))
        if "tokens" in reached:
            break
    assert {"colour", "step", "prompt", "answer", "difficulty", "group", "rule", "open", "SUMMARY", "tokens"} <= reached
    place = "[].indexOf.call(document.activeElement.children, document.querySelector('.current'))"
    assert tab.js(place) == 0
    for key, expected in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("Home", 0)):
        tab.press(key)
        assert tab.js(place) == expected
    tab.press("End")
    assert tab.js("!document.querySelector('.current').nextSibling && !!document.querySelector('#fired')")


def test_nothing_overlaps_and_grey_tells_low_from_high(tab):
    for width in (1280, 480):
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        assert tab.js("document.documentElement.scrollWidth <= innerWidth"), width
    tab.call("Emulation.clearDeviceMetricsOverride")
    grey = tab.js(
        "[...document.querySelectorAll('#legend .t')].slice(0, 8).map(e => "
        "getComputedStyle(e).backgroundColor.match(/\\d+/g).map(Number))"
        ".map(([r, g, b]) => 0.299 * r + 0.587 * g + 0.114 * b)"
    )
    assert all(low - high > 40 for low, high in zip(grey[::2], grey[1::2], strict=True))
