# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Settings validate themselves: what is wrong, where, and what to do."""

import pytest

from recipe.htpo.evaluation.__main__ import main
from recipe.htpo.evaluation.settings import EvalSettings, SettingsError, parse


def test_places_and_settings_in_any_order():
    found = parse(["n=4", "models/demo/", "a.parquet", "vllm.max_num_seqs=8", "b.parquet", "reward.grader=math_dapo"])
    assert (found.model, found.data, found.n) == ("models/demo/", ("a.parquet", "b.parquet"), 4)
    assert found.vllm == {"max_num_seqs": 8} and found.reward == {"grader": "math_dapo"}
    assert str(found.directory) == "outputs/eval/demo"


def test_a_path_may_have_an_equals_sign(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "split=test" / "x.parquet"
    data.parent.mkdir()
    data.write_bytes(b"")
    found = parse(["m", "split=test/x.parquet", str(data), "reward.grader=math_dapo", "elsewhere/split=test/y.parquet"])
    assert found.data == ("split=test/x.parquet", str(data), "elsewhere/split=test/y.parquet")
    with pytest.raises(SettingsError, match="spit: is no setting"):
        parse(["m", "spit=test/x.parquet"])


def test_an_output_may_be_named_by_a_number():
    assert parse(["m", "d", "out=7"]).out == "7"


def test_texts_stay_as_they_were_given():
    for text in ("007", "1e3", "1_000", "yes", "null", "[x]", "a: b", "runs #2", "*x", "%x", "${HOME}/x"):
        assert str(parse(["m", "d", f"out={text}"]).directory) == text
    # As of a shell variable that is not set.
    found = parse(["models/demo", "d", "out=", "against=", "chat_template="])
    assert (found.against, found.chat_template, str(found.directory)) == ("", "", "outputs/eval/demo")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "model: no model given.*eval.sh MODEL DATA"),
        (["m"], "data: no file given"),
        (["m", "d", "temprature=1"], "temprature: is no setting.*did you mean temperature"),
        (["m", "d", "zzz=1"], "zzz: is no setting.*choose one of out, against, n,"),
        (["m", "d", "n=0"], "n: 0 is not positive"),
        (["m", "d", "n=many"], "n: 'many' is no int.*see docs/evaluation.md"),
        (["m", "d", "n=true"], "n: True is no int"),
        (["m", "d", "temperature=-1"], "temperature: -1 is negative"),
        (["m", "d", "temperature=.nan"], "temperature: nan is .*no finite number"),
        (["m", "d", "temperature=.inf"], "temperature: inf is .*no finite number"),
        (["m", "d", "seed=-1"], "seed: -1 is no 32-bit number"),
        (["m", "d", "seed=99999999999999999999"], "seed: 99999999999999999999 is no 32-bit number"),
        (["m", "d", "temperature=0"], "n: temperature=0 gives the same response 32 times.*n=1"),
        (["m", "d", "top_p=0"], "top_p: 0 is not within"),
        (["m", "d", "top_k=0"], "top_k: 0 is no number of tokens"),
        (["m", "d", "gpu_memory_utilization=9"], "gpu_memory_utilization: 9 is no share"),
        (["m", "d", "vllm.dtype=half"], "vllm.dtype: is set by the evaluation itself.*use dtype="),
        (["m", "d", "vllm.enforce_eager=true"], "vllm.enforce_eager: .*leave it out"),
        (["m", "d", "vllm=3"], "vllm: 3 is no group.*vllm.NAME=VALUE"),
        (["m", "d", "reward.graderr=x"], "reward: unknown reward_kwargs graderr"),
        (["m", "d", "n=[1"], "settings: .*write key=value"),
    ],
)
def test_what_cannot_be_meant_names_the_field_and_the_remedy(arguments, says):
    with pytest.raises(SettingsError, match=f"(?s){says}"):
        parse(arguments)


def test_where_it_runs_is_no_part_of_what_made_a_file():
    one = EvalSettings(model="m", data=("d",))
    two = EvalSettings(model="m", data=("d",), out="elsewhere", replicas=8, against="other")
    assert one.record() == two.record()
    assert one.record() != EvalSettings(model="m", data=("d",), seed=1).record()


def test_the_command_says_it_on_stderr(capsys):
    assert main(["m", "d", "temprature=1"]) == 2
    assert capsys.readouterr().err.startswith("error: temprature: is no setting")
    assert main(["--help"]) == 0
    assert "MODEL DATA" in capsys.readouterr().out
