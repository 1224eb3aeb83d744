# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m data_prep``: what can be asked for (main), and what it does and prints (commands)."""
