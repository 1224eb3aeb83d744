# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Plus-minus: one expression that stands for several answers."""

from __future__ import annotations

from itertools import product

from recipe.htpo.verifier.config import VerifierConfig
from recipe.htpo.verifier.errors import OverLimit
from recipe.htpo.verifier.nodes import Node, Op, Quantity, Seq, is_ordered, walk


def expand_signs(node: Node, config: VerifierConfig) -> Node:
    """Replace a scalar with plus-minus by its two values, and a tuple of such scalars by all its choices."""
    if isinstance(node, Quantity | Op):
        if not any(isinstance(part, Op) and part.name in ("pm", "mp") for part in walk(node)):
            return node
        return Seq("", (_with_sign(node, True), _with_sign(node, False)), "", "or")
    if isinstance(node, Seq) and is_ordered(node):
        choices = [
            expanded.items if isinstance(expanded, Seq) and expanded.opening == "" else (item,)
            for item in node.items
            for expanded in (expand_signs(item, config),)
        ]
        count = 1
        for choice in choices:
            count *= len(choice)
        if count > config.max_items:
            raise OverLimit("plus-minus")
        if count > 1:
            return Seq("", tuple(Seq(node.opening, items, node.closing) for items in product(*choices)), "", "or")
    return node


def _with_sign(node: Node, upper: bool) -> Node:
    if isinstance(node, Quantity):
        return Quantity(_with_sign(node.value, upper), node.unit)
    if not isinstance(node, Op):
        return node
    args = tuple(_with_sign(arg, upper) for arg in node.args)
    if node.name in ("pm", "mp"):
        return args[0] if (node.name == "pm") == upper else Op("neg", args)
    return Op(node.name, args)
