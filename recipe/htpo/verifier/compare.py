# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Stage 3: whether two answers are the same, by the kind of value each one is. Symmetric."""

from __future__ import annotations

from fractions import Fraction

from recipe.htpo.verifier.config import VerifierConfig
from recipe.htpo.verifier.errors import OverLimit
from recipe.htpo.verifier.nodes import (
    Matrix,
    Name,
    Node,
    Num,
    Op,
    Ratio,
    Rel,
    Seq,
    SetOp,
    Words,
    children,
    is_ordered,
    is_time,
    walk,
)
from recipe.htpo.verifier.relations import (
    FLIPPED,
    by_label,
    in_label_order,
    is_label,
    label_and_values,
    repeats_a_label,
    single_steps,
)
from recipe.htpo.verifier.scalars import Scalars, infinity_sign
from recipe.htpo.verifier.sets import (
    EVERYTHING,
    INFINITY,
    SET_OPERATIONS,
    Bound,
    Interval,
    RealSet,
    complement,
    intersection,
    sets_equal,
    union,
)
from recipe.htpo.verifier.signs import expand_signs
from recipe.htpo.verifier.text import words_equal

_ORDERS = frozenset({"<", "<=", ">", ">="})


class Comparison:
    """One comparison of two trees under one work limit."""

    def __init__(self, config: VerifierConfig) -> None:
        self.config = config
        self.scalars = Scalars(config)
        # By identity: a member of a list meets many others. The node is held so that no other gets its identity.
        self._expanded: dict[int, tuple[Node, Node]] = {}

    def equal(self, left: Node, right: Node) -> bool:
        """Whether two answers are the same."""
        self.scalars.ops.spend(2)
        if left == right:
            return True
        left, right = self._expand(left), self._expand(right)
        if isinstance(left, Rel) or isinstance(right, Rel):
            return self._relations(left, right)
        if _is_set(left) or _is_set(right):
            return self._sets(left, right)
        if isinstance(left, Matrix) or isinstance(right, Matrix):
            return self._matrices(left, right)
        if isinstance(left, Seq) or isinstance(right, Seq):
            return self._sequences(left, right)
        if isinstance(left, Ratio) or isinstance(right, Ratio):
            return self._ratios(left, right)
        if _is_residue(left) or _is_residue(right):
            return self._residues(left, right)
        if isinstance(left, Words) or isinstance(right, Words):
            a, b = _spelling(left), _spelling(right)
            return a is not None and b is not None and words_equal(a, b)
        return self.scalars.equal(left, right)

    def _expand(self, node: Node) -> Node:
        found = self._expanded.get(id(node))
        if found is None:
            self.scalars.ops.spend(sum(3.0 for _ in walk(node)))
            found = self._expanded[id(node)] = (node, expand_signs(node, self.config))
        return found[1]

    # Sequences

    def _sequences(self, left: Node, right: Node) -> bool:
        if not isinstance(left, Seq):
            return _is_set_of_one(right) and self.equal(left, children(right)[0])
        if not isinstance(right, Seq):
            return _is_set_of_one(left) and self.equal(left.items[0], right)
        if is_ordered(left) != is_ordered(right):
            if any(not is_ordered(side) and repeats_a_label(side) for side in (left, right)):
                return False  # x = 2, x = 3 are two solutions, no point
            left, right = by_label(left), by_label(right)
        if not is_ordered(left) and not is_ordered(right):
            return self._same_members(left.items, right.items)
        if len(left.items) != len(right.items) or not self._same_brackets(left, right):
            return False
        return all(self.equal(a, b) for a, b in zip(left.items, right.items, strict=True))

    def _same_brackets(self, left: Seq, right: Seq) -> bool:
        a, b = sorted((left, right), key=lambda seq: is_ordered(seq))
        if not is_ordered(a):
            return (
                a.opening == "" and a.joint != "or" and self.config.bare_list_as_tuple and b.closing in (")", "rangle")
            )
        if (a.opening, a.closing) == (b.opening, b.closing):
            return True
        if not self.config.vector_as_tuple or {a.opening + a.closing, b.opening + b.closing} & {"(]", "[)"}:
            return False
        return len(a.items) != 2 or "langle" in (a.opening, b.opening)

    def _same_members(self, left: tuple[Node, ...], right: tuple[Node, ...]) -> bool:
        """Equal as multisets: each member finds a partner of its own."""
        left, right = self._flat(left), self._flat(right)
        if len(left) != len(right):
            return False
        rest = list(right)
        for item in left:
            partner = next((index for index, other in enumerate(rest) if self._same_member(item, other)), None)
            if partner is None:
                return False
            rest.pop(partner)
        return True

    def _same_member(self, left: Node, right: Node) -> bool:
        """Equality inside a list, where ``{5}`` is another member than 5."""
        return _is_braced(left) == _is_braced(right) and self.equal(left, right)

    def _flat(self, items: tuple[Node, ...]) -> tuple[Node, ...]:
        """Members, with the values of a plus-minus as members of their own."""
        found: list[Node] = []
        for item in items:
            if isinstance(item, Rel) and item.ops == ("=",) and is_label(item.sides[0]):
                expanded = self._expand(item.sides[1])
            else:
                expanded = self._expand(item)
            if isinstance(expanded, Seq) and expanded.opening == "":
                found.extend(expanded.items)
            else:
                found.append(item)
        if len(found) > self.config.max_items:
            raise OverLimit("items")
        return tuple(found)

    # Matrices

    def _matrices(self, left: Node, right: Node) -> bool:
        if isinstance(left, Matrix) and isinstance(right, Matrix):
            if len(left.rows) != len(right.rows) or left.kind != right.kind:
                return False
            return all(
                len(a) == len(b) and all(self.equal(x, y) for x, y in zip(a, b, strict=True))
                for a, b in zip(left.rows, right.rows, strict=True)
            )
        matrix, other = (left, right) if isinstance(left, Matrix) else (right, left)
        assert isinstance(matrix, Matrix)
        entries = children(matrix)
        if (
            not self.config.vector_as_tuple
            or not isinstance(other, Seq)
            or 1 not in (len(matrix.rows), len(matrix.rows[0]))
        ):
            return False
        if other.opening not in ("(", "langle", "[") or other.closing not in (")", "rangle", "]"):
            return False
        return len(entries) == len(other.items) and all(map(self.equal, entries, other.items))

    # Ratios and times

    def _ratios(self, left: Node, right: Node) -> bool:
        if isinstance(left, Ratio) and isinstance(right, Ratio):
            if len(left.parts) != len(right.parts):
                return False
            if is_time(left) and is_time(right):
                return self._same_time(left, right)
            return all(
                self.scalars.equal(Op("mul", (a, right.parts[0])), Op("mul", (left.parts[0], b)))
                for a, b in zip(left.parts, right.parts, strict=True)
            )
        ratio, other = (left, right) if isinstance(left, Ratio) else (right, left)
        assert isinstance(ratio, Ratio)
        if not self.config.ratio_as_fraction or len(ratio.parts) != 2 or ratio.suffix:
            return False
        return not isinstance(other, Words) and self.scalars.equal(Op("div", ratio.parts), other)

    def _same_time(self, left: Ratio, right: Ratio) -> bool:
        """A time without ``am`` or ``pm`` may be in either half of the day, or count the hours from midnight."""
        (a, *behind_a), (b, *behind_b) = left.parts, right.parts
        if not all(map(self.scalars.equal, behind_a, behind_b)):
            return False
        one_half_is_open = "" in (left.suffix, right.suffix)
        if self.scalars.equal(a, b):
            return one_half_is_open or left.suffix == right.suffix
        return one_half_is_open and self.scalars.equal(_since_midnight(left), _since_midnight(right))

    # Residues

    def _residues(self, left: Node, right: Node) -> bool:
        """``8 (mod 5)`` and ``3 (mod 5)``; a number beside a residue is its representative."""
        if not (_is_residue(left) and _is_residue(right)):
            return self.scalars.equal(*(children(node)[0] if _is_residue(node) else node for node in (left, right)))
        (a, modulus), (b, other) = children(left), children(right)
        if not self.scalars.equal(modulus, other):
            return False
        return self.scalars.equal(Op("mod", (a, modulus)), Op("mod", (b, modulus)))

    # Relations

    def _relations(self, left: Node, right: Node) -> bool:
        left_label, left_values = self._values(left, asked=False)
        right_label, right_values = self._values(right, asked=True)
        both = isinstance(left, Rel) and isinstance(right, Rel)
        if left_values and right_values and (not both or self._labels_agree(left_label, right_label)):
            if any(self.equal(a, b) for a in left_values for b in right_values):
                return True
        if _is_set(left) or _is_set(right):
            names = {_bound_name(side) for side in (left, right)} - {None}
            return len(names) < 2 and self._sets(left, right)
        return isinstance(left, Rel) and isinstance(right, Rel) and self._same_solutions(left, right)

    def _values(self, node: Node, asked: bool) -> tuple[Node | None, list[Node]]:
        if not isinstance(node, Rel):
            return None, [node]
        label, values = label_and_values(node, self.scalars, asked)
        if isinstance(label, Seq) and len(values) == 1:
            return None, [in_label_order(label.items, values[0])]
        return label, values

    def _labels_agree(self, left: Node | None, right: Node | None) -> bool:
        """Different plain names are different statements, an expression is no label beside another one."""
        if left is None or right is None:
            return True
        if not is_label(left) or not is_label(right):
            return False
        return not (isinstance(left, Name) and isinstance(right, Name)) or left == right

    def _same_solutions(self, left: Rel, right: Rel) -> bool:
        """Whether two relations differ by a constant factor, link by link."""
        if len(left.ops) != len(right.ops) or not set(left.ops + right.ops) <= _ORDERS | {"=", "!="}:
            return False
        rest = single_steps(right)
        for step in single_steps(left):
            partner = next((index for index, other in enumerate(rest) if self._same_link(step, other)), None)
            if partner is None:
                return False
            rest.pop(partner)
        return True

    def _same_link(self, left: Rel, right: Rel) -> bool:
        if left.ops != right.ops or any(not _is_scalar(side) for side in left.sides + right.sides):
            return False
        sign = self.scalars.proportional((left.sides[0], left.sides[1]), (right.sides[0], right.sides[1]))
        return sign > 0 or (sign < 0 and left.ops[0] in ("=", "!="))

    # Sets of real numbers

    def _sets(self, left: Node, right: Node) -> bool:
        a, b = self.real_set(left), self.real_set(right)
        if a is not None and b is not None:
            return sets_equal(self.scalars.ops, a, b)
        if isinstance(left, SetOp) and isinstance(right, SetOp) and left.name == right.name:
            if left.name == "setminus":
                return self.equal(left.left, right.left) and self.equal(left.right, right.right)
            return self._same_members(_operands(left), _operands(right))
        if isinstance(left, Seq) and isinstance(right, Seq):
            return self._sequences(left, right)
        return isinstance(left, Name) and left == right

    def real_set(self, node: Node) -> RealSet | None:
        """``node`` as a set of real numbers, or None where it is none or its ends carry names."""
        ops = self.scalars.ops
        match node:
            case Name(name="reals"):
                return EVERYTHING
            case SetOp(name=name, left=left, right=right):
                a, b = self.real_set(left), self.real_set(right)
                return None if a is None or b is None else SET_OPERATIONS[name](ops, a, b)
            case Seq(opening="\\{", items=items):
                points = [self._point(item) for item in self._flat(items)]
                return None if None in points else union(ops, [point for point in points if point is not None])
            case Seq(opening="", items=items, joint=joint) if all(isinstance(item, Rel) for item in items):
                return self._joined(items, joint)
            case Seq(opening="(" | "[" as opening, items=(low, high), closing=closing):
                return self._interval(low, opening == "[", high, closing == "]")
            case Rel(sides=sides, ops=rel_ops):
                return self._solutions(sides, rel_ops)
            case _:
                return None

    def _joined(self, items: tuple[Node, ...], joint: str) -> RealSet | None:
        parts = [self.real_set(item) for item in items]
        if any(part is None for part in parts) or len({_bound_name(item) for item in items}) > 1:
            return None
        found = [part for part in parts if part is not None]
        if joint == "or":
            return union(self.scalars.ops, [piece for part in found for piece in part])
        if joint == "and" or all(isinstance(item, Rel) and item.ops == ("!=",) for item in items):
            result = found[0]
            for part in found[1:]:
                result = intersection(self.scalars.ops, result, part)
            return result
        return None

    def _bound(self, node: Node) -> Bound | None:
        sign = infinity_sign(node)
        return (
            (INFINITY if sign > 0 else INFINITY.copy_negate())
            if sign
            else self.scalars.real_constant(node)
            if _is_scalar(node)
            else None
        )

    def _point(self, node: Node) -> Interval | None:
        bound = self._bound(node)
        return None if bound is None else Interval(bound, True, bound, True)

    def _interval(self, low: Node, low_closed: bool, high: Node, high_closed: bool) -> RealSet | None:
        a, b = self._bound(low), self._bound(high)
        if a is None or b is None:
            return None
        return [Interval(a, low_closed and not infinity_sign(low), b, high_closed and not infinity_sign(high))]

    def _solutions(self, sides: tuple[Node, ...], ops: tuple[str, ...]) -> RealSet | None:
        """The solutions of ``x < 3``, ``1 <= x < 3``, ``x != 3`` and ``x in S``; the name stands alone."""
        if ops == ("in",):
            return self.real_set(sides[1])
        if ops == ("!=",):
            point = self._point(sides[1]) if is_label(sides[0]) else None
            return None if point is None else complement(self.scalars.ops, [point])
        if not set(ops) <= _ORDERS:
            return None
        if len(sides) == 2:
            if is_label(sides[1]):
                sides, ops = (sides[1], sides[0]), (FLIPPED[ops[0]],)
            if not is_label(sides[0]):
                return self._half_line(sides[0], sides[1], ops[0])
            if ops[0] in ("<", "<="):
                return self._interval(Op("neg", (Name("infty"),)), False, sides[1], ops[0] == "<=")
            return self._interval(sides[1], ops[0] == ">=", Name("infty"), False)
        if len(sides) == 3 and is_label(sides[1]) and len({op[0] for op in ops}) == 1:
            if ops[0][0] == ">":
                sides, ops = sides[::-1], (FLIPPED[ops[1]], FLIPPED[ops[0]])
            return self._interval(sides[0], ops[0] == "<=", sides[2], ops[1] == "<=")
        return None

    def _half_line(self, left: Node, right: Node, op: str) -> RealSet | None:
        """The solutions of an inequality that is linear in one name, such as ``-x > -1`` or ``2x + 3 <= 7``."""
        line = self.scalars.line(left, right)
        if line is None:
            return None
        slope, root = line
        if slope < 0:
            op = FLIPPED[op]
        if op in ("<", "<="):
            return [Interval(INFINITY.copy_negate(), False, root, op == "<=")]
        return [Interval(root, op == ">=", INFINITY, False)]


