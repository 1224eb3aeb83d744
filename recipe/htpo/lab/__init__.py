# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny language model, warmed up in minutes on two cores, that reinforcement learning can improve."""
