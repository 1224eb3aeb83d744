# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""How the tests of the preflight look at problems."""

import re


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
