# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What a run will occupy, by arithmetic on its configuration: GPUs, memory by part, tokens, updates, checkpoints."""
