# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Raw data sets to one verl parquet contract."""
