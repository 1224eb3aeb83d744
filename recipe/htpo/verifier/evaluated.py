# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The asked form: which trees are an evaluated number, and which are several answers."""

from __future__ import annotations

from recipe.htpo.verifier.config import VerifierConfig
from recipe.htpo.verifier.nodes import Based, Name, Node, Num, Op, Quantity, Rel, Seq, walk
from recipe.htpo.verifier.relations import is_label

_WRAPPERS = frozenset({"percent", "degree", "residue"})


def is_evaluated(pred: Node, truth: Node, config: VerifierConfig) -> bool:
    """Whether ``pred`` has the form that ``truth`` demands under ``config.require_evaluated``."""
    if config.require_evaluated == "never":
        return True
    if _uses(truth, "degree") and Name("pi") in set(walk(pred)):
        return True
    fractions = config.require_evaluated == "number" or _uses(truth, "percent")
    if not _is_number(truth, fractions) or not (fractions or _is_integer(truth)):
        return True
    sides = pred.sides if isinstance(pred, Rel) else (pred,)
    return any(_is_number(side, fractions) for side in sides)


def is_evaluated_text(pred: str, truth: str, config: VerifierConfig) -> bool:
    """The same for two literals (:mod:`.literal`): only a fraction is not evaluated, and only for an integer."""
    fraction = "frac" in pred or "/" in pred
    return config.require_evaluated != "integer" or not fraction or "frac" in truth or "/" in truth or "." in truth


def _unwrap(node: Node) -> Node:
    """The number inside a sign, a unit, a percent sign, a label or a set of one."""
    signed = False
    while True:
        if isinstance(node, Op) and node.name in _WRAPPERS:
            node = node.args[0]
        elif isinstance(node, Quantity):
            node = node.value
        elif isinstance(node, Rel) and node.ops[-1] == "=" and is_label(node.sides[0]):
            node = node.sides[-1]
        elif isinstance(node, Seq) and node.opening == "\\{" and len(node.items) == 1:
            node = node.items[0]
        elif isinstance(node, Op) and node.name == "neg" and not signed:
            node, signed = node.args[0], True
        else:
            return node


def _uses(node: Node, name: str) -> bool:
    return any(isinstance(part, Op) and part.name == name for part in walk(node))


def _is_integer(node: Node) -> bool:
    node = _unwrap(node)
    return isinstance(node, Num) and node.value.denominator == 1


def _is_number(node: Node, fractions: bool) -> bool:
    node = _unwrap(node)
    match node:
        case Num() | Based() | Op(name="mixed"):
            return True
        case Op(name="pow", args=(Num(value=value), exponent)) if value == 10:
            return isinstance(_unwrap(exponent), Num)
        case Op(name="mul", args=(Num(), Op(name="pow") as power)):
            return _is_number(power, fractions)
        case Op(name="mul", args=(inner, Num(text=""))):
            return _is_number(inner, fractions)
        case Op(name="div", args=(top, bottom)):
            return fractions and isinstance(_unwrap(top), Num) and isinstance(_unwrap(bottom), Num)
        case _:
            return False


def is_several(node: Node) -> bool:
    """Whether ``node`` gives several answers where one may be asked."""
    return isinstance(node, Seq) and (node.opening == "" or (node.opening == "\\{" and len(node.items) > 1))
