# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m data_prep``."""

import sys

from data_prep.command_line.main import main

if __name__ == "__main__":
    sys.exit(main())
