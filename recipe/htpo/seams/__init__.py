# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The thin layer between the pure core and verl 0.9.1: registrations, trainer hooks, the actor loss."""
