# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A run from the outside: its files, its processes, its progress, its report."""
