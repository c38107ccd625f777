"""Many episodes at once: the view for policies that work in batches. Retrieval of all episodes is batched, free slots refill.

    pool = make_pool("cooperative", n=64, seed=0)
    while training:
        turns = pool.turns()                                        # every open turn of every episode
        finished = pool.step(dict(zip([t.id for t in turns], policy.act(turns))))

`step` takes any non-empty subset of the open turns. Results never depend on how turns are batched or ordered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jade_env.envs.source import open_source
from jade_env.envs.table import Dealer, Table
from jade_env.envs.turn import Action, Turn, TurnId
from jade_env.errors import ConfigError, JadeError, RetrievalError
from jade_env.game.episode import Episode, Rules
from jade_env.game.outputs import Output
from jade_env.questions import Question
from jade_env.scenario import Mode, Scenario, load_scenario

Group = int | tuple[int, int]


class Pool:
    """`n` episodes in play at once, as one thing to act on.

    With `group_size=g` every question is played g times in a row; with `(plans, executions)` it is played plans x executions
    times, and the root planner's turn is played once a plan, its output shared by that plan's executions.
    """

    def __init__(
        self,
        scenario: Scenario,
        n: int,
        group_size: Group = 1,
        seed: int = 0,
        split: str = "train",
        data: str | Path | None = None,
    ) -> None:
        plans, self._executions = (group_size, 1) if isinstance(group_size, int) else group_size
        if n < 1 or plans < 1 or self._executions < 1:
            raise ConfigError(f"a pool needs n >= 1 and group_size >= 1, found n={n}, group_size={group_size}")
        self.scenario, self.rules = scenario, Rules.of(scenario)
        self.source = open_source(scenario, data)
        self._table = Table(self.source, self.rules, split, seed, plans * self._executions)
        self._modes: dict[str, Mode] = {agent: scenario.mode_of(agent) for agent in self.rules.agents}
        self._n = n
        self.reset(seed)

    @property
    def questions(self) -> Sequence[Question]:
        """The questions of the split."""
        return self._table.questions

    @property
    def split(self) -> str:
        """The split in play."""
        return self._table.split

    @property
    def seed(self) -> int:
        """The seed of the order in play."""
        return self._table.dealer.seed

    @property
    def dealer(self) -> Dealer:
        """Which question each episode plays."""
        return self._table.dealer

    @property
    def episodes(self) -> list[Episode]:
        """The episodes in play, by slot."""
        return list(self._slots)

    @property
    def retriever(self) -> Any:
        """The retriever over the split's corpus."""
        return self._table.retriever

    def reset(self, seed: int | None = None) -> list[Turn]:
        """Drop the episodes in play and deal new ones: from the start of a seed's order, or going on in the present one."""
        if seed is not None:
            self._table.dealer.restart(seed)
        return self._begin()

    def seek(self, episode: int) -> list[Turn]:
        """Drop the episodes in play and go on in the present order from an episode's number."""
        self._table.dealer.next_index = episode
        return self._begin()

    def _begin(self) -> list[Turn]:
        self._plans: dict[int, tuple[Output, int]] = {}  # by plan: the shared output, and executions yet to follow it
        self._open: dict[int, dict[TurnId, Turn]] = {}
        self._slots: list[Episode] = []
        for _ in range(self._n):
            self._slots.append(self._table.dealer.deal(self.rules))
        self._ended_early = self._settle(range(self._n))
        return self.turns()

    def turns(self) -> list[Turn]:
        """All open turns: by slot, within an episode first-opened first."""
        return [turn for slot in range(self._n) for turn in self._open[slot].values()]

    def turns_by_slot(self) -> list[list[Turn]]:
        """The open turns of each slot; a slot is empty only while its plan is being written elsewhere."""
        return [list(self._open[slot].values()) for slot in range(self._n)]

    def step(self, actions: Mapping[TurnId, Action | Output]) -> list[Episode]:
        """Play some of the open turns, answer the retrievals that fall due, refill finished slots.

        Args:
            actions: by turn id: text, a candidate's number, or a ready `Output`.

        Returns:
            The episodes that ended in this step, in slot order (and any that were cut short while being dealt).

        Raises:
            JadeError: no action was given, or one is for a turn that is not open; nothing has been played then.
            RetrievalError: the retriever fails for every episode before anybody has a turn.
        """
        if not actions:
            raise JadeError("step needs an action for at least one open turn")
        slot_of = {turn.id[0]: slot for slot in range(self._n) for turn in self._open[slot].values()}
        chosen: dict[int, list[tuple[Turn, Output]]] = {}
        for turn_id, action in actions.items():
            slot = slot_of.get(turn_id[0], -1)
            turn = self._open[slot].get(turn_id) if slot >= 0 else None
            if turn is None:
                raise JadeError(f"turn {turn_id} is not open")
            output = action if isinstance(action, Output) else turn.output(action)
            chosen.setdefault(slot, []).append((turn, output))
        touched: set[int] = set()
        for slot in sorted(chosen):
            episode = self._slots[slot]
            touched.add(slot)
            for turn, output in self._in_turn_order(slot, chosen[slot]):
                if not episode.finished:  # a limit may end it on an earlier turn of this step
                    episode.act(turn.game_turn, output)
                if self._executions > 1 and turn.node.parent is None and turn.kind == "workflow":
                    touched.update(self._share_plan(episode, output))
        ended, self._ended_early = self._ended_early, []
        return ended + self._settle(touched)

    def _in_turn_order(self, slot: int, chosen: list[tuple[Turn, Output]]) -> list[tuple[Turn, Output]]:
        if len(chosen) == 1:
            return chosen
        place = {turn_id: i for i, turn_id in enumerate(self._open[slot])}
        return sorted(chosen, key=lambda pair: place[pair[0].id])

    def _share_plan(self, leader: Episode, output: Output) -> list[int]:
        """Play a plan's root output in all its other executions that wait for it."""
        self._plans[leader.index // self._executions] = (output, self._executions - 1)
        waiting = [
            slot
            for slot, episode in enumerate(self._slots)
            if episode is not leader and episode.index // self._executions == leader.index // self._executions
        ]
        for slot in waiting:
            self._follow(self._slots[slot])
        return waiting

    def _follow(self, episode: Episode) -> bool:
        """Play the shared plan in a later execution; False while the plan is not written yet."""
        plan = episode.index // self._executions
        if plan in self._plans and not episode.trace.played:
            output, followers = self._plans.pop(plan)
            episode.act(episode.turns[0], output)
            if followers > 1:
                self._plans[plan] = (output, followers - 1)
        return bool(episode.trace.played)

    def _settle(self, slots: Any) -> list[Episode]:
        """Retrieve, collect what ended, refill, and list what is open, until every touched slot waits for an agent."""
        finished: list[Episode] = []
        slots = sorted(slots)
        lost_unplayed = 0
        while slots:
            self._table.settle(self._slots[slot] for slot in slots)
            ended = [slot for slot in slots if self._slots[slot].finished]
            for slot in ended:
                episode = self._slots[slot]
                finished.append(episode)
                lost_unplayed += not episode.trace.played
                if lost_unplayed > self._n:  # no slot can be filled: the retriever fails before anybody has a turn
                    raise RetrievalError(f"no episode can begin: {episode.truncated}")
                self._slots[slot] = self._table.dealer.deal(self.rules)
            for slot in slots:
                self._list_open(slot)
            slots = ended
        return finished

    def _list_open(self, slot: int) -> None:
        episode = self._slots[slot]
        shared = self._executions > 1 and self.rules.planner is not None
        if shared and episode.index % self._executions and not episode.trace.played and not self._follow(episode):
            self._open[slot] = {}
            return
        self._table.settle([episode])
        known = self._open.get(slot, {})
        fresh: dict[TurnId, Turn] = {}
        for game_turn in episode.turns:
            turn_id = (episode.index, game_turn.node.path, game_turn.step)
            fresh[turn_id] = known.get(turn_id) or Turn(
                game_turn, self.seed, self._modes[game_turn.card.name], self.scenario.prompt
            )
        self._open[slot] = fresh


def make_pool(
    scenario: str | Path | Scenario = "cooperative",
    n: int = 32,
    group_size: Group = 1,
    seed: int = 0,
    split: str = "train",
    mode: Mode | None = None,
    *,
    data: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Pool:
    """Make a pool of `n` episodes of a scenario.

    Args:
        scenario: a shipped name, a path, or a loaded scenario.
        n: episodes in play at once.
        group_size: times each question is played, or (plans, executions).
        seed: seed of the order of questions and of every random stream.
        split: `train`, `dev`, `test`, or any file stem of the data folder.
        mode: replaces the scenario's mode for all agents.
        data: the data location for scenarios with files; else JADE_DATA.
        overrides: dotted keys, e.g. `{"reward.round_cost": 0.1}`.

    Raises:
        ConfigError: the scenario or an argument is not valid.
        DataError: its data cannot be read.
    """
    loaded = as_scenario(scenario, mode, overrides)
    return Pool(loaded, n, group_size, seed, split, data)


def as_scenario(
    scenario: str | Path | Scenario, mode: Mode | None = None, overrides: Mapping[str, Any] | None = None
) -> Scenario:
    """A loaded scenario with a mode and overrides applied.

    Raises:
        ConfigError: the scenario or an override is not valid, or overrides are given for a loaded scenario.
    """
    if isinstance(scenario, Scenario):
        if overrides:
            raise ConfigError("overrides go with a scenario's name or path, not with a loaded scenario")
        loaded = scenario
    else:
        loaded = load_scenario(scenario, overrides)
    if mode is None or mode == loaded.mode:
        return loaded
    if mode not in ("text", "discrete"):
        raise ConfigError(f"mode: {mode!r} is not one of text, discrete")
    return loaded.model_copy(update={"mode": mode})
