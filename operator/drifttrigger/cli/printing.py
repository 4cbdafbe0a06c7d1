"""How commands print: coloured tables on a terminal, plain aligned text elsewhere.

What comes from a cluster is never trusted with the terminal: control characters are shown as
escapes. NO_COLOR is honoured (https://no-color.org).
"""

import json
from collections.abc import Sequence
from typing import Any

import click
import msgspec
import yaml
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

Json = dict[str, Any]
_GAP = "   "
_WIDEST = 10_000
_GOOD_IF = {"DRIFTED": "False", "READY": "True", "SUCCEEDED": "True"}
STYLES = {"good": "green", "bad": "bold red", "warn": "yellow", "plain": "", "dim": "dim"}


class Rows(msgspec.Struct, frozen=True):
    """A table: headers in capitals, as kubectl writes them, and rows of text."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def printable(text: object) -> str:
    """Show a text on one line without what a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def tone_of(header: str, cell: str) -> str:
    """Say how a cell of a condition's column is to look: good, bad, warn or plain."""
    good = _GOOD_IF.get(header)
    if good is None:
        return "plain"
    if cell in ("Unknown", ""):
        return "warn"
    if cell not in ("True", "False"):
        return "plain"
    return "good" if cell == good else "bad"


def console(*, width: int | None = None) -> Console:
    """Return standard output as rich sees it: no codes in a pipe, none under NO_COLOR."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True, width=width)


def print_table(table: Rows) -> None:
    """Print a table; one wider than the terminal is wrapped by it, as torn words are worse."""
    out = console()
    if not out.is_terminal:
        for line in aligned(table):
            click.echo(line)
        return
    made = _coloured(table)
    needed = out.measure(made, options=out.options.update(width=_WIDEST)).maximum
    console(width=max(out.width, needed)).print(made, soft_wrap=False)


def _coloured(table: Rows) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, len(_GAP), 0, 0), header_style="bold")
    for header in table.headers:
        made.add_column(header, no_wrap=True)
    for row in table.rows:
        cells = zip(table.headers, row, strict=True)
        made.add_row(*(Text(printable(c), STYLES[tone_of(h, c)]) for h, c in cells))
    return made


def widths_of(table: Rows) -> list[int]:
    """Return the width of each column, in cells of a terminal."""
    lines = (table.headers, *table.rows)
    return [max(cell_len(printable(c)) for c in column) for column in zip(*lines, strict=True)]


def aligned(table: Rows) -> list[str]:
    """Lay a table out as kubectl does; the headers are the first line."""
    widths = widths_of(table)
    return [align(line, widths) for line in (table.headers, *table.rows)]


def align(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Lay one row out; a cell wider than its column pushes the rest to the right."""
    shown = [printable(cell) for cell in cells]
    padded = [
        cell + " " * (width - cell_len(cell)) for cell, width in zip(shown, widths, strict=True)
    ]
    return _GAP.join(padded).rstrip()


def as_document(value: Any, form: str) -> str:
    """Write a value as JSON or YAML.

    Args:
        value: JSON values.
        form: `json` or `yaml`.
    """
    if form == "json":
        return json.dumps(value, indent=2, ensure_ascii=False)
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
    return text.rstrip("\n")


def without_bookkeeping(body: Json) -> Json:
    """Leave out managedFields, as kubectl does."""
    metadata = {k: v for k, v in (body.get("metadata") or {}).items() if k != "managedFields"}
    return {**body, "metadata": metadata}
