# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""The grammar of scalars, by recursive descent.

sum      = ["+" | "-" | "pm" | "mp"] product { ("+" | "-" | "pm" | "mp") product }
product  = signed { ("*" | "/" | nothing) signed }
factor   = primary { "^" exponent | "!" | "%" | "degree" | "'" }
primary  = number | name | function | group | "frac" | "sqrt" | "binom" | "|" sum "|" | floor | ceiling | matrix
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from recipe.htpo.verifier.decimals import repeated, written_period
from recipe.htpo.verifier.errors import OverLimit, Unreadable
from recipe.htpo.verifier.nodes import (
    CONSTANTS,
    Based,
    Name,
    Node,
    Num,
    Op,
    Quantity,
    Seq,
    Words,
    is_minus_one,
    is_proper_fraction,
    is_whole,
)
from recipe.htpo.verifier.reader import TokenReader
from recipe.htpo.verifier.units import parse_unit
from recipe.htpo.verifier.vocabulary import ALL_REALS, CARDINALS, Token

_STARTS_FACTOR = frozenset({
    "num", "name", "func", "(", "[", "{", "\\{", "frac", "sqrt", "cbrt", "binom", "lfloor", "lceil", "accent", "begin",
    "langle", "mathbb", "currency",
})  # fmt: skip
_SEVERAL_ARGUMENTS = frozenset({"gcd", "lcm", "max", "min", "mod"})
_TIGHTER_POSTFIXES = frozenset({"^", "!"})
"""What takes the fraction alone in ``2\\frac{1}{3}^n``, a product; a percent or degree sign takes a mixed number."""
_MOST_POSTFIXES = 8


