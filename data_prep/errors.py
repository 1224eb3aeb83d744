# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The one error that data_prep raises on bad input: it names the file, the row and the remedy."""

import os


class DataError(ValueError):
    """Bad input data: what is wrong, in which file, at which place (``line 37``, ``row 12``), and what to do."""

    def __init__(
        self, problem: str, *, file: str | os.PathLike | None = None, place: str = "", remedy: str = ""
    ) -> None:
        self.problem = problem
        self.file = None if file is None else os.fspath(file)
        self.place = place
        self.remedy = remedy
        where = ", ".join(part for part in (self.file, place) if part)
        text = f"{where}: {problem}" if where else problem
        super().__init__(f"{text}. Remedy: {remedy}" if remedy else text)
