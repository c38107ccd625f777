"""`write_report`: a run or a study as one HTML file that needs no network: what it was, how it learned, what it plays.

Knows the order of a report's parts; what each of them is, is elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jade_env.errors import ConfigError, DataError

if TYPE_CHECKING:
    from jade_env.research.report.playing import Played
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
    from jade_env.files import write_whole
    from jade_env.research.report.page import render
    from jade_env.research.report.run import read_run
    from jade_env.research.report.study import is_study, study_tree

    if episodes < 0 or samples < 0:
        raise ConfigError("episodes and samples are numbers of questions, and not below 0")
    folder = Path(run)
    path = Path(out) if out is not None else folder / "report.html"
    if out is not None and (path.is_dir() or not path.parent.is_dir()):  # before anything is played
        raise DataError(f"{path} is no file in a folder that is there")
    if is_study(folder):
        tree = study_tree(folder)
    else:
        tree = _tree(read_run(folder), split, episodes, before, samples, seed, data, progress)
    write_whole(path, render(f"{tree['title']} - jade report", tree).encode())
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
    from jade_env.research.report import blocks, earnings
    from jade_env.research.report.about import facts, setup

    tree: dict[str, Any] = {
        "title": run.folder.resolve().name,
        "facts": facts(run),
        "setup": setup(run),
        "cards": [],
        "traces": None,
    }
    results, earned, roles = None, list[Any](), None
    if episodes:
        from jade_env.research.report.playing import play

        played = play(run, split, episodes, before=before, groups=samples, seed=seed, data=data, progress=progress)
        found, results, earned, roles = _of_episodes(run, played)
        tree |= found
        tree["facts"].append(["played", f"{len(played.after) // (len(run.game.teams) or 1)} questions of {split}"])
    earned += [*earnings.past_selves(run), earnings.payoff_curve(run)]
    sections = [
        results,
        blocks.section("Who earns what", earned, earnings.explained(run)),
        blocks.section("Learning curves", blocks.curves(run), earnings.whose_curves(run)),
        blocks.section(
            "Workflows chosen", blocks.workflow_shares(run), "Shares of the planner's choices while it learned."
        ),
        blocks.section("Roles", [roles, *blocks.role_charts(run)], "Click a name to single it out."),
        blocks.section("Learner", blocks.learner_charts(run)),
    ]
    return tree | {"sections": [one for one in sections if one]}


def _of_episodes(run: Run, played: Played) -> tuple[dict[str, Any], Any, list[Any], Any]:
    """Cards and traces; the results of the team, in a duel of the side that learned; what everybody earned; the roles."""
    from jade_env.research.report import blocks, earnings
    from jade_env.research.report.episodes import Book

    own = earnings.own_side(run)
    side = own.name if own and run.game.teams else ""
    book = Book(side)
    for one in played.plays:
        book.add(one)
    before, after = ([row for row in rows if row.team == side] for rows in (played.before, played.after))
    greedy = [one for one in played.plays if not one.first_of]
    note = f"{len(after)} questions of {played.split}, greedy play; means with 95 % bootstrap intervals over questions"
    note += ", differences paired by question." if before else "."
    cards = [*earnings.cards(run, greedy, len(after)), *blocks.headline(before, after, side)]
    return (
        {"cards": cards, "traces": book.tree()},
        blocks.section("Results", blocks.results(before, after, side), note),
        [earnings.games(run, greedy, len(after)), earnings.agents(run, greedy, len(after))],
        blocks.roles_played(played.plays),
    )
