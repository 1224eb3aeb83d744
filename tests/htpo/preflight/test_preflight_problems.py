# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Broken configurations: each is refused before anything starts, with the field and a remedy."""

import os
import subprocess
import sys
from copy import deepcopy

import pytest
import torch
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf
from preflight_support import assert_refused, case_id, composed, the_problem

from recipe.htpo.config import compose
from recipe.htpo.main_htpo import main as train_main
from recipe.htpo.objective import CELL_NAMES, TokenGroups, load_preset, preset_names, rule_names, token_loss
from recipe.htpo.preflight import EXIT_CODE, config_problems, find_problems
from recipe.htpo.preflight.__main__ import main as preflight_main
from recipe.htpo.preflight.keys import ESTIMATORS_LACK, LEGACY_KEYS, LOGGERS, UNBOUNDED_RULES, check_warnings

ACTOR = "actor_rollout_ref.actor"
ROLLOUT = "actor_rollout_ref.rollout"
OVERLONG = "reward.reward_kwargs.overlong_buffer_cfg"
FUNCTION = "reward.custom_reward_function"

pytestmark = pytest.mark.usefixtures("no_ray")


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["platform=cpu", f"{ROLLOUT}.n=2", "+objective.cells.hard_correct_high.new=1", "data.train_files=[a,b]"],
        ["objective.entropy_source=current", "model_engine=megatron", "layout=megatron/qwen3_8b", "trainer.nnodes=3"],
        ["objective=htpo_released", f"{ACTOR}.ppo_mini_batch_size=${{data.train_batch_size}}", "~data.seed"],
    ],
)
def test_composed_is_compose(overrides):
    assert composed(overrides) == compose(overrides)


def test_a_sound_configuration_passes(sound_config):
    assert find_problems(sound_config) == []


@pytest.mark.parametrize("preset", sorted(set(preset_names()) - {"htpo"}))
def test_so_do_the_other_presets(sound, preset):
    assert config_problems(composed([*sound, f"objective={preset}"])) == []


def test_an_unbounded_penalty_with_several_updates_is_warned_of(sound):
    def warnings(*overrides):
        return [str(warning) for warning in check_warnings(composed([*sound, *overrides]))]

    assert warnings("objective=htpo") == warnings("objective=dapo") == []
    (warning,) = warnings("objective=htpo_paper")
    assert "objective.cells: floor is 0 with" in warning and "hard_wrong_high, easy_wrong_high" in warning
    assert warnings("objective=ce_gppo")
    floors = [f"objective.cells.{name}.floor=0.7" for name in ("hard_wrong_high", "easy_wrong_high")]
    assert warnings("objective=htpo_paper", *floors) == []
    (released,) = warnings("objective=htpo_released")
    assert "It concerns hard_correct_high\n" in released
    (turned,) = warnings("objective=htpo_released_signfix")
    assert "It concerns hard_wrong_high, easy_wrong_high\n" in turned


@pytest.mark.parametrize("rule", rule_names())
def test_the_rules_that_are_warned_of_are_those_that_push_a_fallen_token_down(rule):
    """At the signs that their groups have: a correct answer's, for those that encourage; a wrong one's."""
    group, advantage = (2, 1.0) if "encourage" in rule else (4, -1.0)
    config = load_preset("dapo", {"cells": {CELL_NAMES[group - 1]: {"rule": rule, "region": "outside"}}})
    log_prob, one = torch.tensor([-9.0], requires_grad=True), torch.ones(1)
    groups = TokenGroups.decode(torch.tensor([group]))
    token_loss(log_prob, 0 * one, advantage * one, one, groups, config, 0.2, 0.28, 10.0).loss.sum().backward()
    assert (log_prob.grad.item() > 0) == (rule in UNBOUNDED_RULES)


