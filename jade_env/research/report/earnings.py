"""Games whose agents earn differently: who won, what each side or agent received and spent, and how that changed in training.

Knows episodes, rows and the records of a training; plays nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jade_env.game.episode import Episode, Rules
from jade_env.game.rewards import own_costs
from jade_env.research.report.blocks import Block, curve, interval, lines, rounded, thinned
from jade_env.research.report.run import Run
from jade_env.research.statistics import bootstrap_mean, paired_difference
from jade_env.scenario import Scenario

if TYPE_CHECKING:
    from jade_env.research.report.episodes import Play

Values = list[float]

MOST_SELVES = 8
"""Past selves with a line of their own in the chart; of more, so many are taken evenly."""


@dataclass(frozen=True, slots=True)
class Side:
    """Agents that receive the same, and what they are called.

    Attributes:
        name: `red`, `team`, or the adversary's.
        agents: its members.
        place: of its episodes among those of a game.
        rivals: how many episodes a game has.
    """

    name: str
    agents: tuple[str, ...]
    place: int = 0
    rivals: int = 1

    def episodes(self, play: Play, questions: int) -> list[Episode | None]:
        """Its episode of each game; None where nobody had a turn before it was cut short."""
        return [play.episodes.get(number) for number in range(self.place, questions * self.rivals, self.rivals)]

    def received(self, play: Play, questions: int) -> Values:
        """What a member received in each game."""
        return [_payoff(episode, self.agents[0]) for episode in self.episodes(play, questions)]


def sides_of(game: Scenario) -> list[Side]:
    """The two that play against each other; none where all play together."""
    if game.teams:
        rules = Rules.sides(game)
        return [Side(one.team, one.agents, place, len(rules)) for place, one in enumerate(rules)]
    rules_of_all = Rules.of(game)
    if rules_of_all.adversary is None:
        return []
    adversary = rules_of_all.agent(rules_of_all.adversary)
    team = tuple(agent for agent in rules_of_all.agents if agent != adversary)
    return [Side("team", team), Side(adversary, (adversary,))]


def own_side(run: Run) -> Side | None:
    """The side that learned, the first one where both did; None where all play together."""
    sides = sides_of(run.game)
    return next((side for side in sides if set(side.agents) & set(run.learned)), sides[0] if sides else None)


# ---- who won ---------------------------------------------------------------------------------------------------------


def games(run: Run, plays: Sequence[Play], questions: int) -> Block | None:
    """Wins, draws, losses and payoffs of each side, by each of the plays, and the paired difference of the last two."""
    if not (sides := sides_of(run.game)):
        return None
    rows: list[list[Any]] = []
    for side in sides:
        found = [side.received(play, questions) for play in plays]
        for play, received in zip(plays, found, strict=True):
            counts = [sum(_outcome(value) == outcome for value in received) for outcome in (1, 0, -1)]
            cells = [interval(bootstrap_mean(values)) for values in (_won(received), received)]
            rows.append([f"{readable(side.name)}, {play.name.lower()}", *counts, *cells])
        if len(found) == 2:
            before, after = found
            cells = [_difference(_won(before), _won(after)), _difference(before, after)]
            rows.append([f"{readable(side.name)}, difference", None, None, None, *cells])
    columns = ["side", "wins", "draws", "losses", "win rate", "payoff"]
    return {"type": "table", "title": "Wins and payoffs", "columns": columns, "rows": rows}


def cards(run: Run, plays: Sequence[Play], questions: int) -> list[Block]:
    """What the side that learned won and received."""
    if (side := own_side(run)) is None:
        return []
    found = [side.received(play, questions) for play in plays]
    name = readable(side.name)
    payoff = f"Payoff of the {name}" if not run.game.teams else f"Payoff of {name}"
    return [
        *([_card(f"Win rate of {name}", [_won(values) for values in found])] if run.game.teams else []),
        _card(payoff, found),
    ]


def _card(label: str, found: Sequence[Values]) -> Block:
    card: Block = {"label": label, "after": interval(bootstrap_mean(found[-1]))}
    if len(found) == 2:
        card |= {"before": interval(bootstrap_mean(found[0])), "difference": _difference(*found)}
    return card


def _outcome(payoff: float) -> int:
    return (payoff > 0) - (payoff < 0)


def _won(payoffs: Sequence[float]) -> Values:
    """1 for each game won, and a draw is half a win."""
    return [0.5 + 0.5 * _outcome(value) for value in payoffs]


def _difference(before: Sequence[float], after: Sequence[float]) -> Block:
    return interval(paired_difference(after, before)) | {"signed": True}


# ---- who paid --------------------------------------------------------------------------------------------------------


def agents(run: Run, plays: Sequence[Play], questions: int) -> Block | None:
    """What each agent spent and, where rewards are private, received: means over the games of each of the plays."""
    reward = run.game.reward
    private = reward.sharing == "private"
    if not (private or reward.turn_cost or reward.token_cost):
        return None
    names = [play.name.lower() for play in plays]
    columns = ["agent", *(f"own cost, {name}" for name in names)]
    if private:
        columns += [f"payoff, {name}" for name in names] + (["difference of payoffs"] if len(plays) == 2 else [])
    rows: list[list[Any]] = []
    for side in sides_of(run.game) or [Side("", Rules.of(run.game).agents)]:
        found = [side.episodes(play, questions) for play in plays]
        for agent in side.agents:
            row: list[Any] = [readable(agent)]
            row += [interval(bootstrap_mean([_spent(one, agent) for one in own])) for own in found]
            if private:
                received = [[_payoff(one, agent) for one in own] for own in found]
                row += [interval(bootstrap_mean(values)) for values in received]
                row += [_difference(*received)] if len(received) == 2 else []
            rows.append(row)
    title = "What each agent pays and receives" if private else "What each agent costs the team"
    return {"type": "table", "title": title, "columns": columns, "rows": rows}


def _payoff(episode: Episode | None, agent: str) -> float:
    """What an agent received; 0 in an episode that was cut short."""
    return episode.payoffs.get(agent, 0.0) if episode else 0.0


def _spent(episode: Episode | None, agent: str) -> float:
    """What an agent paid; nothing in an episode that was cut short."""
    if episode is None or episode.result is None:
        return 0.0
    return own_costs(episode.trace.played, episode.rules.reward).get(agent, 0.0)


# ---- over the training -----------------------------------------------------------------------------------------------


def payoff_curve(run: Run) -> Block | None:
    """What those who learn receive on held-out and dev questions, and beside an adversary what the others do."""
    sharing, sides = run.game.reward.sharing, sides_of(run.game)
    if sharing == "team":
        return None
    if not sides or run.game.teams:
        own = own_side(run)
        name = readable(own.name) if own else "mean of those who learn"
        wanted = [(name, 1.0)] if len(_learning(run, sides)) < 2 else []
    else:
        team, adversary = sides
        many = float(len(team.agents))
        each, against = (-1.0 / many, 1.0) if _learning(run, sides) == [adversary] else (1.0, -many)
        wanted = (
            [("each of the team", each), (readable(adversary.name), against)] if len(_learning(run, sides)) < 2 else []
        )
    found = [
        curve(run, f"{name}, {where}", (key, "reward"), dashed=dashed, scale=scale)
        for name, scale in wanted
        for key, where, dashed in (("dev", "dev", False), ("held_out", "held-out train", True))
    ]
    return lines("Payoff", run.unit, "greedy", found)


def _learning(run: Run, sides: Sequence[Side]) -> list[Side]:
    """The sides of which somebody learns: of both together no reward is written down that means anything."""
    return [side for side in sides if set(side.agents) & set(run.learned)]


def past_selves(run: Run) -> list[Block | None]:
    """How often the side that learns beats what it was: a table, with the best checkpoint's once it is known, and a chart."""
    played = run.summary.get("best_timesteps")
    records = [record for record in run.records if record.get("wins")]
    selves = sorted({int(name) for record in records for name in record["wins"]})
    if not selves:
        return []
    names = {str(then): f"as after {then} {run.unit}" for then in selves}
    evenly = {selves[round(i * (len(selves) - 1) / (MOST_SELVES - 1))] for i in range(MOST_SELVES)}
    shown = selves if len(selves) <= MOST_SELVES else sorted(evenly)
    mean = {"name": "mean", "points": thinned([[one["timesteps"], rounded(_mean(one["wins"]))] for one in records])}
    found = [mean, *(curve(run, names[str(then)], ("wins", str(then))) for then in shown)]
    title = "Win rate against past selves"
    moments = [records[0], *(one for one in records if one["timesteps"] == played), records[-1]]
    columns = {f"after {one['timesteps']} {run.unit}": one["wins"] for one in moments}
    rows: list[list[Any]] = [["mean", *({"mean": rounded(_mean(wins))} for wins in columns.values())]]
    for then, name in names.items():
        rows.append([name, *({"mean": rounded(wins[then])} if then in wins else None for wins in columns.values())])
    table = {"type": "table", "title": title, "columns": ["past self", *columns], "rows": rows}
    return [table, lines(title, run.unit, "a draw is half a win", found)]


