# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""How the tests of the preflight make configurations and look at problems."""

import pickle
import re
from functools import cache

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser

from recipe.htpo.config import follow_objective


@cache
def _groups_composed(groups):
    with hydra.initialize_config_module("recipe.htpo.config", version_base=None):
        # Read back, it costs less than a deep copy.
        return pickle.dumps(hydra.compose("htpo_trainer", overrides=list(groups)))


def composed(overrides=()):
    """What `recipe.htpo.config.compose` returns, read from the files once for each choice of groups.

    Hydra sets the fields of an override last, in the configuration that the groups made; its own function for that is
    called on a copy. `test_composed_is_compose` holds the two together.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    fields = [override for override in parsed if "." in override.key_or_group]
    config = pickle.loads(_groups_composed(tuple(o.input_line for o in parsed if o not in fields)))
    ConfigLoaderImpl._apply_overrides_to_config(fields, config)
    follow_objective(config)
    return config


def the_problem(problems, field):
    """The only problem of a field."""
    (found,) = [problem for problem in problems if problem.field == field]
    return found


def assert_refused(problems, field, message, remedy):
    """The field is refused once, with these words in message (a pattern) and remedy, and prints as it should."""
    problem = the_problem(problems, field)
    assert re.search(message, problem.message), problem
    assert remedy in problem.remedy, problem
    # As it is printed: the field first, the remedy marked.
    assert str(problem).startswith(f"{field}: ") and "-> " in str(problem)


def case_id(broken):
    """A test's name: the overrides, without the paths above their fields."""
    return " ".join(override.replace("actor_rollout_ref.", "") for override in broken)
