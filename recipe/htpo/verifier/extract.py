# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Stage 1: which string of a response is its answer.

The last explicit marker wins: a balanced ``\\boxed{}`` or ``\\fbox{}``, an ``Answer:`` line, an ``<answer>`` tag. A
last box that never closes is a refusal, never a reason to fall back to earlier text. Only a bounded tail of the
response is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from recipe.htpo.verifier.config import VerifierConfig

_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"[^\s{}$\\]{1,64}")
_ANSWER_LINE = re.compile(
    r"(?:\banswers?\b|答案)[ \t]*[*_]{0,3}[ \t]*(?:[:：]|\\?[=＝])[ \t]*[*_]{0,3}"
    r"|<answer>"
    r"|\\text(?:bf)?\{\s*(?:final\s+)?answer\s*:?\s*\}\s*:?",
    re.IGNORECASE,
)
_ANSWER_PHRASE = re.compile(
    r"\banswer\s+(?:is|equals)\b\s*:?|(?:答案|结果)\s*(?:就)?\s*(?:是|为|等于)\s*[:：]?"
    r"|^####(?=[ \t]*[-+$]?[ \t]*[\d.,]+[ \t]*$)",
    re.IGNORECASE | re.MULTILINE,
)
_LEAD_IN = re.compile(
    r"(?:so\s+|thus,?\s+|hence,?\s+|therefore,?\s+)?(?:the\s+)?(?:(?:final|correct|required|desired)\s+)?"
    r"(?:answer|value|result|solution)\s*(?:is|equals|:)\s*:?\s*|(?:答案|结果)?\s*[是为]\s*[:：]?\s*",
    re.IGNORECASE,
)
_BETWEEN_BOXES = re.compile(
    r"(?:[\s$.,;:，、；。*_()\[\]&]|\\[()\[\],;:! ]|\\q?quad|\\text\{[^{}]*\}|and|or|和|或|与)*"
)
_OTHER_ANSWER_AFTER = re.compile(
    r"[\s$*_)\]\\,;]*(?:or|或者?)\b[\s$(\[\\]*(?:maybe|possibly|perhaps)?[\s$(\[\\]*[-+\d\\]"
)
_OTHER_ANSWER_BEFORE = re.compile(r"\d[\s$*_)\]\\]*,?\s*(?:or|或者?)\s*[\s$*_(\[\\]*$")
_MATH_GROUP = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_OPEN_MATH = {"$$": "$$", "$": "$", "\\[": "\\]", "\\(": "\\)"}
_HARMLESS_PROSE = re.compile(r"(?:[^\W\d_]|[\s'’\-,.;:!。，*])*")
_CLOSING_SENTENCE = re.compile(r"[.。]\s+[A-Z][^\d$\\]*$|。[^\d$\\]*$")
_EDGE = " \t\r\n*_`"


@dataclass(frozen=True, slots=True)
class Extraction:
    """The answer string of a response, or why it has none (``extraction``, ``refused_multiple``, ``over_limit``)."""

    text: str = ""
    problem: str | None = None


def extract_answer(response: str, config: VerifierConfig) -> Extraction:
    """Return the answer string of ``response``, looking at its last ``config.tail_chars`` characters only."""
    tail = response[-config.tail_chars :]
    box = _last_match(_BOX, tail)
    line = _last_match(_ANSWER_LINE, tail) if config.answer_lines else None
    if line is not None and (box is None or line.start() > box.start()):
        return _from_line(tail[line.end() : line.end() + 2 * config.max_answer_chars], config)
    if box is not None:
        return _from_boxes(tail, config)
    phrase = _last_match(_ANSWER_PHRASE, tail) if config.answer_phrases else None
    if phrase is None:
        return Extraction(problem="extraction")
    return _from_line(tail[phrase.end() : phrase.end() + 2 * config.max_answer_chars], config)


def _last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    last = None
    for last in pattern.finditer(text):  # noqa: B007
        pass
    return last


