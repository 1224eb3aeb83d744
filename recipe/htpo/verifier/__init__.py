# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Rule-based mathematics verifier: extract, normalise, compare. Pure functions, bounded by construction."""

from recipe.htpo.verifier.config import VerifierConfig
from recipe.htpo.verifier.grade import ground_truth_problem, verify
from recipe.htpo.verifier.verdict import REASONS, Reason, Verdict

__all__ = ["REASONS", "Reason", "Verdict", "VerifierConfig", "ground_truth_problem", "verify"]
