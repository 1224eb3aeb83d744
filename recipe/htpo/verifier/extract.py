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
from typing import NamedTuple

from recipe.htpo.verifier.config import VerifierConfig
from recipe.htpo.verifier.normalize import strip_period
from recipe.htpo.verifier.verdict import Reason

_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"[^\s{}$\\]{1,64}")
_ANSWER_LINE = re.compile(
    r"(?:(?<![a-zA-Z])answers?(?![a-zA-Z])|答案)[ \t]{0,4}[*_]{0,3}[ \t]{0,4}(?:[:：]|[=＝])[ \t]{0,4}[*_]{0,3}"
    r"|<answer>"
    r"|\\text(?:bf)?\{\s{0,4}(?:final\s{1,4})?answer\s{0,4}:?\s{0,4}\}\s{0,4}:?",
    re.IGNORECASE,
)
_ANSWER_PHRASE = re.compile(
    r"\b(?:answer|correct\s{1,4}(?:option|choice))\s{1,4}(?:is|equals)\b\s{0,4}:?|(?:答案|结果)\s{0,4}就?\s{0,4}(?:是|为|等于)\s{0,4}[:：]?"
    r"|^(?:#{1,4}[ \t]{1,4}|\*\*)(?:the[ \t]{1,4})?(?:final[ \t]{1,4})?answer(?:\*\*)?[ \t]{0,4}$"
    r"|^####(?=[ \t]{0,4}[-+$]?[ \t]{0,4}[\d.,]{1,40}[ \t]{0,4}$)",
    re.IGNORECASE | re.MULTILINE,
)
_LEAD_IN = re.compile(
    r"(?:so\s++|thus,?\s++|hence,?\s++|therefore,?\s++)?+(?:the\s++)?+(?:(?:final|correct|required|desired)\s++)?+"
    r"(?:answer|value|result|solution)\s*+(?:is|equals|:)\s*+:?\s*+|(?:答案|结果)?+\s*+[是为]\s*+[:：]?\s*+",
    re.IGNORECASE,
)
_BETWEEN_BOXES = re.compile(
    r"(?:[\s$.,;:，、；。*_()\[\]&]|\\[()\[\],;:! ]|\\q?quad|\\text\{[^{}]*\}|and|or|和|或|与)*+"
)
_OTHER_ANSWER_AFTER = re.compile(
    r"[\s$*_)\]\\,;]*+(?:or\b|或者?+)(?:[\s$(\[]|\\[(\[,; ])*+(?:maybe|possibly|perhaps)?+(?:[\s$(\[]|\\[(\[,; ])*+"
    r"(?=[-+\d]|\\[a-zA-Z])"
)
_OTHER_ANSWER_BEFORE = re.compile(r"\d[\s$*_)\]\\]*+,?+\s*+(?:or\b|或者?+)[\s$*_(\[\\]*+\Z")
_MATH_OPENER = re.compile(r"\$\$?|\\[(\[]")
_OPEN_MATH = {"$$": "$$", "$": "$", "\\[": "\\]", "\\(": "\\)"}
_HARMLESS_PROSE = re.compile(r"(?:[^\W\d_]|[\s'’\-,.;:!。，*])*+")
_CLOSING_SENTENCE = re.compile(r"(?:[.。]\s{1,8}[A-Z]|。)[^\d$\\]{0,200}+\Z")
_OTHER_ANSWER_CHARS = 200
_EDGE = " \t\r\n*_`"


@dataclass(frozen=True, slots=True)
class Extraction:
    """The answer string of a response, or why it has none (``extraction``, ``refused_multiple``, ``over_limit``)."""

    text: str = ""
    problem: Reason | None = None
    other: str = ""
    """A second answer behind "or": the response is right where both are."""


def extract_answer(response: str, config: VerifierConfig) -> Extraction:
    """Return the answer string of ``response``, looking at its last ``config.tail_chars`` characters only."""
    tail = after_thoughts(response[-config.tail_chars :])
    boxes = _find_boxes(tail)
    line = _last_match(_ANSWER_LINE, tail) if config.answer_lines else None
    if line is not None and (not boxes or line.start() > boxes[-1].end):
        return _from_line(tail[line.end() : line.end() + 2 * config.max_answer_chars], config)
    if boxes:
        return _from_boxes(tail, boxes, config)
    phrase = _last_match(_ANSWER_PHRASE, tail) if config.answer_phrases else None
    if phrase is None:
        return Extraction(problem="extraction")
    return _from_line(tail[phrase.end() : phrase.end() + 2 * config.max_answer_chars], config)


