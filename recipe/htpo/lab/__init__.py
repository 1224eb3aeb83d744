# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny language model, warmed up in minutes, and a laboratory that studies objectives on it.

`python -m recipe.htpo.lab` trains the model with the recipe's objective core in plain torch; `warmup` makes the model,
for the lab and for the demo of the real stack.
"""
