# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The page of dumped tokens: what is in it, its size, its command line. `test_browser.py` looks at it in a browser."""

import base64
import json
import re
import zlib

import numpy as np
import pytest
from test_dump import columns, response

from recipe.htpo.inspect.__main__ import main
from recipe.htpo.inspect.dump import read_dump, write_step
from recipe.htpo.inspect.page import page, row_in_words
from recipe.htpo.inspect.totals import read_logged, step_totals
from recipe.htpo.lab.model import make_tokenizer
from recipe.htpo.objective import load_preset

TOKENIZER = make_tokenizer()
MEGABYTE = 1_000_000


def embedded(text: str, name: str) -> str:
    found = re.search(f'<script type="[a-z/]+" id="{name}">(.*?)</script>', text, re.DOTALL)
    assert found
    return found.group(1)


def unpacked(text: str):
    """Head and columns of the payload, as `page.js` reads them."""
    raw = zlib.decompress(base64.b64decode(embedded(text, "packed")))
    size = int.from_bytes(raw[:4], "little")
    head = json.loads(raw[4 : 4 + size])
    count = sum(row["tokens"] for row in head["responses"])
    planes = np.frombuffer(raw[4 + size :], dtype=np.uint8).reshape(-1, count).astype(np.uint16)
    assert len(planes) == 2 * len(head["columns"])
    return head, {name: planes[2 * i] | planes[2 * i + 1] << 8 for i, name in enumerate(head["columns"])}


def write(run_dir, step, rows, random, **optional):
    measured = [columns(len(row.token_ids), random) for row in rows]
    for row in measured:
        row.update({name: make(len(row["state"])).astype(np.float32) for name, make in optional.items()})
    facts = {"responses": len(rows), "objective": load_preset("htpo").to_mapping()}
    return write_step(run_dir, step, rows, measured, TOKENIZER, facts)


@pytest.fixture
def run_dir(tmp_path):
    random = np.random.default_rng(0)
    for step in (1, 4):
        rows = [
            response(i, TOKENIZER.encode("1+2=3\n\\boxed{3}"), uid=f"u{i // 4}", correct=i % 2 == 0, hard=i < 4)
            for i in range(8)
        ]
        write(tmp_path / "run", step, rows, random, weight=random.standard_normal)
    return tmp_path / "run"


def test_the_page_has_every_token_and_number(run_dir):
    dumps = read_dump(run_dir)
    text = page("run", dumps, {})
    head, values = unpacked(text)
    texts = [head["vocabulary"][index] for index in values["token"]]
    assert texts == [token for dump in dumps for token in dump.flat("token_text")]
    assert [head["ids"][index] for index in values["token"]] == [i for dump in dumps for i in dump.flat("token_id")]
    assert np.array_equal(values["state"], np.concatenate([dump.flat("state") for dump in dumps]))
    for name in ("entropy", "old_log_prob", "advantage", "weight"):
        shown = values[name].view(np.float16).astype(float)
        np.testing.assert_allclose(shown, np.concatenate([dump.flat(name) for dump in dumps]), rtol=3e-3, atol=1e-6)
    ratio = np.exp(values["log_ratio"].view(np.float16).astype(float))
    np.testing.assert_allclose(ratio, np.concatenate([dump.flat("ratio") for dump in dumps]), rtol=2e-3)
    push = np.concatenate([-dump.flat("loss") for dump in dumps])
    np.testing.assert_allclose(values["push"].view(np.float16).astype(float), push, rtol=3e-3)
    assert [row["prompt"] for row in head["responses"]] == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    assert [row.get("text") for row in head["responses"]] == (["1+1"] + [None] * 3) * 4


def test_a_sum_of_entropies_that_are_not_known_is_none(tmp_path):
    random, ids = np.random.default_rng(0), TOKENIZER.encode("1+2=3")
    write(tmp_path, 1, [response(0, ids)], random, entropy=lambda size: np.full(size, np.nan))
    write(tmp_path, 2, [response(0, ids)], random, entropy=lambda size: np.where(np.arange(size) > 0, np.nan, 0.5))
    head, _ = unpacked(page("run", read_dump(tmp_path), {}))
    unknown, known = (row["sums"].values() for row in head["responses"])
    assert all(entropy is None and ratio > 0 for entropy, ratio in unknown)
    assert [entropy for entropy, _ in known if entropy is not None] == [0.5]


