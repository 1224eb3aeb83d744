# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation problems that are in the training data, from the report of `python -m data_prep decontaminate`."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from recipe.htpo.compare.runs import CompareError

LONG = 40
"""Characters from which a problem is not taken for a part of another one."""


class Contaminated:
    """The contaminated problems of one or more reports."""

    def __init__(self, problems: Iterable[Mapping[str, str]]) -> None:
        found = list(problems)
        texts = {_normal(problem["text"]) for problem in found}
        self.long = {text for text in texts if len(text) >= LONG}
        self.short = texts - self.long
        self.ids = {(problem["data_source"], problem["id"]) for problem in found if problem.get("data_source")}

    def __contains__(self, prompt: tuple[str, str, str]) -> bool:
        """Whether `(data source, name, text)` is one of them: by the id of the data, or because it asks the problem.

        The text of a prompt may have a chat template and an instruction around the problem. A short problem, which may
        be a part of another one (`1+2` of `1+2+3`), must have its lines for itself.
        """
        source, name, text = prompt
        asked = _normal(text)
        return (
            (source, name) in self.ids
            or any(problem in asked for problem in self.long)
            or any(f"\n{problem}\n" in f"\n{asked}\n" for problem in self.short)
        )


def read_reports(paths: Iterable[Path]) -> Contaminated:
    """The problems of reports (`decontaminate --report FILE.jsonl`).

    Raises:
        CompareError: naming the file, the line and the field.
    """
    problems = []
    for path in paths:
        try:
            # Not those of a text, which end at U+2028 of a problem, too.
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise CompareError(path, f"cannot be read ({error.strerror})", _REMEDY) from error
        for number, line in enumerate(lines, start=1):
            try:
                problem = json.loads(line)
            except ValueError as error:
                raise CompareError(path, f"line {number} is no JSON", _REMEDY) from error
            for name in ("text", "id"):
                if not isinstance(problem, dict) or not isinstance(problem.get(name), str) or not problem[name]:
                    raise CompareError(path, f"line {number} has no field {name}", _REMEDY)
            problems.append(problem)
    return Contaminated(problems)


_REMEDY = "make it with `python -m data_prep decontaminate TRAIN --against EVAL --report FILE.jsonl`"


def _normal(text: str) -> str:
    """Lower case without white space, but for the ends of lines that are not empty."""
    lines = ("".join(line.split()) for line in text.lower().splitlines())
    return "\n".join(line for line in lines if line)
