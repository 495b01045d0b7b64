"""Text from anywhere (labels, names, messages, paths, records) made safe for the page on which it is shown.

Every output goes through one of these functions: `markdown` and `prose` for a page, `html` for its twin, `csv_cell`
for a table that a spreadsheet opens, `tex` for LaTeX. A terminal has `printable` and `one_line` of `errors`; pictures
go through `printable`, with the mathematics of matplotlib switched off.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from html import escape
from typing import Any

from ..errors import LONGEST, one_line, printable

_HTML = re.compile(r"<|&(?=#?\w+;)")
_WORDS = re.compile(r"[\\`*$|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|~(?=~)")
_BLOCK = re.compile(r"[#>=~]|[-+](?:\s|[-=]|$)|\*\s")  # begins a heading, a quotation, a rule or a list


def markdown(text: Any) -> str:
    """A value inside a page: it stands there as it is, and is no markup, link, formula, HTML or table border."""
    text = one_line(str(text))
    return _html(_WORDS.sub(lambda found: "\\" + found[0], text)).replace("](", "]\\(")


def code(text: Any) -> str:
    """A value as `code` inside a page."""
    return "`" + one_line(str(text)).replace("`", "'") + "`"


def fenced(command: str) -> str:
    """A command inside a fence of code: one line that cannot end the fence."""
    return one_line(command, 20 * LONGEST).replace("```", "'''")


def prose(text: Any) -> str:
    """A sentence inside a page: emphasis and `code` stay, HTML, links, headings, fences and line breaks do not."""
    text = one_line(str(text), 20 * LONGEST).replace("```", "'''").replace("](", "]\\(")
    text = _html(text).lstrip()
    return f"\\{text}" if _BLOCK.match(text) else text


def _html(text: str) -> str:
    return _HTML.sub(lambda found: "&lt;" if found[0] == "<" else "&amp;", text)


def paragraphs(text: str) -> str:
    """Several sentences of `prose`, an empty line between paragraphs."""
    return "\n\n".join(prose(part) for part in re.split(r"\n\s*\n", text.strip()))


def html(text: Any) -> str:
    """A value inside an HTML page, also in an attribute."""
    return escape(printable(str(text)))


def csv_cell(value: Any) -> Any:
    """A cell that a spreadsheet does not take for a formula; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    text = printable(value, keep="\n")
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


_TEX: dict[str, str] = {
    **{character: "\\" + character for character in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"$<$", ">": r"$>$", "|": r"$|$", '"': "''",
    "–": "--", "—": "---", "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "÷": r"$\div$",
    "≤": r"$\leq$", "≥": r"$\geq$", "≠": r"$\neq$", "≈": r"$\approx$", "∞": r"$\infty$", "→": r"$\rightarrow$",
    "←": r"$\leftarrow$", "†": r"$^{\dagger}$", "°": r"$^{\circ}$", "²": "$^{2}$", "³": "$^{3}$", "½": "1/2",
    "…": r"\ldots{}", "‘": "`", "’": "'", "“": "``", "”": "''", "„": ",,", "•": r"$\bullet$", "√": r"$\surd$",
    "∑": r"$\sum$", "∈": r"$\in$", "§": r"\S{}", "¿": "?`", "¡": "!`", "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}",
    "æ": r"\ae{}", "Æ": r"\AE{}", "å": r"\aa{}", "Å": r"\AA{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}",
    "œ": r"\oe{}", "Œ": r"\OE{}",
}  # fmt: skip
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau"
    " upsilon phi chi psi omega"
)
_CAPITALS = "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
_ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
            "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c"}  # fmt: skip


def tex(text: Any) -> str:
    """`text` for LaTeX, in ASCII alone, so that it compiles whatever the paper loads; what LaTeX has no letter for
    stands as its number, as in U+4E2D."""
    return "".join(map(_tex_character, one_line(str(text), 20 * LONGEST)))


@cache
def _tex_character(character: str) -> str:
    if character in _TEX:
        return _TEX[character]
    if character.isascii():
        return character
    if found := re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", unicodedata.name(character, "")):
        name = found[2].lower().replace("lamda", "lambda")
        name = name if found[1] == "SMALL" else name.capitalize()
        if name in (_GREEK if found[1] == "SMALL" else _CAPITALS).split():
            return rf"$\{name}$"
    base, *marks = list(unicodedata.normalize("NFD", character))
    if base.isascii() and len(marks) == 1 and marks[0] in _ACCENTS:
        return rf"\{_ACCENTS[marks[0]]}{{{base}}}"
    plain = unicodedata.normalize("NFKC", character)
    return "".join(map(_tex_character, plain)) if plain != character else f"U+{ord(character):04X}"
