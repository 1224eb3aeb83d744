# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Runs against each other: `python -m recipe.htpo.compare RUN_A RUN_B ...`.

`readers` make a `Run` of every kind of result, `analysis` groups them and asks `recipe.htpo.evaluation` for numbers,
`figures` and `page` show them.
"""