def brace_pairs(text: str) -> dict[int, int]:
    """Index of each opening brace -> index of the brace that closes it. Escaped braces (``\\{``) do not count."""
    pairs: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACE.finditer(text):
        if match.group() == "{":
            opened.append(match.start())
        elif match.group() == "}" and opened:
            pairs[opened.pop()] = match.start()
    return pairs


def _from_boxes(tail: str, config: VerifierConfig) -> Extraction:
    """Read the last outermost box and, joined to it, the boxes that stand directly before it."""
    pairs = brace_pairs(tail)
    spans: list[tuple[int, int, str]] = []
    position = 0
    closed = True
    unclosed = ""
    while (match := _BOX.search(tail, position)) is not None:
        start = match.end()
        if start < len(tail) and tail[start] == "{":
            end = pairs.get(start, -1)
            closed = end >= 0
            if closed:
                spans.append((match.start(), end + 1, tail[start + 1 : end]))
                position = end + 1
            else:
                # A later box may close although this one does not: the last one decides.
                unclosed, position = tail[start + 1 :], start + 1
        else:
            bare = _BARE_BOX.match(tail, start)
            closed = bare is not None
            if bare is not None:
                spans.append((match.start(), bare.end(), bare.group()))
            position = bare.end() if bare is not None else start
    if not closed:
        return _cleaned(unclosed, config) if config.accept_unclosed_box else Extraction(problem="extraction")
    start, end, text = spans[-1]
    texts = [text]
    if config.join_adjacent_boxes:
        for before_start, before_end, before in reversed(spans[:-1]):
            if not _BETWEEN_BOXES.fullmatch(tail, before_end, start):
                break
            texts.append(before)
            start = before_start
    unique = list(dict.fromkeys(reversed([part.strip() for part in texts])))
    line_start = tail.rfind("\n", 0, start) + 1
    if _OTHER_ANSWER_AFTER.match(tail, end) or _OTHER_ANSWER_BEFORE.search(tail[max(line_start, start - 80) : start]):
        return Extraction(problem="refused_multiple")
    return _cleaned(" , ".join(unique), config)


def _from_line(text: str, config: VerifierConfig) -> Extraction:
    """Read the rest of an answer line; an empty rest continues on the next line that has text."""
    text = text.lstrip(_EDGE + "#>")
    opener = next((mark for mark in _OPEN_MATH if text.startswith(mark)), None)
    if opener is not None:
        end = text.find(_OPEN_MATH[opener], len(opener))
        if end >= 0:
            stop = text.find("\n", end)
            return _cleaned(text[: stop if stop >= 0 else len(text)], config)
    return _cleaned(text.split("\n", 1)[0], config)


def _cleaned(text: str, config: VerifierConfig) -> Extraction:
    if len(text) > config.max_answer_chars:
        return Extraction(problem="over_limit")
    answer = clean_answer(text)
    return Extraction(answer) if answer else Extraction(problem="extraction")


def clean_answer(text: str) -> str:
    """Strip what surrounds an answer: bold, maths delimiters, a lead-in ("the answer is"), a closing sentence."""
    text = text.split("</answer>", 1)[0].strip(_EDGE)
    lead_in = _LEAD_IN.match(text)
    if lead_in is not None:
        text = text[lead_in.end() :].strip(_EDGE)
    groups = list(_MATH_GROUP.finditer(text))
    if len(groups) == 1:
        group = groups[0]
        before, after = text[: group.start()].strip(_EDGE), text[group.end() :].strip(_EDGE)
        if not before and _HARMLESS_PROSE.fullmatch(after):
            content = next(part for part in group.groups() if part is not None).strip()
            words = after.split(".")[0].strip(" ,;:!。，*")
            return f"{content}\\text{{ {words}}}" if words else content
    return _CLOSING_SENTENCE.sub("", text).rstrip(".。 \t\n*_`")
