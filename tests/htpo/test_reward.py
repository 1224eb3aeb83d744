# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The reward function as verl calls it: by keyword, from a file or a package, with the real reward managers."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from verl import DataProto
from verl.trainer.ppo.metric_utils import process_validation_metrics
from verl.trainer.ppo.reward import load_reward_manager

import recipe.htpo.reward
from recipe.htpo import scorers
from recipe.htpo.reward import compute_score
from recipe.htpo.verifier import Verdict

KEYS = {"score", "acc", "pred", "reason"}


def score(response, ground_truth="34", **kwargs):
    return compute_score(data_source="math_dapo", solution_str=response, ground_truth=ground_truth, **kwargs)


@pytest.mark.parametrize(
    "response, reason",
    [
        (r"so \boxed{34}", "equal"),
        (r"so \boxed{35}", "not_equal"),
        (r"so 34", "extraction"),
        (r"so \boxed{34", "extraction"),
        (r"\boxed{" + "1" * 5000 + "}", "over_limit"),
    ],
)
def test_keys_and_reason(response, reason):
    result = score(response)
    assert set(result) == KEYS
    assert result["reason"] == reason
    assert result["acc"] == result["score"] == float(reason == "equal")
    assert all(isinstance(value, float) for name, value in result.items() if name in ("score", "acc"))


@pytest.mark.parametrize("ground_truth", [None, "", "  ", [], [""]])
def test_missing_ground_truth_is_a_reason_in_training(ground_truth):
    result = score(r"\boxed{}", ground_truth)
    assert result["score"] == 0.0 and result["reason"] == "ground_truth"


def test_score_values():
    assert score(r"\boxed{34}", score_correct=2, score_wrong=-1)["score"] == 2.0
    assert score(r"\boxed{35}", score_wrong=-1.0)["score"] == -1.0


def test_unknown_option_names_the_valid_ones():
    with pytest.raises(ValueError, match="unknown reward_kwargs scor_wrong.*score_wrong.*tail_chars"):
        score("x", scor_wrong=-1.0)


def test_second_grader_reports_agreement():
    agree = score(r"Answer: 34", math_dapo_metric=True)
    differ = score(r"Answer: $\boxed{34.0}$", math_dapo_metric=True)
    assert set(agree) == set(differ) == KEYS | {"math_dapo_agrees"}
    assert agree["math_dapo_agrees"] == 1.0 and differ["math_dapo_agrees"] == 0.0


def test_math_dapo_protocol_is_verls_own():
    listed = "Answer: $34$ or $35$"
    assert score(listed, grader="math_dapo", score_wrong=-1.0)["score"] == 1.0, "verl accepts a list of guesses"
    assert score(listed)["score"] == 0.0
    assert score("no answer", grader="math_dapo")["reason"] == "extraction"
    both = score(listed, grader="math_dapo", math_dapo_metric=True)
    assert both["math_dapo_agrees"] == 0.0
    assert set(score("x", grader="math_dapo")) == KEYS


@pytest.mark.parametrize("ground_truth", ["34", 34, None, "9" * 3000, ["3", "4"]])
def test_math_dapo_protocol_never_raises(ground_truth):
    assert set(score("Answer: 34", ground_truth, grader="math_dapo")) == KEYS


@pytest.mark.parametrize(
    "options, message",
    [
        ({"grader": "sympy"}, "grader must be one of htpo, math_dapo"),
        ({"score_correct": 0.0}, r"score_correct \(0.0\) must be above"),
        ({"score_wrong": "low"}, "score_wrong must be a finite number"),
        ({"score_wrong": -math.inf}, "score_wrong must be a finite number, got -inf"),
        ({"second_opinion": "report", "second_opinion_limit_s": math.inf}, "second_opinion_limit_s must be a finite"),
        ({"math_dapo_metric": 1}, "math_dapo_metric must be true or false"),
        ({"max_pred_chars": 0}, "max_pred_chars must be a positive integer"),
        ({"tail_chars": "long"}, "tail_chars must be int"),
        ({"percent_either": [1]}, "plain numbers, strings or booleans"),
    ],
)
def test_wrong_options_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        score("x", **options)


