# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""What happened to every token: a dump that training writes where asked to, and a page that shows it.

`dump` is the contract between training (`recipe/htpo/seams/tokens.py`, `recipe/htpo/lab/loop.py`) and the page;
`python -m recipe.htpo.inspect RUN_DIR` makes the page.
"""