def test_one_update_per_batch_is_warned_of_where_rules_need_a_ratio(sound):
    """Then every ratio is 1; what acts there too, and verl's losses, are not concerned."""
    one = "actor_rollout_ref.actor.ppo_mini_batch_size=${data.train_batch_size}"

    def warnings(*overrides):
        return [str(warning) for warning in check_warnings(composed([*sound, one, *overrides]))]

    (warning,) = warnings()
    assert "never act: hard_wrong_high\n" in warning and "ppo_mini_batch_size below" in warning
    for preset, rows in (
        ("htpo_paper", "hard_correct_high, hard_wrong_high, easy_wrong_high"),
        ("htpo_released", "hard_correct_high, hard_wrong_high, easy_wrong_high"),
        ("ce_gppo", ", ".join(CELL_NAMES)),
        ("aspo", ", ".join(CELL_NAMES)),
    ):
        (warning,) = warnings(f"objective={preset}")
        assert f"never act: {rows}\n" in warning
    for preset in ("dapo", "htpo_paper_literal", "entropy_80_20", "gspo"):
        assert warnings(f"objective={preset}") == []
    assert warnings("actor_rollout_ref.actor.ppo_epochs=2") == []


def test_asymre_with_a_clipped_loss_is_warned_of(sound):
    (warning,) = check_warnings(composed([*sound, "objective=dapo", "objective.weights.name=asymre"]))
    assert "loss_mode=gpg" in warning.remedy


def test_quantized_generation_without_a_correction_is_warned_of(sound):
    fp8 = f"{ROLLOUT}.quantization=fp8"
    assert list(check_warnings(composed(sound))) == []
    (warning,) = check_warnings(composed([*sound, fp8]))
    assert warning.field == f"{ROLLOUT}.quantization" and "rollout_is=token" in warning.remedy
    assert list(check_warnings(composed([*sound, fp8, "algorithm.rollout_correction.rollout_is=token"]))) == []


