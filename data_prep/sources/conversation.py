# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The problem of a record: a text, or chat messages with a system message, earlier turns and content parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.errors import DataError
from data_prep.sources.templates import strip_known_template, system_of_a_template

MEDIA = {"image": "images", "video": "videos", "audio": "audios"}
"""Kind of a content part -> the column in which verl looks for it."""
_FORM = "give the problem as text, or as messages of the form {role: user, content: TEXT or parts}"
_ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """What leads to the answer."""

    problem: str
    """Text of the last user message, without a known template."""
    context: tuple[dict[str, str], ...] = ()
    """The messages before it, ``{role, content}``."""
    media: Mapping[str, list]
    """Images, videos and audios that content parts carried, by column."""


def last_user_text(messages: Sequence[Mapping]) -> Any:
    """``content`` of the last user message, or None."""
    return next((message.get("content") for message in reversed(messages) if message.get("role") == "user"), None)


def read_conversation(value: Any) -> Conversation:
    """A text, or messages up to the last one of the user: what follows it is an answer and is left out.

    A system message that is one of the known templates is no part of the problem. Parts that are no text become
    verl's placeholders ``<image>``, ``<video>``, ``<audio>``.

    Raises DataError when there is no problem in it.
    """
    media: dict[str, list] = {}
    if isinstance(value, str):
        messages: list[dict[str, str]] = [{"role": "user", "content": value}]
    elif isinstance(value, Sequence):
        messages = [_message(message, media) for message in _up_to_the_last_user(value)]
    else:
        raise DataError(f"the problem is {type(value).__name__}, not text", remedy=_FORM)
    *context, last = messages
    problem = strip_known_template(last["content"])
    if not problem.strip():
        raise DataError("the problem is empty", remedy="delete the row")
    kept = [m for m in context if not (m["role"] == "system" and system_of_a_template(m["content"]))]
    return Conversation(problem=problem, context=tuple(kept), media=media)


def _up_to_the_last_user(messages: Sequence) -> Sequence[Mapping]:
    if not all(isinstance(message, Mapping) for message in messages):
        raise DataError("the prompt is a list, but not of messages", remedy=_FORM)
    if not last_user_text(messages):
        raise DataError("the prompt has no user message with content", remedy=_FORM)
    end = max(number for number, message in enumerate(messages) if message.get("role") == "user")
    return messages[: end + 1]


def _message(message: Mapping, media: dict[str, list]) -> dict[str, str]:
    role, content = message.get("role"), message.get("content")
    if role not in _ROLES:
        raise DataError(f"a message has the role {role!r}", remedy=f"use one of {', '.join(_ROLES)}")
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = "".join(_part(part, media) for part in content)
    if not isinstance(content, str):
        raise DataError(f"content of the {role} message is {type(content).__name__}, not text", remedy=_FORM)
    return {"role": role, "content": content}


def _part(part: Any, media: dict[str, list]) -> str:
    """Text of a content part; what is no text goes into ``media``."""
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise DataError(f"a content part is {type(part).__name__}", remedy="write parts as {type: text, text: TEXT}")
    kind = str(part.get("type") or "text").removesuffix("_url")
    if kind == "text":
        if not isinstance(part.get("text"), str):
            raise DataError("a text part has no text", remedy="write parts as {type: text, text: TEXT}")
        return part["text"]
    if kind not in MEDIA:
        raise DataError(f"a content part has the type {kind!r}", remedy=f"use text, {', '.join(MEDIA)}")
    payload = part.get(kind) if part.get(kind) is not None else part.get(f"{kind}_url")
    if isinstance(payload, Mapping) and "url" in payload:
        payload = payload["url"]
    if payload is not None:
        media.setdefault(MEDIA[kind], []).append({kind: payload} if isinstance(payload, str) else payload)
    return f"<{kind}>"
