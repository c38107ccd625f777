"""`write_report`: a run or a study as one HTML file that needs no network: what it was, how it learned, what it plays.

Knows the order of a report's parts; what each of them is, is elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jade_env.errors import ConfigError

if TYPE_CHECKING:
    from jade_env.research.report.run import Run

Progress = Callable[[int, int], None]

__all__ = ["write_report"]


def write_report(
    run: str | Path,
    out: str | Path | None = None,
    *,
    split: str = "dev",
    episodes: int = 200,
    before: bool = True,
    samples: int = 20,
    seed: int = 0,
    data: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write the report of a run, or of a study, for which `run` and `out` are all that counts.

    Args:
        run: the folder of a run, finished or not, or of a study.
        out: the file; `report.html` in the folder where not given.
        split: whose questions are played: `train`, `dev`, `test`, or any file stem of the data folder.
        episodes: how many of them, at most all; none makes a report without traces and tables.
        before: whether they are played by the team that the training began with, too.
        samples: questions that are also played as in training, for advantages, where the rule of credit needs that.
        seed: of the order of questions.
        data: the data location; else the one the run was trained with, else JADE_DATA.
        progress: called with (episodes played, episodes in all).

    Raises:
        ConfigError: an argument is not valid, or the run does not fit this version.
        DataError: the run or its questions cannot be read, or the file cannot be written.
    """
    from jade_env.research.files import write
    from jade_env.research.report.page import render
    from jade_env.research.report.run import read_run
    from jade_env.research.report.study import is_study, study_tree

    if episodes < 0 or samples < 0:
        raise ConfigError("episodes and samples are numbers of questions, and not below 0")
    folder = Path(run)
    if is_study(folder):
        tree = study_tree(folder)
    else:
        tree = _tree(read_run(folder), split, episodes, before, samples, seed, data, progress)
    path = Path(out) if out is not None else folder / "report.html"
    write(path, render(f"{tree['title']} - jade report", tree).encode())
    return path


def _tree(
    run: Run,
    split: str,
    episodes: int,
    before: bool,
    samples: int,
    seed: int,
    data: str | Path | None,
    progress: Progress | None,
) -> dict[str, Any]:
    """The data of the page."""
    from jade_env.research.report import blocks
    from jade_env.research.report.about import facts, setup

    tree: dict[str, Any] = {
        "title": run.folder.resolve().name,
        "facts": facts(run),
        "setup": setup(run),
        "cards": [],
        "traces": None,
    }
    results, roles = None, None
    if episodes:
        from jade_env.research.report.episodes import Book
        from jade_env.research.report.playing import play

        played = play(run, split, episodes, before=before, groups=samples, seed=seed, data=data, progress=progress)
        book = Book()
        for one in played.plays:
            book.add(one)
        count = len(played.after)
        note = f"{count} questions of {split}, greedy play; means with 95 % bootstrap intervals over questions"
        note += ", differences paired by question." if before else "."
        results = blocks.section("Results", blocks.results(played.before, played.after), note)
        roles = blocks.roles_played(played.plays)
        tree |= {"cards": blocks.headline(played.before, played.after), "traces": book.tree()}
        tree["facts"].append(["played", f"{count} questions of {split}"])
    sections = [
        results,
        blocks.section("Learning curves", blocks.curves(run)),
        blocks.section(
            "Workflows chosen", blocks.workflow_shares(run), "Shares of the planner's choices while it learned."
        ),
        blocks.section("Roles", [roles, *blocks.role_charts(run)], "Click a name to single it out."),
        blocks.section("Learner", blocks.learner_charts(run)),
    ]
    return tree | {"sections": [one for one in sections if one]}