# What is broken -> the field that is named, words of the message, words of the remedy.
CONFIGURATION = [
    (["data.train_files=null"], "data.train_files", "has no value", "set data.train_files="),
    (["data.val_files=???"], "data.val_files", "has no value", "set data.val_files="),
    (["actor_rollout_ref.model.path=null"], "actor_rollout_ref.model.path", "has no value", "set actor_rollout"),
    (["objective.difficulty_threshold=1.5"], "objective", "difficulty_threshold", "correct the field"),
    (["objective.high_entropy_ratio=0"], "objective", "high_entropy_ratio", "correct the field"),
    (["objective.entropy_source=new"], "objective", "Valid values: old, current", "objective=NAME"),
    (["objective.cells.hard_correct_high.rule=encorage"], "objective", "encourage", "correct the field"),
    (["objective.cells.hard_correct_high.region=up"], "objective", "Valid values: all, inside", "correct the field"),
    (["objective.cells.hard_wrong_high.region=inside"], "objective", "lets no token inside", "correct the field"),
    (
        ["objective.cells.hard_wrong_high.floor=0.9"],
        "objective.cells.hard_wrong_high",
        "never applies .* region below, floor 0.9",
        "lower floor",
    ),
    (
        [f"{ACTOR}.clip_ratio_low=0.5"],
        "objective.cells.hard_wrong_high",
        "never applies .* region below, floor 0.5",
        "lower floor",
    ),
    (["htpo.dump_tokens.steps=[0]"], "htpo.dump_tokens", "a list of steps from 1", "correct the field"),
    (["htpo.dump_tokens.prompts=0"], "htpo.dump_tokens", "at least 1, or null for all", "correct the field"),
    (["+objective.cells.hard_correct_high.regoin=up"], "objective", "unknown keys: regoin", "correct the field"),
    (["htpo.watchdog_timeout_s=0"], "htpo.watchdog_timeout_s", "is 0", "above 0"),
    (["htpo.watchdog_timeout_s=-5"], "htpo.watchdog_timeout_s", "is -5", "above 0"),
    (["htpo.watchdog_timeout_s=abc"], "htpo.watchdog_timeout_s", "is abc", "number of seconds"),
    (["htpo.replay_poll_interval_s=-1"], "htpo.replay_poll_interval_s", "is -1", "or null"),
    (["htpo.max_failed_rollouts=-1"], "htpo.max_failed_rollouts", "is -1", "from 0 to 1"),
    (["htpo.deadline_margin_s=abc"], "htpo.deadline_margin_s", "is abc", "0 or more"),
    (["htpo.gpu_memory_gib=abc"], "htpo.gpu_memory_gib", "is abc", "above 0"),
    ([f"{ACTOR}.clip_ratio_low=1.2"], f"{ACTOR}.clip_ratio_low", "is 1.2", "[0, 1)"),
    ([f"{ACTOR}.clip_ratio_low=-0.1"], f"{ACTOR}.clip_ratio_low", "is -0.1", "[0, 1)"),
    ([f"{ACTOR}.clip_ratio_high=-0.1"], f"{ACTOR}.clip_ratio_high", "is -0.1", "0 or more"),
    ([f"{ACTOR}.clip_ratio_c=1.0"], f"{ACTOR}.clip_ratio_c", "is 1.0", "above 1"),
    (
        ["objective=dapo", f"{ACTOR}.policy_loss.loss_mode=vanilla", f"{ACTOR}.clip_ratio_c=0.5"],
        f"{ACTOR}.clip_ratio_c",
        "is 0.5",
        "above 1",
    ),
    (["algorithm.adv_estimator=htpoo"], "algorithm.adv_estimator", "is htpoo", "grpo,"),
    (["algorithm.filter_groups.metric=foo"], "algorithm.filter_groups.metric", "is foo", "use acc"),
    (
        ["algorithm.filter_groups.max_num_gen_batches=null", "trainer.v1.trainer_mode=htpo_colocate_async"],
        "algorithm.filter_groups.max_num_gen_batches",
        "is None",
        "0 for no limit",
    ),
    ([f"{ACTOR}.use_kl_loss=True", f"{ACTOR}.kl_loss_type=foo"], f"{ACTOR}.kl_loss_type", "is foo", "low_var_kl"),
    (
        ["algorithm.use_kl_in_reward=True", "algorithm.kl_penalty=k4+"],
        "algorithm.kl_penalty",
        r"is k4\+",
        "k3, with or without",
    ),
    (["distillation.enabled=True"], "distillation.enabled", "nothing would be distilled", "False"),
    (
        ["reward.reward_model.enable=True"],
        "reward.reward_model.enable_resource_pool",
        "does not stand where",
        "set it to True with",
    ),
    (
        ["trainer.v1.trainer_mode=htpo_colocate_async", "algorithm.filter_groups.max_num_gen_batches=2"],
        "algorithm.filter_groups.max_num_gen_batches",
        "no prompt could be replaced",
        "3 or more",
    ),
    (
        [
            "trainer.v1.trainer_mode=htpo_colocate_async",
            "trainer.v1.colocate_async.num_warmup_batches=1.5",
            "algorithm.filter_groups.max_num_gen_batches=3",
        ],
        "algorithm.filter_groups.max_num_gen_batches",
        "the 1.5 batches",
        "4 or more",
    ),
    *(
        ([f"algorithm.adv_estimator={name}"], "algorithm.adv_estimator", f"{name}, but .* {lacks}", "use htpo")
        for name, lacks in ESTIMATORS_LACK.items()
    ),
    (
        ["objective=intuitor", "algorithm.use_kl_in_reward=True"],
        "algorithm.use_kl_in_reward",
        "weights=intuitor makes its advantages without",
        "use_kl_loss=True",
    ),
    (
        [f"{ACTOR}.checkpoint.save_contents=[hf_model]"],
        f"{ACTOR}.checkpoint.load_contents",
        "lacks model, optimizer, extra",
        "resume_mode=disable",
    ),
    (["trainer.logger=[console,consol]"], "trainer.logger", "has consol$", "choose from clearml, console"),
    (
        ["trainer.resume_mode=resume_path", "trainer.resume_from_path=/a/global_step_4/"],
        "trainer.resume_from_path",
        "no slash behind it",
        "auto",
    ),
    ([f"{ACTOR}.policy_loss.loss_mode=vanilla"], f"{ACTOR}.policy_loss.loss_mode", "is vanilla", "objective=dapo"),
    ([f"{ACTOR}.policy_loss.loss_mode=gspo"], f"{ACTOR}.policy_loss.loss_mode", "hard_correct_low", "objective=gspo"),
    ([f"{ACTOR}.policy_loss.loss_mode=bypass_mode"], f"{ACTOR}.policy_loss.loss_mode", "is bypass_mode", "cispo"),
    (["objective=gspo", f"{ACTOR}.loss_agg_mode=token-mean"], f"{ACTOR}.loss_agg_mode", "gspo has seq", "set it so"),
    (["objective=dr_grpo", f"{ACTOR}.loss_scale_factor=null"], f"{ACTOR}.loss_scale_factor", "width", "constant"),
    (["objective=cispo", "objective.entropy_source=current"], "objective.entropy_source", "for nothing", "old"),
    (["objective=sapo", "htpo.dump_tokens.steps=[1]"], "htpo.dump_tokens.steps", "says nothing", "set it to []"),
    (["objective=dapo", f"{ACTOR}.policy_loss.loss_mode=dro"], f"{ACTOR}.policy_loss.dro_beta", "no value", "set it"),
    (
        ["objective=archer", f"{ACTOR}.use_kl_loss=False"],
        "objective.cells.hard_correct_high.kl_scale",
        "is off",
        "use_kl_loss=True",
    ),
    (["algorithm.rollout_correction.bypass_mode=True"], "algorithm.rollout_correction.bypass_mode", "entropy", "False"),
    (["objective.weights.name=ra"], "objective", "Valid weights: none, ar", "correct the field"),
    (
        ["objective=nthr", "algorithm.rollout_correction.bypass_mode=True"],
        "algorithm.rollout_correction.bypass_mode",
        "no hidden states for objective.weights=nthr",
        "False",
    ),
    (
        ["objective=thr_explore", "actor_rollout_ref.model.use_fused_kernels=True"],
        "actor_rollout_ref.model.use_fused_kernels",
        "no hidden states for objective.weights=thr",
        "False",
    ),
    (
        ["objective.weights.name=sequence_mask", f"{ROLLOUT}.calculate_log_probs=False"],
        f"{ROLLOUT}.calculate_log_probs",
        "compares the sampler's",
        "True",
    ),
    (["trainer.v1.trainer_mode=sync"], "trainer.v1.trainer_mode", "does not install", "htpo_sync"),
    (["trainer.v1.trainer_mode=separate_async"], "trainer.v1.trainer_mode", "does not install", "htpo_colocate_async"),
    (["trainer.v1.trainer_mode=htpo_separate_async"], "trainer.v1.trainer_mode", "does not install", "htpo_sync"),
    (["trainer.use_v1=False"], "trainer.use_v1", "is False", "True"),
    ([f"{ACTOR}.strategy=fsdp"], f"{ACTOR}.strategy", "does not run on a CPU", "fsdp2"),
    ([f"{ROLLOUT}.dtype=bfloat16"], f"{ROLLOUT}.dtype", "is bfloat16", "float32"),
    (["data.train_batch_size=0"], "data.train_batch_size", "is 0", "at least 1"),
    ([f"{ACTOR}.ppo_mini_batch_size=0"], f"{ACTOR}.ppo_mini_batch_size", "is 0", "at least 1"),
    (["trainer.nnodes=0"], "trainer.nnodes", "is 0", "at least 1"),
    (["trainer.n_gpus_per_node=0"], "trainer.n_gpus_per_node", "is 0", "at least 1"),
    ([f"{ROLLOUT}.n=1"], f"{ROLLOUT}.n", "no group", "at least 2"),
    ([f"{ACTOR}.ppo_mini_batch_size=12"], f"{ACTOR}.ppo_mini_batch_size", "does not divide", "1, 2, 4, 8, 16, 32"),
    ([f"{ACTOR}.ppo_mini_batch_size=64"], f"{ACTOR}.ppo_mini_batch_size", "train_batch_size=32", "one of"),
    (
        ["trainer.n_gpus_per_node=3"],
        f"{ACTOR}.ppo_mini_batch_size",
        "responses do not divide over 3 data-parallel",
        "multiple",
    ),
    (
        [f"{ACTOR}.use_dynamic_bsz=False", f"{ACTOR}.ppo_micro_batch_size_per_gpu=3"],
        f"{ACTOR}.ppo_micro_batch_size_per_gpu",
        "is 3",
        "use_dynamic_bsz=True",
    ),
    (["data.max_prompt_length=0"], "data.max_prompt_length", "is 0", "at least 1"),
    (["data.max_response_length=73"], f"{ROLLOUT}.max_model_len", "is 104, less than .* 105", "at least 105"),
    ([f"{ACTOR}.ppo_max_token_len_per_gpu=100"], f"{ACTOR}.ppo_max_token_len_per_gpu", "less than .* 104", "104"),
    ([f"{OVERLONG}.len=73"], f"{OVERLONG}.len", "between 1 and .*=72", "enable=False"),
    ([f"{OVERLONG}.len=0"], f"{OVERLONG}.len", "is 0", "change it"),
    (["reward.reward_manager.name=naive"], "reward.reward_manager.name", "no overlong", "use dapo"),
    (["reward_model.reward_manager=dapo"], "reward_model.reward_manager", "ignores", "reward.reward_manager.name"),
    (["custom_reward_function.path=a.py"], "custom_reward_function.path", "ignores", "reward.custom_reward_function"),
    (["+reward_model.overlong_buffer.len=9"], "reward_model.overlong_buffer", "ignores", "overlong_buffer_cfg"),
]


