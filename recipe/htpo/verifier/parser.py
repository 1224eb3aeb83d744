# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Tokens to a syntax tree: the structure of an answer. Scalars are read by :mod:`.expression`.

answer   = item { ("," | ";" | "and" | "or" | "quad") item }
item     = side { relation side }
side     = set { ":" set } [ unit ]
set      = sum { ("cup" | "cap" | "setminus") sum }
sum      = see expression.py
"""

from __future__ import annotations

from fractions import Fraction

from recipe.htpo.verifier.config import VerifierConfig
from recipe.htpo.verifier.errors import Unreadable
from recipe.htpo.verifier.expression import ExpressionParser
from recipe.htpo.verifier.lexer import tokenize
from recipe.htpo.verifier.nodes import Matrix, Node, Num, Op, Quantity, Ratio, Rel, Seq, SetOp, Words, is_whole
from recipe.htpo.verifier.parameters import without_condition
from recipe.htpo.verifier.units import Unit, parse_unit
from recipe.htpo.verifier.vocabulary import Token

_SEPARATORS = frozenset({",", ";", "and", "or", "quad"})
_RELATIONS = frozenset({"=", "equiv", "<", "<=", ">", ">=", "!=", "in", "~"})
_ALIGNED = frozenset({"aligned", "align", "align*", "gathered"})
_LISTS = _ALIGNED | {"cases"}
_CLOSERS = {"(": (")", "]"), "[": ("]", ")"), "\\{": ("\\}",), "langle": ("rangle",), "{": ("}",)}


def parse(text: str, config: VerifierConfig, merge_thousands: bool = True) -> Node:
    """Read a normalised answer. Raises ``Unreadable`` or ``OverLimit``."""
    return parse_tokens(without_condition(tokenize(text, config, merge_thousands)), config)


def parse_tokens(tokens: list[Token], config: VerifierConfig) -> Node:
    """Read an answer from its tokens. A left side that the grammar does not know still labels a readable right side."""
    try:
        return AnswerParser(tokens, config).answer()
    except Unreadable:
        cut = _last_equals(tokens)
        if cut is None:
            raise
        right = AnswerParser(tokens[cut + 1 :], config).answer()
        if isinstance(right, Seq | Rel) or any(
            token.kind in ("<", ">", "<=", ">=", "!=", ",") for token in tokens[:cut]
        ):
            raise
        return Rel((Words(" ".join(token.text for token in tokens[:cut])), right), ("=",))


def _last_equals(tokens: list[Token]) -> int | None:
    depth, found = 0, None
    for index, token in enumerate(tokens):
        if token.kind in ("(", "[", "{", "\\{"):
            depth += 1
        elif token.kind in (")", "]", "}", "\\}"):
            depth -= 1
        elif token.kind == "=" and depth == 0:
            found = index
    return found if found else None


class AnswerParser(ExpressionParser):
    """Recursive descent over the tokens of one answer."""

    def answer(self) -> Node:
        """The whole answer; tokens that are left over are an error."""
        node = self.infix(self.items(()))
        if self.position < len(self.tokens):
            raise Unreadable(f"{self.kind()} is left over")
        return node

    def infix(self, over: Node) -> Node:
        """TeX's ``over \\over under`` and ``over \\choose under``, which take the whole group."""
        if self.kind() not in ("over", "choose"):
            return over
        name = "div" if self.next().kind == "over" else "binom"
        return Op(name, (over, self.sum()))

    def items(self, closers: tuple[str, ...]) -> Node:
        """A list up to a closing bracket or the end; one element alone is that element."""
        found: list[Node] = []
        joints: set[str] = set()
        self.separators()
        while True:
            found.append(self.item())
            self.limit_items(len(found))
            joint = self.separators()
            if not joint or self.kind() in closers or not self.kind():
                break
            joints.add(joint)
        if len(found) == 1:
            return found[0]
        joint = "or" if "or" in joints else "and" if joints == {"and"} else ","
        return Seq("", tuple(found), "", joint)

    def separators(self) -> str:
        """Skip separators; ``or`` and ``and`` outweigh a comma."""
        joint = ""
        while self.kind() in _SEPARATORS:
            kind = self.next().kind
            joint = kind if kind in ("and", "or") else joint or ","
        return joint

    def item(self) -> Node:
        """A chain of relations, or one side alone."""
        if self.kind() in ("=", "~"):
            self.position += 1
        sides, ops = [self.side()], []
        while self.kind() in _RELATIONS:
            kind = self.next().kind
            ops.append("=" if kind == "equiv" else kind)
            side = self.side()
            sides.append(_residue(side) if kind == "equiv" else side)
            self.limit_items(len(sides))
        return Rel(tuple(sides), tuple(ops)) if ops else sides[0]

    def side(self) -> Node:
        """A set, a ratio or a scalar, with its unit."""
        parts = [self.set_expression()]
        while self.kind() == ":" and not self.in_builder:
            self.position += 1
            parts.append(self.set_expression())
        if len(parts) > 1:
            return Ratio(tuple(parts), self.noon())
        node = self.with_unit(parts[0])
        if self.accept("pmod"):
            return Op("residue", (node, self.primary()))
        return _residue(node) if _is_remainder(node) else node

    def noon(self) -> str:
        """``am`` or ``pm`` behind a time."""
        if self.kind() == "text":
            letters = self.text().lower().replace(".", "").replace(" ", "")
            if letters in ("am", "pm"):
                self.position += 1
                return letters
        return ""

    def with_unit(self, node: Node) -> Node:
        """Attach the words behind a number."""
        if self.kind() != "text" or isinstance(node, Words):
            return node
        words: list[str] = []
        while True:
            kind = self.kind()
            if kind == "text":
                words.append(self.next().text)
            elif kind == "^" and words:
                self.position += 1
                words.append("^" + self.unit_exponent())
            elif kind in ("/", "*") and words and self.kind(1) == "text":
                self.position += 1
                words.append("/" if kind == "/" else " ")
            else:
                break
        unit, factor = parse_unit(" ".join(words).replace(" ^", "^"))
        if factor > 1:
            node = Op("mul", (node, Num(Fraction(factor))))
        if self.kind() == "num" and unit.dimensions:
            return self.with_smaller_unit(node, unit)
        return Quantity(node, unit)

    def with_smaller_unit(self, number: Node, unit: Unit) -> Node:
        """``30 minutes`` behind ``1 hour``: one value, in the larger unit."""
        smaller = self.with_unit(self.number_token())
        if not isinstance(number, Num) or not isinstance(smaller, Quantity) or not isinstance(smaller.value, Num):
            raise Unreadable("a number behind a unit")
        if smaller.unit.dimensions != unit.dimensions or smaller.unit.size >= unit.size:
            raise Unreadable("a second unit that is no part of the first")
        return Quantity(Num(number.value + smaller.value.value * smaller.unit.size / unit.size), unit)

    def unit_exponent(self) -> str:
        """The exponent of a unit: ``2``, ``{2}`` or ``{-1}``."""
        braced = self.accept("{")
        sign = "-" if self.accept("-") else ""
        exponent = self.expect("num").text
        if braced:
            self.expect("}")
        return sign + exponent

    def set_expression(self) -> Node:
        """Unions, intersections and differences, from the left."""
        node = self.sum()
        count = 0
        while self.kind() in ("cup", "cap", "setminus"):
            self.limit_items(count := count + 1)
            node = SetOp(self.next().kind, node, self.sum())
        return node

    def bracketed(self) -> Node:
        """A group, tuple, interval or set; the opening bracket is the next token."""
        opening = self.next().kind
        closers = _CLOSERS[opening]
        if self.kind() in closers:
            closing = self.next().kind
            if opening == "\\{":
                return Words("empty set")
            return Seq(opening, (), closing)
        outer_abs, self.abs_depth = self.abs_depth, 0
        outer_builder, self.in_builder = self.in_builder, opening == "\\{"
        inner = self.items(closers)
        if opening == "{":
            inner = self.infix(inner)
        self.in_builder = False
        if opening == "\\{" and self.kind() in ("|", ":"):
            self.position += 1
            inner = self.items(closers)
            if not isinstance(inner, Rel | Seq):
                raise Unreadable("set builder without a condition")
            self.closing(closers)
            self.abs_depth, self.in_builder = outer_abs, outer_builder
            return inner
        closing = self.closing(closers)
        self.abs_depth, self.in_builder = outer_abs, outer_builder
        if opening == "{":
            return inner
        if isinstance(inner, Seq) and not inner.opening:
            return Seq(opening, inner.items, closing, inner.joint)
        if opening in ("\\{", "langle"):
            return Seq(opening, (inner,), closing)
        if (opening, closing) not in (("(", ")"), ("[", "]")):
            raise Unreadable("brackets do not match")
        return inner

    def closing(self, closers: tuple[str, ...]) -> str:
        """The closing bracket."""
        if self.kind() not in closers:
            raise Unreadable(f"{closers[0]} is missing")
        return self.next().kind

    def environment(self) -> Node:
        """A matrix or a system of cases; ``begin`` is the next token."""
        name = self.next().text
        if name in _ALIGNED:
            self.join_lines()
        if name == "array":
            self.column_format()
        rows: list[tuple[Node, ...]] = []
        row: list[Node] = []
        outer_abs, self.abs_depth = self.abs_depth, 0
        while self.kind() != "end":
            if self.kind() in ("\\\\", "&"):
                if self.next().kind == "\\\\" and row:
                    rows.append(tuple(row))
                    row = []
                continue
            row.append(self.item())
            self.limit_items(len(row) + sum(map(len, rows)))
            if self.kind() not in ("\\\\", "&", "end", ","):
                raise Unreadable("matrix entry")
            if name in _LISTS:
                self.accept(",")
        self.position += 1
        self.abs_depth = outer_abs
        if row:
            rows.append(tuple(row))
        if name in _LISTS:
            entries = tuple(entry for line in rows for entry in line)
            if len(entries) == 1:
                return entries[0]
            return Seq("", entries, "")
        if not rows or len({len(entries) for entries in rows}) > 1:
            raise Unreadable("rows of different length")
        return Matrix(tuple(rows), "v" if name == "vmatrix" else "")

    def join_lines(self) -> None:
        """Drop the alignment marks up to the end of the environment, and the line break before a relation."""
        end = next(
            (at for at in range(self.position, len(self.tokens)) if self.tokens[at].kind == "end"), self.position
        )
        body = [token for token in self.tokens[self.position : end] if token.kind != "&"]
        following = [token.kind for token in body[1:]] + [""]
        joined = (
            [
                token
                for token, after in zip(body, following, strict=True)
                if token.kind != "\\\\" or after not in _RELATIONS
            ]
            if body
            else []
        )
        self.tokens[self.position : end] = joined

    def column_format(self) -> None:
        """Skip ``{cc|c}`` behind ``\\begin{array}``."""
        self.expect("{")
        while self.kind() in ("name", "|"):
            self.position += 1
        self.expect("}")


def _residue(node: Node) -> Node:
    """``3 \\bmod 5`` as the residue that it names behind ``\\equiv``."""
    return Op("residue", node.args) if isinstance(node, Op) and node.name == "mod" else node


def _is_remainder(node: Node) -> bool:
    """Whether ``a \\bmod m`` computes nothing: it is its own remainder."""
    if not (isinstance(node, Op) and node.name == "mod"):
        return False
    value, modulus = node.args
    return isinstance(value, Num) and isinstance(modulus, Num) and is_whole(value) and value.value < modulus.value
