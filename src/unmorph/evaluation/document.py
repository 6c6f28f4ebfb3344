"""A report as data, and its three renderings: Markdown, HTML and LaTeX."""

from __future__ import annotations

import base64
import html
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from unmorph.errors import ConfigError, DataError


@dataclass(frozen=True)
class Table:
    """Headings and rows of plain text, all of one length."""

    headings: tuple[str, ...] = ()
    rows: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Picture:
    """A picture file with its caption.

    Attributes:
        mime: the kind of the file, such as ``image/png``.
    """

    path: Path
    caption: str
    mime: str = "image/png"

    @classmethod
    def open(cls, path: Path) -> Picture:
        """Take the caption from the file, where `unmorph figure` wrote it.

        It is the file's ``Description``, then which ``Networks`` and ``Software`` made it, their
        hashes cut to the 12 digits that tables have.

        Raises:
            DataError: the file is no picture, or of no kind that browsers and LaTeX show.
        """
        try:
            with Image.open(path) as image:
                found, kind = dict(image.info), image.format
        except OSError as error:
            raise DataError(f"{path}: not a readable picture: {error}") from error
        if kind not in ("PNG", "JPEG"):
            raise DataError(f"{path}: a {kind} picture; give a PNG or a JPEG")
        parts = [str(found.get("Description", path.stem))]
        parts += [f"{key}: {found[key]}" for key in ("Networks", "Software") if key in found]
        return cls(path, _HASH.sub(r"\1", ". ".join(parts)), Image.MIME[kind])


_HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28,52}\b")


@dataclass(frozen=True)
class Section:
    """A title and what follows it: a paragraph, a table and pictures, each if there is one.

    Attributes:
        level: 1, or 2 where it is part of the last section of level 1.
    """

    title: str
    note: str = ""
    table: Table = Table()
    level: int = 1
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    introduction: str
    sections: Sequence[Section]


def render(document: Document, output: Path) -> str:
    """Render a document for the file ``output``; its ending chooses the format.

    Raises:
        ConfigError: the ending is unknown; the message lists the choices.
    """
    if output.suffix not in _RENDERERS:
        raise ConfigError(f"{output}: cannot render that; end it in {', '.join(_RENDERERS)}")
    return _RENDERERS[output.suffix](document, output)


def _anchored(document: Document) -> Iterator[tuple[str, Section]]:
    """Yield each section with its anchor: the one that GitHub gives to a heading of that title."""
    seen: Counter[str] = Counter()
    for section in document.sections:
        anchor = re.sub(r"[^\w\- ]", "", section.title.lower()).replace(" ", "-")
        yield f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor, section
        seen[anchor] += 1


def _markdown(document: Document, output: Path) -> str:
    contents = [
        f"{'  ' * (section.level - 1)}- [{section.title}](#{anchor})"
        for anchor, section in _anchored(document)
    ]
    parts = [f"# {document.title}", document.introduction, "\n".join(contents)]
    for section in document.sections:
        parts.append(f"{'#' * (section.level + 1)} {section.title}")
        if section.note:
            parts.append(section.note)
        if names := section.table.headings:
            lines = [names, ["---"] * len(names), *section.table.rows]
            parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
        for picture in section.pictures:
            parts.append(f"![{picture.caption}]({_relative(picture.path, output)})")
            parts.append(picture.caption)
    return "\n\n".join(part.strip() for part in parts) + "\n"


_STYLE = """\
body { font: 15px/1.5 sans-serif; max-width: 90em; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
div { overflow-x: auto; }
th, td { padding: .25em .7em; text-align: left; white-space: nowrap; }
th { border-bottom: 2px solid #888; }
td { border-bottom: 1px solid #ddd; }
img { max-width: 100%; }
nav .level2 { margin-left: 2em; }
@media (prefers-color-scheme: dark) {
body { background: #111; color: #ddd; }
a { color: #8bf; }
}"""


