# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The reward function is there and takes its options, before anything starts."""

from copy import deepcopy

from preflight_support import assert_refused

from recipe.htpo.preflight import config_problems
from recipe.htpo.preflight.reward_function import check_reward_function, check_reward_options

FUNCTION = "reward.custom_reward_function"


def test_options_of_the_reward(sound_config):
    config = deepcopy(sound_config)
    assert list(check_reward_options(config)) == []
    for option, value, message in (
        ("scor_wrong", -1, "scor_wrong"),
        ("percent_either", "maybe", "percent_either"),
        ("second_opinion", "maybe", "one of off, report, accept"),
    ):
        config.reward.custom_reward_function.reward_kwargs = {option: value}
        assert_refused(config_problems(config), f"{FUNCTION}.reward_kwargs", message, "docs/verifier.md")
    # Of a function of one's own nothing is known.
    config.reward.custom_reward_function.path = "mine.py"
    assert list(check_reward_options(config)) == []


def test_a_reward_function_that_is_not_there(sound_config, tmp_path):
    """A file is looked at as text: nothing of it is run."""
    own = tmp_path / "own.py"
    own.write_text("raise SystemExit\n\ntry:\n    from x import a as b\nexcept ImportError:\n    score = None\n")
    (tmp_path / "broken.py").write_text("def (")
    config = deepcopy(sound_config)

    def problems(path, name):
        config.reward.custom_reward_function.path = str(path)
        config.reward.custom_reward_function.name = name
        return [(problem.field, problem.message) for problem in check_reward_function(config)]

    for name in ("b", "score"):
        assert problems(own, name) == problems(f"file://{own}", name) == []
    assert problems("pkg://recipe/htpo/reward", "compute_score_async") == []
    assert problems(own, "a") == [(f"{FUNCTION}.name", f"is a, which {own} does not define")]
    for path in ("/no/such.py", "pkg://recipe.htpo.rewards", "pkg://no.such", "pkg://", tmp_path):
        assert problems(path, "compute_score") == [(f"{FUNCTION}.path", f"there is no {path}")]
    ((field, message),) = problems(tmp_path / "broken.py", "x")
    assert field == f"{FUNCTION}.path" and "is no Python" in message
    ((field, message),) = problems("pkg://recipe.htpo.reward", "compute_scor")
    assert field == f"{FUNCTION}.name" and "compute_scor," in message
