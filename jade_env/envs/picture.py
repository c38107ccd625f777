"""A trace drawn as a tree of boxes and arrows, left to right, with matplotlib's Agg canvas; no pyplot, no global state.

Knows only the branches of `branches.py`; imported when a picture is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jade_env.envs.branches import GOLD, Branch, Row
from jade_env.errors import MissingExtra

try:
    from matplotlib import font_manager
    from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
except ImportError:
    raise MissingExtra("matplotlib", "report") from None

WIDTH, HEIGHT, DPI = 1280, 720, 100
MARGIN, GAP, FOOTER = 22, 54, 92
SIDE, PAD, LINE = 14, 8, 17

INK, FAINT, BORDER, EDGE, PAPER, CARD = "#1f2933", "#66727f", "#cbd2d9", "#9aa5b1", "#f4f6f8", "#ffffff"
BLUE, RED, AMBER = "#1746a2", "#c0392b", "#8a5a00"
COLOURS = {"QDS": "#6b4fbb", "QDP": "#8d3f97", "R": "#b7791f", "QR": "#0b7285", "DS": "#2f6fb2", "AG": "#1a7f4b"}


@dataclass(frozen=True, slots=True)
class _Part:
    """One line of a card: the smaller `rank`, the longer it is kept where there is little room."""

    rank: int
    height: float
    draw: Callable[[float, float, float], None]


@dataclass(frozen=True, slots=True)
class _Box:
    """A card in its place."""

    node: Branch
    x: float
    y: float
    width: float
    height: float
    parts: Sequence[_Part]


def draw(root: Branch, verdict: Sequence[tuple[str, str]]) -> NDArray[np.uint8]:
    """Draw a trace and its closing lines: uint8, HEIGHT x WIDTH x 3."""
    nodes = list(root.walk())
    small = sum(not node.children for node in nodes) <= 3 and max(len(node.path) for node in nodes) <= 1
    sheet = _Sheet(1.25 if small else 1.0)
    boxes = _place(root, sheet)
    for box in boxes.values():
        for child in box.node.children:
            sheet.edge(box, boxes[child.path])
        if box.node.serial:
            for earlier, later in zip(box.node.children, box.node.children[1:], strict=False):
                sheet.succession(boxes[earlier.path], boxes[later.path])
    for box in boxes.values():
        _card(sheet, box)
    _footer(sheet, verdict)
    return sheet.pixels()


# ---- where things stand ---------------------------------------------------------------------------------------------


def _place(root: Branch, sheet: _Sheet) -> dict[tuple[int, ...], _Box]:
    """Columns by depth; a node has the height of its subtree at its disposal, which its leaves share evenly."""
    columns = 1 + max(len(node.path) for node in root.walk())
    width = min(700.0, (sheet.width - 2 * MARGIN - GAP * (columns - 1)) / columns)
    left = (sheet.width - width * columns - GAP * (columns - 1)) / 2
    slot = (sheet.height - FOOTER - MARGIN) / sum(not node.children for node in root.walk())
    spacing = 16 if slot > 110 else 8
    boxes: dict[tuple[int, ...], _Box] = {}

    def put(node: Branch, top: float) -> float:
        bottom = top
        for child in node.children:
            bottom = put(child, bottom)
        bottom = bottom if node.children else top + slot
        room = bottom - top - spacing
        parts = _parts(sheet, node, width, room)
        height = max(2.0, min(room, 2 * PAD + sum(part.height for part in parts)))
        x = left + len(node.path) * (width + GAP)
        boxes[node.path] = _Box(node, x, (top + bottom - height) / 2, width, height, parts)
        return bottom

    put(root, MARGIN / 2)
    return dict(sorted(boxes.items()))


def _parts(sheet: _Sheet, node: Branch, width: float, room: float) -> list[_Part]:
    """The lines of a card in reading order; what its workflow and answer already say is not said again."""
    inner = width - 2 * SIDE
    heading = f"{node.number}  {node.question}" if node.number else node.question
    parts = []
    for i, line in enumerate(_wrap(heading, 10, True, inner, 3 if room > 100 else 1)):
        parts.append(_Part(i, LINE, _text(sheet, line, 10, INK, bold=True)))
    if node.workflow or node.answer is not None:
        parts.append(_Part(0, 25, lambda x, y, w: sheet.outcome(x, y, w, node.workflow, node.answer)))
    said = {node.workflow, node.answer, node.question}
    for row in (*node.before, *node.after):
        if row.kind != "turn" or row.text not in said:
            parts += _row_parts(sheet, row, inner, said)
            said.add(row.text)
    return parts


def _row_parts(sheet: _Sheet, row: Row, inner: float, said: set[str | None]) -> list[_Part]:
    if row.kind == "malformed":
        return [_Part(4, LINE, _text(sheet, f"{row.who}, malformed: {row.text}", 8.5, RED))]
    if row.kind == "waiting":
        return [_Part(4, LINE, _text(sheet, f"{row.who}'s turn", 8.5, AMBER))]
    if row.kind == "retrieval":
        lines = [_Part(8, LINE, _text(sheet, f"query: {row.text}", 8.5, FAINT))] if row.text not in said else []
        for pills in _pill_lines(row.titles, inner):
            lines.append(_Part(6, 22, partial(sheet.pills, pills)))
        return lines
    return [_Part(7, LINE, _text(sheet, f"{row.who}: {row.text}", 8.5, FAINT))]


def _text(
    sheet: _Sheet, text: str, size: float, colour: str, bold: bool = False
) -> Callable[[float, float, float], None]:
    return lambda x, y, w: sheet.text(x, y + LINE / 2, _cut(text, size, bold, w), size, colour, bold)


def _pill_lines(titles: Sequence[tuple[str, bool]], width: float) -> list[list[tuple[str, bool]]]:
    """Documents as pills, as many to a line as fit, on at most two lines."""
    lines: list[list[tuple[str, bool]]] = [[]]
    used = 0.0
    for title, gold in titles or [("nothing found", False)]:
        label = _cut(f"{GOLD} {title}" if gold else title, 8, False, min(width - 14, 190))
        needed = _width(label, 8, False) + 20
        if lines[-1] and used + needed > width:
            lines.append([])
            used = 0.0
        lines[-1].append((label, gold))
        used += needed
    return lines[:2]


def _card(sheet: _Sheet, box: _Box) -> None:
    """A card with as many of its lines as there is room for."""
    colour = COLOURS.get(box.node.workflow, "#3e4c59" if box.node.workflow else FAINT)
    sheet.panel(box.x, box.y, box.width, box.height, CARD, BORDER)
    sheet.strip(box.x, box.y, box.height, colour)
    room = box.height - 2 * PAD + 3
    parts = box.parts
    kept: set[int] = set()
    for i in sorted(range(len(parts)), key=lambda i: (parts[i].rank, i)):
        if parts[i].height <= room:
            room -= parts[i].height
            kept.add(i)
    y = box.y + PAD
    for i in sorted(kept):
        parts[i].draw(box.x + SIDE, y, box.width - 2 * SIDE)
        y += parts[i].height


def _footer(sheet: _Sheet, verdict: Sequence[tuple[str, str]]) -> None:
    top = sheet.height - FOOTER + 8
    sheet.panel(MARGIN / 2, top, sheet.width - MARGIN, FOOTER - 16, CARD, BORDER)
    first = [pair for pair in verdict if pair[0] in ("answer", "cut short", "gold")]
    second = [pair for pair in verdict if pair not in first]
    half = (sheet.width - 2 * MARGIN) / 2
    for y, pairs in ((top + 22, first), (top + 54, second)):
        x = MARGIN + 6.0
        for label, text in pairs:
            bold = label == "answer"
            colour = BLUE if bold else RED if label == "cut short" else INK
            room = half if pairs is first else sheet.width - MARGIN - x
            shown = _cut(text, 10, bold, room - 60)
            sheet.text(x, y, label, 9, FAINT)
            sheet.text(x + _width(label, 9, False) + 12, y, shown, 10, colour, bold)
            x += half if pairs is first else _width(label, 9, False) + _width(shown, 10, bold) + 48


# ---- ink ------------------------------------------------------------------------------------------------------------


class _Sheet:
    """The few shapes a picture is made of, in units of `scale` pixels from the upper left corner."""

    def __init__(self, scale: float) -> None:
        self.width, self.height = WIDTH / scale, HEIGHT / scale
        figure = Figure(figsize=(self.width / DPI, self.height / DPI), dpi=DPI * scale, facecolor=PAPER)
        self._canvas: Any = FigureCanvasAgg(figure)
        self._axes: Any = figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        self._axes.set_xlim(0, self.width)
        self._axes.set_ylim(self.height, 0)

    def pixels(self) -> NDArray[np.uint8]:
        """What has been drawn so far."""
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()

    def text(self, x: float, y: float, text: str, size: float, colour: str, bold: bool = False) -> None:
        """One line of text, centred on `y`; `$` and `\\` in it mean nothing."""
        self._axes.text(
            x,
            y,
            text,
            color=colour,
            fontproperties=_font(size, bold),
            va="center_baseline",
            parse_math=False,
            usetex=False,
        )

    def panel(self, x: float, y: float, width: float, height: float, fill: str, edge: str, radius: float = 6) -> None:
        """A rounded box."""
        style = f"round,pad=0,rounding_size={radius}"
        self._axes.add_patch(
            FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=fill, edgecolor=edge, linewidth=1)
        )

    def strip(self, x: float, y: float, height: float, colour: str) -> None:
        """The coloured left edge of a card."""
        self._axes.add_patch(Rectangle((x, y + 6), 4, max(0, height - 12), facecolor=colour, linewidth=0))

    def outcome(self, x: float, y: float, width: float, workflow: str, answer: str | None) -> None:
        """A workflow as boxes with arrows between them, and the answer it led to."""
        right = x + width
        for i, code in enumerate(workflow.split(",") if workflow else ()):
            if i:
                self.text(x - 17, y + 12, "→", 9, FAINT)
            chip = _width(code, 8, True) + 14
            self.panel(x, y + 4, chip, 17, COLOURS.get(code, FAINT), COLOURS.get(code, FAINT), 4)
            self.text(x + 7, y + 12.5, code, 8, CARD, True)
            x += chip + 21
        if answer is not None:
            x -= 4 if workflow else 0
            self.text(x, y + 12, _cut(f"=  {answer or '(empty)'}", 10, True, right - x), 10, BLUE, True)

    def pills(self, pills: Sequence[tuple[str, bool]], x: float, y: float, width: float) -> None:
        """Retrieved documents, gold ones in gold."""
        for label, gold in pills:
            wide = _width(label, 8, False) + 14
            self.panel(x, y + 3, wide, 17, "#fff3d6" if gold else "#eef1f4", "#e0b04c" if gold else "#dde3e9", 8)
            self.text(x + 7, y + 11.5, label, 8, AMBER if gold else "#52606d")
            x += wide + 6

    def edge(self, parent: _Box, child: _Box) -> None:
        """A question and its sub-question."""
        start = (parent.x + parent.width, parent.y + parent.height / 2)
        end = (child.x - 2, child.y + child.height / 2)
        middle = (start[0] + end[0]) / 2
        if abs(start[1] - end[1]) > 1:
            across, down = [start[0], middle, middle], [start[1], start[1], end[1]]
            self._axes.plot(across, down, color=EDGE, linewidth=1.4, solid_joinstyle="round")
            start = (middle, end[1])
        self._arrow(start, end, EDGE)

    def succession(self, earlier: _Box, later: _Box) -> None:
        """A sub-question that waits for the answer of the one before."""
        x = earlier.x + earlier.width / 2
        self._arrow((x, earlier.y + earlier.height), (x, later.y - 1), COLOURS["QDS"])

    def _arrow(self, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
        self._axes.add_patch(
            FancyArrowPatch(
                start, end, arrowstyle="-|>", mutation_scale=11, color=colour, linewidth=1.4, shrinkA=0, shrinkB=0
            )
        )


@lru_cache(maxsize=32)
def _font(size: float, bold: bool) -> Any:
    return font_manager.FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")


@lru_cache(maxsize=1)
def _measure() -> Any:
    make: Any = RendererAgg
    return make(8, 8, DPI)


@lru_cache(maxsize=2)
def _covered(bold: bool) -> frozenset[int]:
    """The characters that the font has; others would be drawn as boxes with a warning each."""
    return frozenset(font_manager.get_font(font_manager.findfont(_font(10, bold))).get_charmap())


@lru_cache(maxsize=4096)
def _advance(char: str, size: float, bold: bool) -> float:
    return float(_measure().get_text_width_height_descent(f"|{char}|", _font(size, bold), False)[0]) - _bars(size, bold)


@lru_cache(maxsize=32)
def _bars(size: float, bold: bool) -> float:
    return float(_measure().get_text_width_height_descent("||", _font(size, bold), False)[0])


def _width(text: str, size: float, bold: bool) -> float:
    return sum(_advance(char, size, bold) for char in text)


def _drawable(text: str, bold: bool) -> str:
    return "".join(char if ord(char) in _covered(bold) else "▯" for char in text)


def _cut(text: str, size: float, bold: bool, width: float) -> str:
    """As much of a line as fits, with an ellipsis where something is missing."""
    text = _drawable(text[:400], bold)
    if _width(text, size, bold) <= width:
        return text
    room, end = width - _width("…", size, bold), 0
    while end < len(text) and (room := room - _advance(text[end], size, bold)) >= 0:
        end += 1
    return text[:end].rstrip() + "…"


def _wrap(text: str, size: float, bold: bool, width: float, lines: int) -> list[str]:
    """A text broken at blanks into at most `lines` lines; the last one is cut where it is drawn."""
    text = _drawable(text[:1000], bold)
    result: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if line and len(result) < lines - 1 and _width(longer, size, bold) > width:
            result.append(line)
            longer = word
        line = longer
    return [*result, line]