@pytest.mark.parametrize(
    "broken, field, message, remedy", CONFIGURATION, ids=[case_id(case[0]) for case in CONFIGURATION]
)
def test_broken_configuration(sound, broken, field, message, remedy):
    assert_refused(config_problems(composed([*sound, *broken])), field, message, remedy)


@pytest.mark.parametrize(
    "overrides",
    [
        ["htpo.replay_poll_interval_s=null", "htpo.max_failed_rollouts=0", "htpo.deadline_margin_s=0.5"],
        [f"{ACTOR}.use_kl_loss=True", f"{ACTOR}.kl_loss_type=k3+", "algorithm.adv_estimator=rloo"],
        # A field of that function's own result
        ["algorithm.filter_groups.metric=mine", "reward.custom_reward_function.path=mine.py"],
        ["algorithm.filter_groups.metric=foo", "algorithm.filter_groups.enable=False"],
        [f"{ACTOR}.kl_loss_type=foo"],
        ["objective=thr_exploit", "algorithm.use_kl_in_reward=True"],
        [f"{ACTOR}.checkpoint.save_contents=[model]", "trainer.resume_mode=disable"],
        ["trainer.v1.trainer_mode=htpo_colocate_async", "trainer.v1.colocate_async.num_warmup_batches=0.5"],
    ],
)
def test_what_is_unusual_and_sound(sound, overrides):
    assert config_problems(composed([*sound, *overrides])) == []


