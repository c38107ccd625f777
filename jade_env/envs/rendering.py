"""An episode to look at: as plain text, as a tree for rich, or as a picture; in play or finished.

Neither rich's markup nor matplotlib's mathematics is read in what documents and agents wrote. Knows no environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jade_env.envs.branches import GOLD, Branch, Row, branch, verdict
from jade_env.game.episode import Episode

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

# ---- text -----------------------------------------------------------------------------------------------------------


def ansi(episode: Episode, width: int = 120) -> str:
    """The episode as plain text: the tree of questions, every turn, documents (gold ones starred), answer and score.

    Args:
        episode: in play or finished.
        width: longer lines are cut to this many characters.
    """
    lines = _text_lines(branch(episode), "", "")
    lines += [""] + [f"{label:<9} {text}" for label, text in verdict(episode)]
    return "\n".join(line if len(line) <= width else line[: width - 1] + "…" for line in lines)


def _text_lines(node: Branch, first: str, rest: str) -> list[str]:
    head = f"{node.number}  " if node.number else ""
    lines = [f"{first}{head}{node.question}" + (f"   [{node.workflow}]" if node.workflow else "")]
    inner = rest + ("│  " if node.children else "   ")
    for row in node.before:
        lines += _text_rows(row, inner)
    for i, child in enumerate(node.children):
        last = i == len(node.children) - 1 and not node.after
        lines += _text_lines(child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))
    for row in node.after:
        lines += _text_rows(row, rest + "└─ ")
    if node.answer is not None:
        lines.append(f"{rest}   = {node.answer or '(empty)'}")
    return lines


def _text_rows(row: Row, indent: str) -> list[str]:
    if row.kind == "retrieval":
        titles = (f"{i} {GOLD + ' ' if gold else ''}{title}" for i, (title, gold) in enumerate(row.titles))
        found = "; ".join(titles) or "nothing"
        return [f"{indent}{row.who:<20} {row.text}", f"{indent}{'':<20} -> {found}"]
    mark = " (malformed)" if row.kind == "malformed" else ""
    return [f"{indent}{row.who:<20} {row.text}{mark}"]


def rich_tree(episode: Episode) -> Tree:
    """The episode as a tree for `rich.print`; markup in documents and outputs is inert."""
    from rich.table import Table
    from rich.text import Text
    from rich.tree import Tree

    root = branch(episode)
    tree = Tree(_rich_head(root), guide_style="grey50")
    _grow(tree, root)
    table = Table.grid(padding=(0, 2))
    for label, text in verdict(episode):
        table.add_row(Text(label, style="grey50"), Text(text, style="bold green" if label == "answer" else ""))
    tree.add(table)
    return tree


def show(episode: Episode) -> None:
    """Print the episode to the terminal."""
    from rich.console import Console

    Console(highlight=False).print(rich_tree(episode))


def _rich_head(node: Branch) -> Text:
    from rich.text import Text

    head = Text(f"{node.number}  " if node.number else "", style="bold cyan")
    head.append(node.question, style="bold")
    return head.append(f"   {node.workflow}" if node.workflow else "", style="magenta")


def _grow(tree: Tree, node: Branch) -> None:
    from rich.text import Text

    for row in node.before:
        tree.add(_rich_row(row))
    for child in node.children:
        _grow(tree.add(_rich_head(child)), child)
    for row in node.after:
        tree.add(_rich_row(row))
    if node.answer is not None:
        tree.add(Text(f"= {node.answer or '(empty)'}", style="green"))


def _rich_row(row: Row) -> Text:
    from rich.text import Text

    text = Text(f"{row.who}  ", style="cyan")
    if row.kind == "retrieval":
        text.append(row.text)
        for i, (title, gold) in enumerate(row.titles):
            text.append(f"\n  {i} {GOLD + ' ' if gold else ''}{title}", style="yellow" if gold else "grey50")
        return text
    text.append(row.text, style={"malformed": "red", "waiting": "grey50"}.get(row.kind, ""))
    return text.append("  malformed", style="bold red") if row.kind == "malformed" else text


# ---- picture --------------------------------------------------------------------------------------------------------


def rgb_array(episode: Episode) -> NDArray[np.uint8]:
    """The episode drawn as a tree of boxes and arrows: uint8, height 720 x width 1280 x 3.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    from jade_env.envs.picture import draw

    return draw(branch(episode), verdict(episode))