class ExpressionParser(TokenReader):
    """Reads scalars; :class:`.parser.AnswerParser` adds the structure around them."""

    def bracketed(self) -> Node:
        """A bracketed expression of any kind."""
        raise NotImplementedError

    def environment(self) -> Node:
        """A matrix."""
        raise NotImplementedError

    def sum(self) -> Node:
        """Terms with ``+``, ``-`` and plus-minus."""
        terms: list[Node] = []
        if self.kind() in ("pm", "mp"):
            terms.append(Op(self.next().kind, (self.product(),)))
        else:
            terms.append(self.product())
        while self.kind() in ("+", "-", "pm", "mp"):
            sign = self.next().kind
            term = self.product()
            terms.append(term if sign == "+" else Op("neg" if sign == "-" else sign, (term,)))
        return terms[0] if len(terms) == 1 else Op("add", tuple(terms))

    def product(self) -> Node:
        """Signed factors with ``*``, ``/`` or nothing between them; ``a/b c`` is ``(a c)/b``."""
        if self.kind() in ("-", "+"):
            self.enter()
            sign = self.next().kind
            node = self.product()
            self.leave()
            return Op("neg", (node,)) if sign == "-" else node
        over: list[Node] = [self.factor()]
        under: list[Node] = []
        while True:
            kind = self.kind()
            if kind in ("*", "/"):
                self.position += 1
                negative = self.accept("-")
                if not negative:
                    self.accept("+")
                right = self.factor()
                (over if kind == "*" else under).append(Op("neg", (right,)) if negative else right)
            elif kind == "bmod":
                self.position += 1
                over, under = [Op("mod", (_quotient(over, under), self.factor()))], []
                self.limit_items(self.mods)
                self.mods += 1
            elif kind in _STARTS_FACTOR or (kind == "|" and self.abs_depth == 0 and not self.in_builder):
                self.adjacent(over, under)
            else:
                return _quotient(over, under)

    def adjacent(self, over: list[Node], under: list[Node]) -> None:
        """Append a factor without a sign before it: a mixed number or an implied product."""
        left = over[-1]
        if isinstance(left, Num) and self.kind() == "num":
            if under:
                raise Unreadable("numbers side by side")
            over[-1] = self.plain_mixed_number(left)
            return
        if self.kind() != "frac":
            over.append(self.factor())
            return
        fraction = self.primary()
        mixed = not under and is_whole(left) and is_proper_fraction(fraction) and self.kind() not in _TIGHTER_POSTFIXES
        if mixed:
            over[-1] = self.postfixed(Op("mixed", (left, fraction)))
        else:
            over.append(self.postfixed(fraction))

    def plain_mixed_number(self, whole: Num) -> Node:
        """``1 1/2``; other numbers side by side are no product."""
        numerator = self.next()
        if self.kind() == "/" and self.kind(1) == "num":
            self.position += 1
            denominator = self.number(self.next().text)
            part = Op("div", (self.number(numerator.text), denominator))
            if is_proper_fraction(part) and is_whole(whole):
                return Op("mixed", (whole, part))
        raise Unreadable("numbers side by side")

    def factor(self) -> Node:
        """A primary with its postfix operators."""
        return self.postfixed(self.primary())

    def postfixed(self, node: Node) -> Node:
        """``node`` with the postfix operators that follow."""
        postfixes = 0
        while True:
            kind = self.kind()
            if (postfixes := postfixes + 1) > _MOST_POSTFIXES:
                raise OverLimit("postfix operators")
            if kind == "^":
                self.position += 1
                node = Op("pow", (node, self.exponent()))
            elif kind == "!":
                self.position += 1
                if self.kind() == "!":
                    raise Unreadable("double factorial")
                node = Op("factorial", (node,))
            elif kind == "%":
                self.position += 1
                node = Op("percent", (node,))
            elif kind == "degree":
                self.position += 1
                node = Op("degree", (node,))
            elif kind == "'" and isinstance(node, Name):
                self.position += 1
                node = Name(node.name + "'")
            elif kind == "_" and isinstance(node, Name):
                self.position += 1
                node = Name(f"{node.name}_{self.subscript()}")
            elif kind == "_" and isinstance(node, Num):
                self.position += 1
                node = self.based(node)
            else:
                return node

    def exponent(self) -> Node:
        """What stands behind ``^``: a group, a signed factor without postfix, or a degree sign."""
        self.enter()
        negative = self.accept("-")
        if not negative:
            self.accept("+")
        node = self.primary()
        if self.accept("^"):
            node = Op("pow", (node, self.exponent()))
        self.leave()
        return Op("neg", (node,)) if negative else node

    def subscript(self) -> str:
        """The text of a subscript."""
        if self.kind() != "{":
            if self.kind() not in ("num", "name", "text"):
                raise Unreadable("subscript")
            return self.next().text
        depth = 0
        parts: list[str] = []
        while True:
            if not self.kind():
                raise Unreadable("subscript")
            token = self.next()
            depth += (token.kind == "{") - (token.kind == "}")
            if depth == 0:
                return "".join(parts)
            if token.kind not in ("{", "}"):
                parts.append(token.text)

    def based(self, number: Num) -> Node:
        """Digits with the base as subscript."""
        subscript = self.subscript()
        base = int(subscript) if subscript.isdecimal() and len(subscript) < 3 else 0
        if not 2 <= base <= 36 or not number.text.isdecimal():
            raise Unreadable("base")
        return Based(number.text.lstrip("0") or "0", base)

    def primary(self) -> Node:
        """One operand."""
        kind = self.kind()
        handler = _PRIMARIES.get(kind)
        if handler is None:
            raise Unreadable(f"{kind or 'end'} where an operand is expected")
        self.enter()
        node = handler(self)
        self.leave()
        return node

    def number_token(self) -> Node:
        """A number literal, with repeating decimals (``0.\\overline{3}``)."""
        text = self.next().text
        if "." in text and self.kind() == "accent" and self.text() in ("overline", "bar", "dot"):
            self.position += 1
            digits = self.subscript() if self.kind() == "{" else self.expect("num").text
            return Num(self.number(text).value + repeated(text, digits), text)
        if "." in text and self.kind() == "ldots":
            self.position += 1
            return Num(self.number(text).value + repeated(text, written_period(text)), text)
        return self.number(text)

    def number(self, text: str) -> Num:
        """The exact value of a literal, within ``max_bits``."""
        mantissa, _, exponent = text.lower().partition("e")
        shift = int(exponent or 0) if len(exponent) < 8 else self.config.max_exponent + 1
        if len(mantissa) * 10 > self.config.max_bits * 3 or abs(shift) > self.config.max_exponent:
            raise OverLimit("digits")
        return Num(Fraction(mantissa.rstrip(".") or "0") * Fraction(10) ** shift, text)

    def name_token(self) -> Node:
        """A variable or constant, or a function at a number: ``I(0)`` is no product."""
        name = self.next().text
        if name not in CONSTANTS and [self.kind(), self.kind(1), self.kind(2)] == ["(", "num", ")"]:
            name = f"{name}({self.tokens[self.position + 1].text})"
            self.position += 3
        return Name(name)

    def text_token(self) -> Node:
        """Words where a value could stand."""
        words = [self.next().text]
        while self.kind() == "text":
            words.append(self.next().text)
        text = " ".join(words)
        spelled = text.strip(" ,.").casefold()
        if spelled in ALL_REALS:
            return Name("reals")
        if spelled in CARDINALS:
            return Num(Fraction(CARDINALS[spelled]), str(CARDINALS[spelled]))
        return Words(text)

    def currency(self) -> Node:
        """``\\$18.90``."""
        self.position += 1
        value = self.factor()
        unit, factor = parse_unit("dollars")
        if self.kind() == "text":
            _, factor = parse_unit(self.text())
            if factor > 1:
                self.position += 1
        return Quantity(Op("mul", (value, Num(Fraction(factor)))) if factor > 1 else value, unit)

    def blackboard(self) -> Node:
        """``\\mathbb{R}`` and its relatives."""
        self.position += 1
        name = self.subscript()
        return Name("reals" if name == "R" else f"set {name}")

    def accent(self) -> Node:
        """A name with a bar, hat, arrow or dots: another name. A bar over the two ends of a segment is none."""
        mark = self.next().text
        marked = self.subscript()
        if mark == "overline" and len(marked) == 2 and marked.isalpha() and marked.isupper():
            return Op("mul", tuple(map(Name, marked)))
        return Name(f"{mark}({marked})")

    def argument(self) -> Node:
        """An argument of ``\\frac``: a group or a single digit or letter."""
        if self.kind() == "num" and len(self.text()) > 1 and self.text()[0].isdecimal():
            text = self.text()
            self.tokens[self.position] = Token("num", text[1:])
            return self.number(text[0])
        if self.kind() == "func":
            raise Unreadable("argument")
        return self.primary()

    def fraction(self) -> Node:
        """``\\frac{a}{b}``."""
        self.position += 1
        return Op("div", (self.argument(), self.argument()))

    def binomial(self) -> Node:
        """``\\binom{n}{k}``."""
        self.position += 1
        return Op("binom", (self.argument(), self.argument()))

    def root(self) -> Node:
        """``\\sqrt[n]{x}``, ``\\sqrt x`` and ``sqrt(x)``."""
        degree: Node = Num(Fraction(3 if self.next().kind == "cbrt" else 2))
        if self.kind() == "[":
            degree = self.bracketed()
        return Op("root", (self.primary(), degree))

    def absolute(self) -> Node:
        """``|x|``."""
        self.position += 1
        self.abs_depth += 1
        node = self.sum()
        self.expect("|")
        self.abs_depth -= 1
        return Op("abs", (node,))

    def floor(self) -> Node:
        """``\\lfloor x \\rfloor``."""
        return self.fenced("floor", "rfloor")

    def ceiling(self) -> Node:
        """``\\lceil x \\rceil``."""
        return self.fenced("ceil", "rceil")

    def fenced(self, name: str, closer: str) -> Node:
        """A function written as brackets."""
        self.position += 1
        outer, self.abs_depth = self.abs_depth, 0
        node = self.sum()
        self.expect(closer)
        self.abs_depth = outer
        return Op(name, (node,))

    def function(self) -> Node:
        """A named function with its power, base and argument."""
        name = self.next().text
        base: Node | None = None
        power: Node | None = None
        while self.kind() in ("^", "_"):
            if self.next().kind == "^":
                power = self.exponent()
            elif name == "log":
                base = self.log_base()
            else:
                raise Unreadable(f"subscript of {name}")
        if is_minus_one(power) and name in ("sin", "cos", "tan"):
            name, power = "a" + name, None
        arguments = self.function_arguments(name)
        if name == "log" and base is not None:
            node: Node = Op("div", (Op("ln", arguments), Op("ln", (base,))))
        elif name == "exp":
            node = Op("pow", (Name("e"), *arguments))
        else:
            node = Op(name, arguments)
        return node if power is None else Op("pow", (node, power))

    def log_base(self) -> Node:
        """The base of a logarithm; in ``\\log_28`` it is the first digit alone."""
        if self.kind() == "num" and self.kind(1) not in _STARTS_FACTOR:
            return self.argument()
        return self.primary()

    def function_arguments(self, name: str) -> tuple[Node, ...]:
        """Bracketed arguments, or the implied product that follows."""
        if self.kind() in ("(", "{", "["):
            inner = self.bracketed()
            if isinstance(inner, Seq):
                if name not in _SEVERAL_ARGUMENTS or not inner.items:
                    raise Unreadable(f"arguments of {name}")
                return inner.items
            if self.kind() != "^" or name in _SEVERAL_ARGUMENTS:
                return (inner,)
            self.position += 1
            return (Op("pow", (inner, self.exponent())),)
        if self.accept("-"):
            return (Op("neg", (self.factor(),)),)
        factors = [self.factor()]
        while self.kind() in _STARTS_FACTOR and self.kind() not in ("func", "("):
            if isinstance(factors[-1], Num) and self.kind() == "num":
                raise Unreadable("numbers side by side")
            factors.append(self.factor())
        return (_quotient(factors, []),)