def test_verifier_options_reach_the_verifier():
    assert score(r"\boxed{34\%}")["acc"] == 1.0
    assert score(r"\boxed{34\%}", percent_either=False)["acc"] == 0.0


def test_lists_of_answers_may_come_from_parquet():
    truth = np.array(["1", "2"], dtype=object)
    assert score(r"\boxed{2, 1}", truth)["acc"] == 1.0
    assert score(r"\boxed{1}", truth)["acc"] == 0.0


@pytest.mark.parametrize(
    "answer, pred", [("034", "34"), ("34.0", "34"), ("1,234", "1234"), (r"\frac{2}{4}", "1/2"), ("x", "x")]
)
def test_pred_groups_equal_numbers_for_majority_votes(answer, pred):
    assert score(f"\\boxed{{{answer}}}")["pred"] == pred


def test_pred_is_bounded():
    assert len(score(r"\boxed{" + "1" * 1000 + "}", max_pred_chars=20)["pred"]) == 20


SOURCES = [
    "math_dapo",
    "DAPO-17k",
    "aime24",
    "aime25",
    "amc23",
    "minerva_math",
    "olympiadbench",
    "math500",
    "openai/gsm8k",
]


@pytest.mark.parametrize("data_source", SOURCES)
def test_every_data_source_is_graded(data_source):
    for response in ("Answer: 34", r"\boxed{34}", "答案：34", "所以答案是34。"):
        assert compute_score(data_source, response, "34")["score"] == 1.0
        assert compute_score(data_source, response, "35")["score"] == 0.0


# The real reward managers of verl, with a tokenizer that is trained here.


@pytest.fixture(scope="module")
def tokenizer():
    texts = [r"So $\boxed{34}$", "Answer: 35", "答案：34", "The area is 12."]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<pad>", "<eos>"], initial_alphabet=alphabet)
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", eos_token="<eos>")


def config(path, name="compute_score", manager="naive", reward_kwargs=None, manager_kwargs=None):
    return OmegaConf.create(
        {
            "reward": {
                "custom_reward_function": {"path": path, "name": name, "reward_kwargs": reward_kwargs or {}},
                "reward_manager": {"source": "register", "name": manager},
                "reward_kwargs": manager_kwargs or {},
            }
        }
    )


def batch(tokenizer, responses, ground_truth="34", length=64):
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] for text in responses]
    ids = torch.full((len(rows), length), tokenizer.pad_token_id)
    mask = torch.zeros(len(rows), 4 + length, dtype=torch.long)
    mask[:, :4] = 1
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        mask[index, 4 : 4 + len(row)] = 1
    tensors = {"prompts": torch.ones(len(rows), 4, dtype=torch.long), "responses": ids, "attention_mask": mask}
    other = {
        "data_source": np.array(["DAPO-17k"] * len(rows), dtype=object),
        "reward_model": np.array([{"style": "rule", "ground_truth": ground_truth}] * len(rows), dtype=object),
        "extra_info": np.array([{"index": index} for index in range(len(rows))], dtype=object),
    }
    return DataProto.from_dict(tensors=tensors, non_tensors=other)


def run_manager(conf, tokenizer, responses, **kwargs):
    """The manager's results, computed in the event loop it was built for."""
    data = batch(tokenizer, responses, **kwargs)
    manager = load_reward_manager(conf, tokenizer)

    async def every():
        return [await manager.run_single(data[index : index + 1]) for index in range(len(responses))]

    return manager.loop.run_until_complete(every())