def test_model_and_data_have_no_defaults():
    fields = [problem.field for problem in find_problems(composed(["platform=cpu"]))]
    assert fields == ["actor_rollout_ref.model.path", "data.train_files", "data.val_files"]


@pytest.mark.parametrize("key", LEGACY_KEYS)
def test_every_reward_setting_that_verl_ignores(sound_config, key):
    config = deepcopy(sound_config)
    name = f"{key}.path" if key in ("reward_model.model", "reward_model.rollout") else key
    OmegaConf.update(config, name, 3, force_add=True)
    assert LEGACY_KEYS[key] in the_problem(config_problems(config), key).remedy


@pytest.mark.parametrize("key", LEGACY_KEYS.values())
def test_the_setting_that_the_remedy_names_exists(sound_config, key):
    assert OmegaConf.select(sound_config, key, default="nowhere") != "nowhere"


NUMBERS = {
    f"{ACTOR}.optim.lr": (["abc", -1, "1e-6x"], "0 or more"),
    f"{ACTOR}.optim.weight_decay": (["abc", -0.1], "0 or more"),
    f"{ACTOR}.optim.lr_warmup_steps": (["abc", 1.5], "number of steps"),
    f"{ACTOR}.entropy_coeff": (["abc"], "a number"),
    f"{ROLLOUT}.top_p": ([2, 0], "1 keeps all"),
    f"{ROLLOUT}.val_kwargs.n": ([0, "abc"], "at least 1"),
    "trainer.total_training_steps": ([-1, "abc"], "at least 1 or null"),
    "trainer.total_epochs": ([0, None], "at least 1"),
    "trainer.save_freq": (["abc", None], "-1 for never"),
    "trainer.test_freq": (["abc", None], "-1 for never"),
    "data.seed": (["abc", 1.5], "whole number, or null"),
}


@pytest.mark.parametrize("number", range(3))
def test_numbers(sound_config, number):
    """All at once: none hides another."""
    config = deepcopy(sound_config)
    wrong = {field: values[number] for field, (values, _) in NUMBERS.items() if number < len(values)}
    for field, value in wrong.items():
        OmegaConf.update(config, field, value)
    problems = config_problems(config)
    for field, value in wrong.items():
        assert_refused(problems, field, f"is {value}", NUMBERS[field][1])
    assert {problem.field for problem in problems} == set(wrong)


def test_loggers_are_verls():
    from verl.utils.tracking import Tracking

    assert set(LOGGERS) == set(Tracking.supported_backend)


