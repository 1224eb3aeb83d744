# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m data_prep``."""

import sys

from data_prep.cli import main

if __name__ == "__main__":
    sys.exit(main())