def after_thoughts(text: str) -> str:
    """What follows the last ``</think>``; all of ``text`` where nothing does."""
    _, closing, rest = text.rpartition("</think>")
    return rest if closing and rest.strip() else text


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


def is_balanced(text: str) -> bool:
    """Whether ``text`` can stand in a box: every brace has its partner and no backslash ends it."""
    return brace_pairs(f"{{{text}}}").get(0) == len(text) + 1


class _Box(NamedTuple):
    """A box from its command to its closing brace; an unclosed one ends with its line."""

    start: int
    end: int
    inside: slice
    closed: bool


def _find_boxes(tail: str) -> list[_Box]:
    """The outermost boxes; inside one that never closes, later boxes count."""
    pairs: dict[int, int] | None = None
    found: list[_Box] = []
    position = 0
    while (match := _BOX.search(tail, position)) is not None:
        start = position = match.end()
        if start < len(tail) and tail[start] == "{":
            pairs = brace_pairs(tail) if pairs is None else pairs
            end = pairs.get(start)
            if end is not None:
                found.append(_Box(match.start(), end + 1, slice(start + 1, end), True))
                position = end + 1
            else:
                line_end = tail.find("\n", start)
                found.append(
                    _Box(match.start(), line_end if line_end >= 0 else len(tail), slice(start + 1, None), False)
                )
        elif (bare := _BARE_BOX.match(tail, start)) is not None:
            found.append(_Box(match.start(), bare.end(), slice(bare.start(), bare.end()), True))
            position = bare.end()
    return found


def _from_boxes(tail: str, boxes: list[_Box], config: VerifierConfig) -> Extraction:
    """Read the last box and, joined to it, the boxes that stand directly before it."""
    last = boxes[-1]
    if not last.closed:
        return _cleaned(tail[last.inside], config) if config.accept_unclosed_box else Extraction(problem="extraction")
    start, texts = last.start, [tail[last.inside].strip()]
    if config.join_adjacent_boxes:
        for box in reversed(boxes[:-1]):
            if not box.closed or not _BETWEEN_BOXES.fullmatch(tail, box.end, start):
                break
            texts.append(tail[box.inside].strip())
            start = box.start
    line_start = max(tail.rfind("\n", 0, start) + 1, start - 80)
    if _OTHER_ANSWER_BEFORE.search(tail[line_start:start]):
        return Extraction(problem="refused_multiple")
    found = _cleaned(" , ".join(dict.fromkeys(reversed(texts))), config)
    behind = _OTHER_ANSWER_AFTER.match(tail, last.end)
    if behind is None or found.problem is not None:
        return found
    line = tail[behind.end() : behind.end() + _OTHER_ANSWER_CHARS].split("\n", 1)[0]
    return Extraction(found.text, other=_up_to_math_end(line) or line)


def _up_to_math_end(text: str) -> str:
    """``text`` up to the first closing delimiter of mathematics."""
    ends = [end for mark in ("$", "\\)", "\\]") if (end := text.find(mark)) >= 0]
    return clean_answer(text[: min(ends)] if ends else text)


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
    groups = math_groups(text)
    if len(groups) == 1:
        start, content, end = groups[0]
        before, after = text[:start].strip(_EDGE), text[end:].strip(_EDGE)
        if not before and _HARMLESS_PROSE.fullmatch(after):
            content = content.strip()
            words = after.split(".")[0].strip(" ,;:!。，*")
            return f"{content}\\text{{ {words}}}" if words else content
    sentence = _CLOSING_SENTENCE.search(text, max(0, len(text) - 220))
    if sentence is not None:
        text = text[: sentence.start()]
    return strip_period(text.rstrip("。 \t\n*_`")).rstrip("*")


def math_groups(text: str) -> list[tuple[int, str, int]]:
    """Start, content and end of each ``$...$``, ``$$...$$``, ``\\(...\\)`` and ``\\[...\\]``, in one pass."""
    found: list[tuple[int, str, int]] = []
    missing: set[str] = set()
    position = 0
    while (match := _MATH_OPENER.search(text, position)) is not None:
        position = match.end()
        # A "$$" that nothing closes may still be a "$" with a dollar sign behind it.
        for opener in ("$$", "$") if match.group() == "$$" else (match.group(),):
            inside, closer = match.start() + len(opener), _OPEN_MATH[opener]
            end = -1 if closer in missing else text.find(closer, inside + 1)
            if end >= 0:
                position = end + len(closer)
                found.append((match.start(), text[inside:end], position))
                break
            missing.add(closer)  # no later opener finds it either
    return found