def test_numbers_that_are_none_do_not_end_the_look_at_the_machine(sound):
    """They are problems of the configuration; what else is wrong is told with them."""
    wrong = ["trainer.save_freq=abc", "trainer.total_epochs=a", "data.train_batch_size=0", f"{ROLLOUT}.name=other"]
    fields = {problem.field for problem in find_problems(composed([*sound, *wrong, "data.val_files=/no/such.parquet"]))}
    assert {"trainer.save_freq", "trainer.total_epochs", "data.train_batch_size", "data.val_files"} <= fields


def test_all_problems_are_found_at_once(sound):
    problems = find_problems(composed([*sound, f"{ROLLOUT}.n=1", "trainer.use_v1=False", "data.val_files=/no"]))
    assert [problem.field for problem in problems] == ["trainer.use_v1", f"{ROLLOUT}.n", "data.val_files"]


@pytest.mark.parametrize(
    "override, words",
    [
        ("objective=htpo2", ["htpo2", "htpo_paper_literal", "entropy_80_20", "dapo"]),
        ("platform=tpu", ["tpu", "accelerator", "cpu"]),
        ("data.train_batch_sise=8", ["train_batch_sise"]),
        ("objective.dificulty_threshold=0.5", ["dificulty_threshold"]),
    ],
)
def test_unknown_names_are_hydras_errors(override, words):
    with pytest.raises(ConfigCompositionException) as error:
        compose([override])
    text = f"{error.value} {error.value.__cause__}"
    assert not [word for word in words if word not in text]


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs a command in this process, in an empty directory: exit code, stdout, stderr."""
    directory = tmp_path / "empty"
    directory.mkdir()
    monkeypatch.chdir(directory)

    def run(main, *overrides):
        monkeypatch.setattr(sys, "argv", ["command", *overrides])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        written = capsys.readouterr()
        return code, written.out, written.err

    yield run
    # Nothing is left in the directory.
    assert not list(directory.iterdir())


def test_the_command(sound, command):
    """Exit code 0 from any directory with settings and plan, or 2 and every problem."""
    code, out, err = command(preflight_main, *sound, "data.train_batch_size=32", f"{ROLLOUT}.n=8")
    assert code == 0 and "preflight passed" in out, err
    for words in ("settings", "objectives: htpo", "1 vLLM replica of 1 GPU", "256 responses", "GB each"):
        assert words in out
    code, _, err = command(
        preflight_main, *sound, f"{ROLLOUT}.n=1", "trainer.use_v1=False", "data.val_files=/no/such.parquet"
    )
    assert code == EXIT_CODE == 2
    assert "3 problems; nothing was started" in err
    for number, field in enumerate(["trainer.use_v1", f"{ROLLOUT}.n", "data.val_files"], start=1):
        assert f"{number}. {field}: " in err


def test_a_dry_run_starts_nothing(sound, command):
    code, out, err = command(train_main, *sound, "htpo.dry_run=True")
    assert code == 0 and "nothing was started" in out, err


@pytest.mark.long
def test_a_refused_run_never_reaches_ray(sound, tmp_path):
    """verl imports Ray as Hydra looks for verl's configuration; what counts is that no session is made.

    A process of its own: Ray would make its session below RAY_TMPDIR, which it reads at import.
    """
    for name in ("ray", "empty"):
        (tmp_path / name).mkdir()
    refused = subprocess.run(
        [sys.executable, "-m", "recipe.htpo.main_htpo", *sound, f"{ROLLOUT}.n=1"],
        cwd=tmp_path / "empty",
        env=os.environ | {"RAY_TMPDIR": str(tmp_path / "ray"), "VERL_PLATFORM": "cpu"},
        capture_output=True,
        text=True,
    )
    assert refused.returncode == EXIT_CODE and f"1. {ROLLOUT}.n: " in refused.stderr
    assert not list((tmp_path / "ray").iterdir()) and not list((tmp_path / "empty").iterdir())


def test_a_run_of_two_engines_is_refused_and_has_no_size():
    """What the actor of one engine has, that of the other lacks."""
    mixed = ["layout=fsdp/qwen3_8b", "model_engine=megatron", "htpo.dry_run=True"]
    assert_refused(find_problems(composed(mixed)), "layout", "model_engine=megatron", "model_engine=dp")
