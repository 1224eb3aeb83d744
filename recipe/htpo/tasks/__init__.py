# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Tasks whose answers are no mathematics to compare: each has a scorer of its own, chosen by ``data_source``.

``recipe/htpo/scorers.py`` says which; ``data_prep build reasoning_gym:TASK`` makes the data.
"""
