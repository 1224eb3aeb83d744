# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Files on disk: parquet in streams, atomic outputs, how a file was made, digests."""
