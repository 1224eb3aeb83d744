# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Raw data sets to one verl parquet contract.

    sources -> operations -> contract -> storage

``sources`` turns records into problems, ``contract`` says what a file looks like, ``operations`` are the commands'
work, ``storage`` writes, and ``command_line`` is what a user types.
"""
