# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Publishing: the card, the list of files, and what the Hub's own client sends to a server."""

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from data_support import dapo_table, write_contract

from data_prep.command_line.main import main
from data_prep.operations.card import card, published
from data_prep.operations.push import plan

COMMIT = "5e1f" * 10


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A registered set with a licence, a generated one, and their mixture."""
    pq.write_table(dapo_table(3), tmp_path / "dapo-math-17k.parquet")
    out = tmp_path / "data"
    assert main(["build", "dapo_math_17k", "--source", str(tmp_path), "--out", str(out)]) == 0
    assert main(["build", "arithmetic", "--train-rows", "4", "--test-rows", "2", "--out", str(out)]) == 0
    parts = [out / "dapo_math_17k" / "train.parquet", out / "arithmetic" / "train.parquet"]
    mixed = out / "mixed" / "train.parquet"
    assert main(["mix", *map(str, parts), "--out", str(mixed)]) == 0
    return [*parts, out / "arithmetic" / "test.parquet", mixed]


def header(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_dry_run_prints_the_card_and_the_files(files: list[Path], capsys: pytest.CaptureFixture) -> None:
    capsys.readouterr()
    assert main(["push", *map(str, files), "--repository", "me/sums", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert header(text)["license"] == "apache-2.0"
    configs = {entry["config_name"]: entry["data_files"] for entry in header(text)["configs"]}
    assert configs["arithmetic"] == [
        {"split": "train", "path": "arithmetic/train.parquet"},
        {"split": "test", "path": "arithmetic/test.parquet"},
    ]
    assert f"{files[3]} -> mixed/train.parquet" in text and "nothing was pushed to me/sums: 4 files" in text
    assert "| `mixed/train.parquet` | 7 | `mix` | `dapo`, `bare` |" in text


def test_the_card_pins_sources(files: list[Path]) -> None:
    """A mixture names the sources of its parts; a Hub source its commit."""
    text = plan(files[3:], "me/sums").card
    assert "dapo_math_17k: `dapo-math-17k.parquet` | apache-2.0 | SHA-256 `" in text and "arithmetic, generated" in text
    (file,) = published(files[:1])
    sources = [{"hub": "OWNER/DAPO", "config": "main", "split": "train", "commit": COMMIT}]
    text = card("me/sums", [replace(file, recipe={**file.recipe, "sources": sources})], ["apache-2.0"])
    source = "[OWNER/DAPO](https://huggingface.co/datasets/OWNER/DAPO) (main, train)"
    assert f"| {source} | apache-2.0 | commit `{COMMIT}` |" in text


def test_what_cannot_be_published(tmp_path: Path, files: list[Path], capsys: pytest.CaptureFixture) -> None:
    unknown = write_contract(tmp_path / "mine" / "train.parquet", ["p"], name="mine")
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pq.read_table(unknown).replace_schema_metadata(None), foreign)
    command = ["push", "--repository", "me/sums", "--dry-run"]
    assert main([*command, str(unknown)]) == 1
    assert "the licence of the source 'mine' is not known" in capsys.readouterr().err
    assert main([*command, str(unknown), "--licence", "cc-by-4.0"]) == 0
    assert header(capsys.readouterr().out)["license"] == "cc-by-4.0"
    assert main([*command, str(foreign)]) == 1
    assert "does not say how it was made" in capsys.readouterr().err
    assert main([*command, str(files[0]), str(files[0])]) == 1
    assert "two files would be dapo_math_17k/train.parquet" in capsys.readouterr().err
    assert main(["push", str(files[0]), "--repository", "sums"]) == 1
    assert "OWNER/NAME" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["mix", "select"])
def test_an_input_of_unknown_making_has_no_licence(
    tmp_path: Path, files: list[Path], capsys: pytest.CaptureFixture, command: str
) -> None:
    foreign = tmp_path / "foreign.parquet"
    mine = write_contract(tmp_path / "mine.parquet", ["p", "q"], name="mine")
    pq.write_table(pq.read_table(mine).replace_schema_metadata(None), foreign)
    out = tmp_path / "derived" / "train.parquet"
    inputs = [str(foreign), str(files[0])] if command == "mix" else [str(foreign), "--rows", "1"]
    assert main([command, *inputs, "--out", str(out)]) == 0
    again = tmp_path / "again" / "train.parquet"
    assert main(["select", str(out), "--rows", "1", "--out", str(again)]) == 0
    for path in (out, again):
        assert main(["push", str(path), "--repository", "me/sums", "--dry-run"]) == 1
        assert "the licence of its input foreign.parquet is not known" in capsys.readouterr().err
        assert main(["push", str(path), "--repository", "me/sums", "--dry-run", "--licence", "mit"]) == 0
        assert "| foreign.parquet | mit | how it was made is not recorded |" in capsys.readouterr().out


class Hub(BaseHTTPRequestHandler):
    """The four calls of the Hub that a push makes; a repository named ``refused`` is refused."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = self.path.partition("?")[0]
        self.server.calls.append(path)
        if "refused" in body.decode() or "refused" in path:
            self.reply({"error": "not yours"}, 403)
        elif path.endswith("/api/repos/create"):
            self.reply({"url": "https://huggingface.co/datasets/me/sums"})
        elif "/preupload/" in path:
            names = [entry["path"] for entry in json.loads(body)["files"]]
            self.reply({"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]})
        elif "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.stored[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.reply({"success": True, "commitOid": COMMIT, "commitUrl": "https://huggingface.co/datasets/me/sums"})
        else:
            self.reply({})

    def reply(self, answer: dict, status: int = 200) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.calls, server.stored = [], {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield server
    server.shutdown()
    server.server_close()


def test_one_commit_holds_files_and_card(
    files: list[Path], hub: ThreadingHTTPServer, capsys: pytest.CaptureFixture
) -> None:
    assert main(["push", *map(str, files), "--repository", "me/sums", "--revision", "draft"]) == 0
    assert f"revision='{COMMIT}'" in capsys.readouterr().out
    assert hub.stored["README.md"].decode() == plan(files, "me/sums").card
    for file in plan(files, "me/sums").files:
        assert pq.read_table(pa.BufferReader(hub.stored[file.name])).equals(pq.read_table(file.path))
    assert len(hub.stored) == 5 and sum("/commit/draft" in call for call in hub.calls) == 1


def test_a_refusal_is_one_error(files: list[Path], hub: ThreadingHTTPServer, capsys: pytest.CaptureFixture) -> None:
    assert main(["push", str(files[0]), "--repository", "me/refused"]) == 1
    error = capsys.readouterr().err
    assert "cannot push to 'me/refused'" in error and "hf auth login" in error
    assert not hub.stored
