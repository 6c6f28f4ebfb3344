"""A report as data, and its three renderings: Markdown, HTML and LaTeX."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from unmorph.errors import ConfigError, DataError


@dataclass(frozen=True)
class Table:
    """Headings and rows of plain text, all of one length."""

    headings: tuple[str, ...]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A title, a paragraph (or none) and a table."""

    title: str
    note: str
    table: Table


@dataclass(frozen=True)
class Picture:
    """A PNG file with its caption."""

    path: Path
    caption: str

    @classmethod
    def open(cls, path: Path) -> Picture:
        """Take the caption from the file's ``Description``, as `unmorph figure` writes it.

        Raises:
            DataError: the file is no picture.
        """
        try:
            with Image.open(path) as image:
                return cls(path, str(image.info.get("Description", path.stem)))
        except OSError as error:
            raise DataError(f"{path}: not a readable picture: {error}") from error


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    introduction: str
    sections: Sequence[Section]
    pictures: Sequence[Picture] = ()


def render(document: Document, output: Path) -> str:
    """Render a document for the file ``output``; its ending chooses the format.

    Raises:
        ConfigError: the ending is unknown; the message lists the choices.
    """
    if output.suffix not in _RENDERERS:
        raise ConfigError(f"{output}: cannot render that; end it in {', '.join(_RENDERERS)}")
    return _RENDERERS[output.suffix](document, output)


def _markdown(document: Document, output: Path) -> str:
    parts = [f"# {document.title}", document.introduction]
    for section in document.sections:
        names = section.table.headings
        lines = [names, ["---"] * len(names), *section.table.rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts += [f"## {section.title}", *filter(None, [section.note]), table]
    for picture in document.pictures:
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
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd; } }"""


def _html(document: Document, output: Path) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    title = html.escape(document.title)
    parts = [
        f'<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>',
        f"<style>\n{_STYLE}\n</style>",
        f"<h1>{title}</h1>\n<p>{html.escape(document.introduction)}</p>",
    ]
    for section in document.sections:
        parts.append(f"<h2>{html.escape(section.title)}</h2>")
        if section.note:
            parts.append(f"<p>{html.escape(section.note)}</p>")
        head = row(section.table.headings, "th")
        body = "\n".join(row(cells, "td") for cells in section.table.rows)
        parts.append(
            f"<div><table>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody></table></div>"
        )
    for picture in document.pictures:
        data = base64.b64encode(picture.path.read_bytes()).decode()
        caption = html.escape(picture.caption)
        parts.append(
            f'<figure><img src="data:image/png;base64,{data}" alt="{caption}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return "\n".join(parts) + "\n</html>\n"


def _latex(document: Document, output: Path) -> str:
    parts = [
        "\\documentclass{article}\n\\usepackage[landscape,margin=15mm]{geometry}\n"
        "\\usepackage{booktabs,graphicx}\n\\begin{document}",
        f"\\section*{{{_tex(document.title)}}}\n{_tex(document.introduction)}",
    ]
    for section in document.sections:
        lines = [
            "\\begin{table}[htbp]\\centering",
            f"\\caption{{{_tex(section.title)}. {_tex(section.note)}}}",
            "\\resizebox{\\ifdim\\width>\\textwidth\\textwidth\\else\\width\\fi}{!}{%",
            f"\\begin{{tabular}}{{{'l' * len(section.table.headings)}}}\\toprule",
            " & ".join(map(_tex, section.table.headings)) + " \\\\\\midrule",
            *(" & ".join(map(_tex, row)) + " \\\\" for row in section.table.rows),
            "\\bottomrule\\end{tabular}}\n\\end{table}",
        ]
        parts.append("\n".join(lines))
    for picture in document.pictures:
        parts.append(
            "\\begin{figure}[htbp]\\centering\n"
            f"\\includegraphics[width=\\textwidth]{{{_relative(picture.path, output)}}}\n"
            f"\\caption{{{_tex(picture.caption)}}}\n\\end{{figure}}"
        )
    return "\n\n".join(parts) + "\n\\end{document}\n"


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
