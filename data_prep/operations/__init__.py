# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What can be done with data: build, check, count, select, mix, decontaminate."""
