# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Whether files of two Arrow types can be joined by ``datasets``, hence by verl."""

import pyarrow as pa


def join_difference(one: pa.DataType, other: pa.DataType, path: str = "") -> str | None:
    """First field that two files share with types that ``datasets`` does not align; a missing or null field is fine."""
    if _is_null(one) or _is_null(other):
        return None
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        shared = [field.name for field in one if other.get_field_index(field.name) >= 0]
        texts = (join_difference(one.field(n).type, other.field(n).type, f"{path}.{n}" if path else n) for n in shared)
        return next((text for text in texts if text), None)
    return None if _same(one, other) else f"{path} is {one} there and {other} here"


def _is_null(type_: pa.DataType) -> bool:
    return _is_null(type_.value_type) if pa.types.is_list(type_) else pa.types.is_null(type_)


def _same(one: pa.DataType, other: pa.DataType) -> bool:
    """Equality of types, the order of struct fields apart."""
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        types, others = ({field.name: field.type for field in type_} for type_ in (one, other))
        return types.keys() == others.keys() and all(_same(types[name], others[name]) for name in types)
    if pa.types.is_list(one) and pa.types.is_list(other):
        return _same(one.value_type, other.value_type)
    return one == other
