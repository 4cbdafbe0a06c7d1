"""One self-contained page to look at and pass on: no outside assets, no script but our own.

```
document   the page around the parts      chart   an SVG that a small script makes interactive
table      a table that scrolls alone     page.css, page.js   go into the page as they are
```

Names, labels and a server's words are hostile until escaped: text goes through `escape`, data
through JSON whose `<` is written as an escape, and the page's own policy lets no other script run.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Any

__all__ = ["document", "escape", "table"]

_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def document(title: str, parts: Iterable[str], *, data: Any) -> str:
    """Make the page.

    Args:
        title: Of the window; plain text.
        parts: What goes into `main`, HTML that is escaped already.
        data: What the script reads, JSON.
    """
    style = files(__name__).joinpath("page.css").read_text(encoding="utf-8")
    script = files(__name__).joinpath("page.js").read_text(encoding="utf-8")
    sha = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{sha}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>",
            *parts,
            f'</main>\n<script type="application/json" id="data">{_json(data)}</script>',
            f"<script>{script}</script>\n</body>\n</html>\n",
        )
    )


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: str = ""
) -> str:
    """Make a table that scrolls alone where the screen is narrow.

    Args:
        caption: What it shows; plain text.
        columns: Their names; plain text.
        rows: Cells; plain text.
        numbers: Positions of the columns that are numbers, as digits.
    """
    classes = [' class="number"' if str(n) in numbers else "" for n in range(len(columns))]
    head = "".join(
        f'<th scope="col"{kind}>{escape(name)}</th>'
        for name, kind in zip(columns, classes, strict=True)
    )
    body = "\n".join(
        "<tr>"
        + "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, classes, strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0">\n'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _json(data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return "".join(_UNSAFE.get(character, character) for character in text)