PATHS = ["pkg://recipe.htpo.reward", recipe.htpo.reward.__file__]
RESPONSES = [r"So $\boxed{34}$", "Answer: 35", "答案：34", "I do not know."]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["compute_score", "compute_score_async"])
@pytest.mark.parametrize("manager", ["naive", "dapo"])
def test_verls_managers_load_and_call_it(tokenizer, path, name, manager):
    conf = config(path, name, manager, reward_kwargs={"score_wrong": -1.0})
    results = run_manager(conf, tokenizer, RESPONSES)
    assert [result["reward_score"] for result in results] == [1.0, -1.0, 1.0, -1.0]
    extra = [result["reward_extra_info"] for result in results]
    assert all(set(info) == KEYS for info in extra)
    assert [info["acc"] for info in extra] == [1.0, 0.0, 1.0, 0.0]
    assert extra[3]["reason"] == "extraction"


def test_overlong_shaping_adds_to_the_score(tokenizer):
    overlong = {"enable": True, "len": 8, "penalty_factor": 1.0, "log": True}
    conf = config(PATHS[0], manager="dapo", manager_kwargs={"overlong_buffer_cfg": overlong, "max_resp_len": 40})
    short, long = run_manager(conf, tokenizer, [r"\boxed{34}", "x " * 24 + r"\boxed{34}"])
    assert short["reward_score"] == 1.0
    assert long["reward_extra_info"]["acc"] == 1.0
    assert long["reward_score"] < 1.0 and long["reward_extra_info"]["overlong"]


def test_texts_cost_verls_validation_metrics_nothing(tokenizer):
    results = run_manager(config(PATHS[0]), tokenizer, RESPONSES)
    infos = {key: [result["reward_extra_info"][key] for result in results] for key in results[0]["reward_extra_info"]}
    metrics = process_validation_metrics(["DAPO-17k"] * 4, ["prompt"] * 4, infos)["DAPO-17k"]
    assert metrics["acc"]["mean@4"] == 0.5
    assert "maj@4/mean" in metrics["acc"] and "pred" not in metrics and "reason" not in metrics


def test_unknown_reward_kwargs_stop_the_run(tokenizer):
    with pytest.raises(ValueError, match="unknown reward_kwargs scores"):
        run_manager(config(PATHS[0], reward_kwargs={"scores": 1}), tokenizer, RESPONSES)


def test_many_threads_give_the_same_verdicts():
    """verl calls it in the threads of an executor: no signal, no shared state, no dependence on the thread."""
    responses = [r"\boxed{\sqrt{45}}", r"\boxed{3\sqrt{5}}", r"\boxed{9^{9^{9}}}", r"\boxed{\frac{15}{\sqrt5}}"] * 50
    with ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(lambda text: score(text, r"3\sqrt{5}"), responses))
    assert threaded == [score(text, r"3\sqrt{5}") for text in responses]


def even_length(response, ground_truth, extra_info):
    if extra_info["broken"]:
        raise RuntimeError("no such task")
    return Verdict(len(response) % 2 == 0, "equal" if len(response) % 2 == 0 else "not_equal", response)


def test_a_data_source_with_its_own_scorer(monkeypatch, caplog):
    """The longest prefix decides; an exception of a scorer is a reason, never an exception of the reward."""
    monkeypatch.setitem(scorers.SCORERS, "parity/", "no.such.module:function")
    monkeypatch.setitem(scorers.SCORERS, "parity/even", f"{__name__}:even_length")
    row = {"data_source": "parity/even_length", "ground_truth": "", "extra_info": {"broken": False}}
    assert compute_score(solution_str="ab", **row) == {"score": 1.0, "acc": 1.0, "pred": "ab", "reason": "equal"}
    assert compute_score(solution_str="abc", **row, math_dapo_metric=True)["math_dapo_agrees"] == 1.0
    row["extra_info"] = {"broken": True}
    assert compute_score(solution_str="ab", **row)["reason"] == "internal_error"
    assert "parity/even_length" in caplog.text
    assert scorers.scorer_for("math_dapo") is None
    with pytest.raises(ImportError):
        scorers.scorer_for("parity/odd")