def _quotient(over: list[Node], under: list[Node]) -> Node:
    top = over[0] if len(over) == 1 else Op("mul", tuple(over))
    if not under:
        return top
    return Op("div", (top, under[0] if len(under) == 1 else Op("mul", tuple(under))))


_PRIMARIES: dict[str, Callable[[ExpressionParser], Node]] = {
    "num": ExpressionParser.number_token,
    "name": ExpressionParser.name_token,
    "text": ExpressionParser.text_token,
    "func": ExpressionParser.function,
    "frac": ExpressionParser.fraction,
    "binom": ExpressionParser.binomial,
    "sqrt": ExpressionParser.root,
    "cbrt": ExpressionParser.root,
    "|": ExpressionParser.absolute,
    "lfloor": ExpressionParser.floor,
    "lceil": ExpressionParser.ceiling,
    "accent": ExpressionParser.accent,
    "currency": ExpressionParser.currency,
    "mathbb": ExpressionParser.blackboard,
    "(": lambda parser: parser.bracketed(),
    "[": lambda parser: parser.bracketed(),
    "{": lambda parser: parser.bracketed(),
    "\\{": lambda parser: parser.bracketed(),
    "langle": lambda parser: parser.bracketed(),
    "begin": lambda parser: parser.environment(),
}
