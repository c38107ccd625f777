"""One HTML file that holds everything: the page's own style and script, and the data, compressed.

The data can neither end its element nor be taken for markup, whatever documents and agents wrote: it is base64 of deflated JSON.
The page puts it on the screen as text only, and its Content-Security-Policy lets nothing in from outside. Knows no run.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import zlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jade_env.errors import DataError

SCRIPTS = ("text.js", "charts.js", "overview.js", "episodes.js", "traces.js", "keys.js", "main.js")
"""In the order they run in; together they are one script."""


def render(title: str, data: Mapping[str, Any]) -> str:
    """The page.

    Args:
        title: of the window; text, not markup.
        data: JSON values, as `main.js` reads them.

    Raises:
        DataError: the data holds a number that is not finite.
    """
    folder = files("jade_env.research.report") / "page"
    style = (folder / "style.css").read_text(encoding="utf-8")
    script = "".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    script = f'(() => {{\n"use strict";\n{script}}})();\n'
    parts = {
        "title": html.escape(title),
        "policy": _policy(style, script),
        "style": style,
        "script": script,
        "data": packed(data),
    }
    pieces = (folder / "page.html").read_text(encoding="utf-8").split("%%")  # text, name, text, name, ..., text
    return "".join(piece if number % 2 == 0 else parts[piece] for number, piece in enumerate(pieces))


def packed(data: Mapping[str, Any]) -> str:
    """JSON, deflated, as base64: letters, digits, `+`, `/` and `=`.

    Raises:
        DataError: the data holds a number that is not finite.
    """
    try:
        content = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise DataError(f"the report's data: {error}") from None
    return base64.b64encode(zlib.compress(content.encode("utf-8", "surrogatepass"), 6)).decode("ascii")


def unpacked(page: str) -> dict[str, Any]:
    """The data of a page that `render` made.

    Raises:
        DataError: it is no such page.
    """
    _, found, rest = page.partition('<script id="data" type="application/json">"')
    if not found:
        raise DataError("this is no report: it has no data")
    content = zlib.decompress(base64.b64decode(rest.partition('"')[0]))
    tree: dict[str, Any] = json.loads(content)
    return tree


def _policy(style: str, script: str) -> str:
    """Nothing is loaded from anywhere; the one style and the one script of the page are known by their hashes."""
    rules = {
        "default-src": "'none'",
        "style-src": _hash(style),
        "script-src": _hash(script),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