def _spelling(node: Node) -> str | None:
    """The text of words, also where a short word was read as a product of letters."""
    match node:
        case Words(text=text) | Name(name=text):
            return text
        case Op(name="mul", args=args) if all(isinstance(arg, Name) for arg in args):
            return "".join(arg.name for arg in args if isinstance(arg, Name))
        case _:
            return None


def _since_midnight(time: Ratio) -> Node:
    """The hour, counted from midnight where it is said to be in the afternoon."""
    return Op("add", (time.parts[0], Num(Fraction(12)))) if time.suffix == "pm" else time.parts[0]


def _is_braced(node: Node) -> bool:
    return isinstance(node, Seq) and node.opening == "\\{"


def _is_residue(node: Node) -> bool:
    return isinstance(node, Op) and node.name == "residue"


def _is_set_of_one(node: Node) -> bool:
    """``{5}``, which answers 5; the set of a set or of the empty set is another object."""
    if not (isinstance(node, Seq) and _is_braced(node) and len(node.items) == 1):
        return False
    return not isinstance(node.items[0], Words | SetOp) and not _is_braced(node.items[0])


def _is_set(node: Node) -> bool:
    """Whether ``node`` can only be a set of numbers, not a tuple or a number."""
    match node:
        case SetOp() | Name(name="reals"):
            return True
        case Seq(opening=opening, closing=closing) if opening + closing in ("(]", "[)"):
            return True
        case Seq(opening="", items=items):
            return all(isinstance(item, Rel) and _is_set(item) for item in items)
        case Rel(ops=ops, sides=sides):
            return not set(ops).isdisjoint(_ORDERS | {"!="}) or (ops == ("in",) and _is_set(sides[1]))
        case _:
            return False


def _bound_name(node: Node) -> str | None:
    """The name that a relation is about."""
    if isinstance(node, Seq) and node.items and isinstance(node.items[0], Rel):
        node = node.items[0]
    if isinstance(node, Rel):
        return next((side.name for side in node.sides if isinstance(side, Name) and is_label(side)), None)
    return None


def _operands(node: SetOp) -> tuple[Node, ...]:
    left = _operands(node.left) if isinstance(node.left, SetOp) and node.left.name == node.name else (node.left,)
    return (*left, node.right)


def _is_scalar(node: Node) -> bool:
    return not isinstance(node, Seq | Rel | Matrix | SetOp | Words | Ratio)
