# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Prompt templates: named, versioned, recorded in every file, and reversible where a source has one applied."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from data_prep.errors import DataError

SLOT = "{problem}"


@dataclass(frozen=True)
class Template:
    """A user message around a problem, and an optional system message.

    ``user`` holds the problem at ``{problem}`` and nothing else is substituted, so braces in it are plain text. With
    ``jinja=True`` it is a Jinja template with the variables ``problem``, ``level`` and ``subject``.
    """

    name: str
    version: int
    user: str
    system: str = ""
    jinja: bool = False

    def __post_init__(self) -> None:
        if not self.jinja and self.user.count(SLOT) != 1:
            raise DataError(f"template {self.name!r} must contain {SLOT} exactly once", remedy="mend the template text")

    def messages(
        self,
        problem: str,
        level: str | None = None,
        subject: str | None = None,
        context: Sequence[dict[str, str]] = (),
    ) -> list[dict[str, str]]:
        """Chat messages ``[{role, content}]`` for one problem after the messages of ``context``.

        The template's system message, where it has one, takes the place of the context's.
        """
        if self.jinja:
            content = self._compiled.render(problem=problem, level=level, subject=subject)
        else:
            content = self.user.replace(SLOT, problem)
        earlier = list(context)
        if self.system:
            others = [message for message in context if message["role"] != "system"]
            earlier = [{"role": "system", "content": self.system}, *others]
        return [*earlier, {"role": "user", "content": content}]

    def strip(self, content: str) -> str | None:
        """The problem inside a message made by this template, or None when the message was not."""
        if self.jinja:
            return None
        before, _, after = self.user.partition(SLOT)
        if len(content) < len(before) + len(after) or not (content.startswith(before) and content.endswith(after)):
            return None
        return content[len(before) : len(content) - len(after)]

    def record(self) -> dict:
        """What a file's provenance keeps of the template."""
        return {
            "name": self.name,
            "version": self.version,
            "system": self.system,
            "user": self.user,
            "jinja": self.jinja,
            "sha256": hashlib.sha256(f"{self.system}\0{self.user}".encode()).hexdigest(),
        }

    @cached_property
    def _compiled(self):
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(keep_trailing_newline=True, autoescape=False)
        return environment.from_string(self.user)


TEMPLATES = {
    template.name: template
    for template in (
        Template("bare", 1, SLOT),
        Template(
            "dapo",
            1,
            "Solve the following math problem step by step. The last line of your response should be of the form "
            "Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n"
            f"{SLOT}\n\n"
            'Remember to put your answer on its own line after "Answer:".',
        ),
        Template(
            "qwen-boxed",
            1,
            SLOT,
            system="Please reason step by step, and put your final answer within \\boxed{}.",
        ),
        Template("answer-tags", 1, f"{SLOT}\n\nWrite the final answer between <answer> and </answer>."),
        Template("boxed", 1, f"{SLOT} Let's think step by step and output the final answer within \\boxed{{}}."),
        Template(
            "gsm8k",
            1,
            f'{SLOT} Let\'s think step by step and output the final answer after "####".',
        ),
    )
}
"""``bare``: the problem alone. ``dapo``: the text of DAPO-Math-17k and its AIME-2024. ``qwen-boxed``: Qwen2.5-Math's
system message. ``boxed``: DeepScaleR's and Skywork-OR1's user message. ``gsm8k``: verl's own GSM8K recipe.
``answer-tags``: for tasks with a scorer of their own."""

_SOURCE_TEMPLATES = ("dapo", "boxed", "gsm8k")


def find_template(name: str) -> Template:
    """A template by name, or a Jinja file by its path (``*.jinja``).

    Raises DataError on an unknown name (listing the known ones) or an unreadable or broken Jinja file.
    """
    if name in TEMPLATES:
        return TEMPLATES[name]
    if not re.search(r"\.(jinja2?|j2)$", name):
        raise DataError(
            f"unknown template {name!r}", remedy=f"choose one of {', '.join(TEMPLATES)}, or give a .jinja file"
        )
    import jinja2

    try:
        template = Template(Path(name).stem, 1, Path(name).read_text("utf-8"), jinja=True)
        first = template.messages("a problem that must appear")[-1]["content"]
    except (OSError, UnicodeDecodeError, jinja2.TemplateError) as error:
        raise DataError(f"cannot use the template: {error}", file=name, remedy="mend the Jinja file") from error
    if "a problem that must appear" not in first:
        raise DataError("the template does not print the problem", file=name, remedy="add {{ problem }}")
    return template


def strip_known_template(content: str) -> str:
    """The bare problem of a message that a published data set carries its own template in."""
    for name in _SOURCE_TEMPLATES:
        problem = TEMPLATES[name].strip(content)
        if problem is not None:
            return problem
    return content


def system_of_a_template(content: str) -> bool:
    """Whether a system message is that of a known template."""
    return any(template.system and content.strip() == template.system for template in TEMPLATES.values())
