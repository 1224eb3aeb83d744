# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""HTPO: hierarchical token-level objective control for verl 0.9.1 (arXiv 2605.08283)."""
