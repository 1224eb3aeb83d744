# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Chat messages of any verl parquet file: content is a text, or a list of parts of which verl renders the text."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa


def as_texts(messages: Sequence[Mapping | None] | None) -> list[dict[str, Any]]:
    """The messages with parts joined to one text; parts that are no text and null messages are left out."""
    return [{**message, "content": _text(message["content"])} for message in messages or () if message is not None]


def has_user_text(messages: Sequence[Mapping]) -> bool:
    """Whether a message of the user says something."""
    return any(message["role"] == "user" and (_text(message["content"]) or "").strip() for message in messages)


def messages_type_problem(type_: pa.DataType) -> str | None:
    """What keeps a column of this type from being messages ``{role, content}``, or None."""
    if not _is_list(type_) or not pa.types.is_struct(type_.value_type):
        return f"prompt is {type_}, not messages"
    fields = {field.name: field.type for field in type_.value_type}
    if not {"role", "content"} <= fields.keys():
        return f"prompt is {type_}, not messages"
    if not _is_text(fields["role"]):
        return f"prompt.role is {fields['role']}, not text"
    content = fields["content"]
    parts = _is_list(content) and (_is_text(content.value_type) or pa.types.is_struct(content.value_type))
    return None if parts or _is_text(content) else f"prompt.content is {content}, neither text nor a list of parts"


def _text(content: Any) -> str | None:
    if content is None or isinstance(content, str):
        return content
    texts = (part.get("text") if isinstance(part, Mapping) else part for part in content)
    return "".join(text for text in texts if isinstance(text, str))


def _is_list(type_: pa.DataType) -> bool:
    return pa.types.is_list(type_) or pa.types.is_large_list(type_)


def _is_text(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        return _is_text(type_.value_type)
    return pa.types.is_null(type_) or pa.types.is_string(type_) or pa.types.is_large_string(type_)