def _html(document: Document, output: Path) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    title = html.escape(document.title)
    contents = "\n".join(
        f'<li class="level{section.level}"><a href="#{html.escape(anchor)}">'
        f"{html.escape(section.title)}</a></li>"
        for anchor, section in _anchored(document)
    )
    parts = [
        f'<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>',
        f"<style>\n{_STYLE}\n</style>",
        f"<h1>{title}</h1>\n<p>{html.escape(document.introduction)}</p>",
        f"<nav><ul>\n{contents}\n</ul></nav>",
    ]
    for anchor, section in _anchored(document):
        tag = f"h{section.level + 1}"
        name = html.escape(section.title)
        parts.append(f'<{tag} id="{html.escape(anchor)}">{name}</{tag}>')
        if section.note:
            parts.append(f"<p>{html.escape(section.note)}</p>")
        if section.table.headings:
            head = row(section.table.headings, "th")
            body = "\n".join(row(cells, "td") for cells in section.table.rows)
            parts.append(
                f"<div><table>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody></table></div>"
            )
        for picture in section.pictures:
            data = base64.b64encode(picture.path.read_bytes()).decode()
            caption = html.escape(picture.caption)
            parts.append(
                f'<figure><img src="data:{picture.mime};base64,{data}" alt="{caption}">'
                f"<figcaption>{caption}</figcaption></figure>"
            )
    return "\n".join(parts) + "\n</html>\n"


#: What LaTeX loads and sets: landscape, and tables in small print that go on over pages.
_PREAMBLE = r"""\documentclass{article}
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\usepackage{array,booktabs,graphicx,longtable}
\setcounter{secnumdepth}{0}
\setlength{\tabcolsep}{3pt}
\setlength{\LTleft}{0pt}
\begin{document}"""

#: About how many characters of that print a line holds, of which a column's gap takes two.
_LINE = 190
_GAP = 2

#: More than so many characters of a cell are wrapped where a table is too wide.
_WRAPPED = 24


def _latex(document: Document, output: Path) -> str:
    parts = [
        _PREAMBLE,
        f"\\section*{{{_tex(document.title)}}}\n{_tex(document.introduction)}",
        "\\tableofcontents",
    ]
    for section in document.sections:
        command = "section" if section.level == 1 else "subsection"
        parts.append(f"\\{command}{{{_tex(section.title)}}}")
        if section.note:
            parts.append(_tex(section.note))
        if section.table.headings:
            parts.append(_longtable(section.table))
        for picture in section.pictures:
            parts.append(
                "\\begin{figure}[htbp]\\centering\n"
                "\\includegraphics[width=\\textwidth,height=0.8\\textheight,keepaspectratio]"
                f"{{{_relative(picture.path, output)}}}\n"
                f"\\par {_tex(picture.caption)}\n\\end{{figure}}"
            )
    return "\n\n".join(parts) + "\n\n\\end{document}\n"


def _longtable(table: Table) -> str:
    """Return a table that breaks over pages, its head on each; too wide ones wrap their cells."""

    def row(cells: Sequence[str]) -> str:
        return " & ".join(map(_tex, cells)) + " \\\\"

    lines = [
        f"{{\\scriptsize\n\\begin{{longtable}}{{{_columns(table)}}}",
        f"\\toprule\n{row(table.headings)}\n\\midrule\n\\endhead",
        "\\bottomrule\n\\endfoot",
        *map(row, table.rows),
        "\\end{longtable}}",
    ]
    return "\n".join(lines)


def _columns(table: Table) -> str:
    """Return the columns' specification: natural widths where they fit, else shares of a line."""
    columns = list(zip(table.headings, *table.rows, strict=True))
    widths = [max(map(len, cells)) for cells in columns]
    room = _LINE - _GAP * len(columns)
    if sum(widths) <= room:
        return "l" * len(columns)
    # A column is never narrower than its longest word, which does not break.
    words = [max(map(len, " ".join(cells).split()), default=1) for cells in columns]
    widths = [max(min(width, _WRAPPED), word) for width, word in zip(widths, words, strict=True)]
    share = room / _LINE / sum(widths)
    return "".join(
        f">{{\\raggedright\\arraybackslash}}p{{{share * width:.3f}\\linewidth}}" for width in widths
    )


_TEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": "\\textbackslash{}",
        "~": "\\textasciitilde{}",
        "^": "\\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "±": "$\\pm$",
        "×": "$\\times$",  # noqa: RUF001 (the multiplication sign is what tables show)
        # After the end of a row these two would be its options.
        "[": "{[}",
        "*": "{*}",
    }
)


def _tex(text: str) -> str:
    return text.translate(_TEX)


def _relative(path: Path, output: Path) -> str:
    return Path(os.path.relpath(path, output.parent)).as_posix()


_RENDERERS: dict[str, Callable[[Document, Path], str]] = {
    ".md": _markdown,
    ".html": _html,
    ".tex": _latex,
}
