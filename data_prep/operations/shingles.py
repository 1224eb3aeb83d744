# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
r"""Word shingles: all runs of n words of a text, to find one problem inside another.

Words are runs of letters and digits in lower case, a Chinese character being a word by itself; LaTeX commands
(``\frac``, ``\left``) and all other characters are dropped, so notation does not hide a copy.
"""

import re
import unicodedata

_NUMERAL = re.compile(r"\d+")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")


_LAYOUT = re.compile(r"\\(left|right|displaystyle|,|;|!|:| )|[\s$~]")
_FRACTION = re.compile(r"\\[dt]frac")


def normalised(text: str) -> str:
    """The text without case, white space, dollars, LaTeX spacing and closing punctuation; operators stay."""
    plain = _LAYOUT.sub("", unicodedata.normalize("NFKC", text).casefold())
    return _FRACTION.sub(r"\\frac", plain).rstrip(".?!。？！")


def words(text: str) -> list[str]:
    """The words of a text."""
    return _WORD.findall(_COMMAND.sub(" ", text).lower())


def numerals(text: str) -> list[str]:
    """The numbers of a text, sorted."""
    return sorted(_NUMERAL.findall(text))


def shingles(text: str, n: int) -> set[str]:
    """All runs of ``n`` words; empty when the text has fewer."""
    parts = words(text)
    return {" ".join(parts[i : i + n]) for i in range(len(parts) - n + 1)}
