# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Files joined whole or by weight."""

from collections import Counter
from pathlib import Path

import pytest
from data_support import problems_of

from data_prep.errors import DataError
from data_prep.operations import mix as mix_module
from data_prep.operations.mix import Part, mix


@pytest.mark.parametrize("bucket", [7, 1000])
def test_mix_everything(tmp_path: Path, parts: list[Path], monkeypatch: pytest.MonkeyPatch, bucket: int) -> None:
    monkeypatch.setattr(mix_module, "BUCKET_ROWS", bucket)
    everything = problems_of(parts[0]) + problems_of(parts[1])
    outs = {}
    for name, options in {"one": {}, "two": {}, "other": {"seed": 1}, "plain": {"shuffle": False}}.items():
        mix([Part(path) for path in parts], tmp_path / name, **options)
        outs[name] = problems_of(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert sorted(outs["one"]) == sorted(outs["other"]) == sorted(everything)
    assert outs["one"] != everything and outs["one"] != outs["other"]
    assert outs["plain"] == everything


def test_mix_by_weight(tmp_path: Path, parts: list[Path]) -> None:
    out = tmp_path / "out.parquet"
    taken = mix([Part(parts[0], 1.0), Part(parts[1], 3.0)], out, rows=40)
    assert list(taken.values()) == [10, 30]
    rows = problems_of(out)
    assert len(set(rows)) == 40 and Counter(row[0] for row in rows) == {"a": 10, "b": 30}


def test_mix_refusals(tmp_path: Path, parts: list[Path]) -> None:
    out = tmp_path / "out.parquet"
    with pytest.raises(DataError, match="31 rows asked, the file has 30"):
        mix([Part(parts[0], 1.0), Part(parts[1], 1.0)], out, rows=62)
    with pytest.raises(DataError, match=r"id 'a/\w+' occurs twice"):
        mix([Part(parts[0]), Part(parts[0])], out)
    with pytest.raises(DataError, match="weights need --rows"):
        mix([Part(parts[0], 1.0), Part(parts[1])], out, rows=5)
    assert not out.exists()