def test_the_page_loads_nothing_and_nothing_ends_its_scripts(run_dir, tmp_path):
    ids = TOKENIZER.encode("1")
    evil = "</script><script>alert(1)</script><img src=http://example.org/x>"
    write(tmp_path / "evil", 1, [response(0, ids, prompt=evil, source=evil)], np.random.default_rng(0))
    for text in (page("run", read_dump(run_dir), {}), page(evil, read_dump(tmp_path / "evil"), {})):
        assert text.count("</script>") == 3 and "alert(1)<" not in text
        assert "default-src 'none'" in text
        assert re.findall(r"<[^>]*(?:src|href)=[^>]*>", text) == ['<link rel="icon" href="data:,">']


def test_64_responses_of_2000_tokens_are_at_most_2_mb(tmp_path):
    """Random numbers and a vocabulary as wide as a text's compress worse than a model's."""
    random = np.random.default_rng(0)
    chance = 1 / np.arange(1, 30_001)
    rows = [response(i, random.choice(30_000, 2000, p=chance / chance.sum()).tolist()) for i in range(64)]

    class Words:
        def decode(self, ids):
            return f" w{ids[0]:x}"

        def convert_ids_to_tokens(self, token):
            return "w"

    measured = [columns(2000, random) for _ in rows]
    for row in measured:
        row |= {name: random.standard_normal(2000).astype(np.float32) for name in ("weight", "thr")}
    write_step(tmp_path, 1, rows, measured, Words(), {"responses": 64})
    assert len(page("", read_dump(tmp_path), {}).encode()) <= 2 * MEGABYTE


def test_totals_against_the_log(run_dir):
    dumps = read_dump(run_dir)
    totals = {dump.step: step_totals(dump) for dump in dumps}

    def check(logged, chosen=dumps):
        return {
            step: found["check"]
            for step, found in json.loads(embedded(page("", chosen, logged), "data"))["steps"].items()
        }

    assert all(text.startswith("the whole step: totals equal all ") for text in check(totals).values())
    wrong = check({**totals, 4: totals[4] | {"htpo/frac_group3": 0.5}})
    assert wrong["1"].startswith("the whole step") and wrong["4"].startswith(
        "NOT the logged metrics: htpo/frac_group3: 0."
    )
    assert check({})["1"] == "the run has no metrics of this step"
    part = [type(dumps[0])(dumps[0].path, dumps[0].table[:3], dumps[0].facts)]
    assert check(totals, part)["1"].startswith("a part of the step")


def test_command_line(run_dir, tmp_path, capsys):
    assert main([str(run_dir)]) == 0
    assert "tokens.html: 16 responses of 2 steps, 0." in capsys.readouterr().out
    assert "the run has no metrics" in (run_dir / "tokens.html").read_text()
    assert main([str(run_dir), "--steps", "4", "--out", str(tmp_path / "new" / "page.html")]) == 0
    assert len(unpacked((tmp_path / "new" / "page.html").read_text())[0]["responses"]) == 8
    capsys.readouterr()
    assert main([str(run_dir), "--steps", "4", "2", "9"]) == 2
    assert re.search(r"--steps 2 9: .*/run has the steps 1, 4\n", capsys.readouterr().err)
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "has no token dump: train with `htpo.dump_tokens.steps=" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_costs_nothing(run_dir, capsys):
    dump = run_dir / "tokens" / "step_000004.parquet"
    before = dump.read_bytes()
    for out, says in (
        (dump, "the output is an input and would be lost"),
        (run_dir / "tokens", "cannot write: Is a directory"),
        (dump / "page.html", "cannot write: "),
    ):
        assert main([str(run_dir), "--out", str(out)]) == 2
        assert f"{out}: {says}" in capsys.readouterr().err
    assert dump.read_bytes() == before


def test_the_labs_metrics_are_found_from_inside_its_directory(run_dir, monkeypatch):
    lab = run_dir.rename(run_dir.with_name("seed.1"))
    result = {"steps": [{"step": 1, "replaced": 0.25}, {"step": 4, "replaced": 0.5}]}
    lab.with_name("seed.1.json").write_text(json.dumps(result))
    monkeypatch.chdir(lab)
    logged = {1: {"htpo/replaced_frac": 0.25}, 4: {"htpo/replaced_frac": 0.5}}
    assert read_logged(".") == read_logged(lab) == logged


def test_a_row_in_words():
    rows = {name: row_in_words(row) for name, row in load_preset("htpo_paper").to_mapping()["cells"].items()}
    assert rows["hard_wrong_low"] == "ppo"
    assert rows["hard_wrong_high"] == "penalize, region below"
    assert rows["easy_correct_high"] == "ppo, detach highest 0.02"
    # A row that was recorded before a parameter was there has its default.
    assert row_in_words({"rule": "penalize", "region": "below"}) == rows["hard_wrong_high"]
    assert row_in_words({}) == ""
