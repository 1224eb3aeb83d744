# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""From what others publish to problems with answers: places, file formats, columns, answers, templates, sets."""