def _mean(wins: Mapping[str, float]) -> float:
    return sum(wins.values()) / len(wins)


def readable(name: str) -> str:
    """A name as text."""
    return name.replace("_", " ")


# ---- in words --------------------------------------------------------------------------------------------------------


def explained(run: Run) -> str:
    """How those who play earn."""
    if run.game.teams:
        own = own_side(run)
        said = "A side receives its own score minus the other's. Whoever receives more wins, and a draw is half a win."
        if own and run.rival:
            said += f" {own.name.capitalize()} learned; its rival here: {run.rival}."
        if any(record.get("wins") for record in run.records):
            said += " Against past selves, on dev questions, it plays greedily and they draw their actions."
        return said
    if sides := sides_of(run.game):
        return (
            f"Each of the team receives the score, the {readable(sides[1].name)} minus the sum of what they receive. "
            "Whoever receives more wins, and a draw is half a win."
        )
    if run.game.reward.sharing == "private":
        return "An agent receives its share of the outcome minus common costs, minus what it paid for its own turns and tokens."
    return "The team pays together for the turns and tokens of each."


def whose_curves(run: Run) -> str:
    """Whose scores a training writes down, where there are two sides; nothing where there is one."""
    own = own_side(run)
    if not run.game.teams or own is None:
        return ""
    return (
        "Means over both sides."
        if len(_learning(run, sides_of(run.game))) > 1
        else f"Of {own.name}, the side that learned."
    )
