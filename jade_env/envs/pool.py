"""Many episodes at once: the view for policies that work in batches. Retrieval of all episodes is batched, free slots refill.

    pool = make_pool("cooperative", n=64, seed=0)
    while training:
        turns = pool.turns()                                        # every open turn of every episode
        finished = pool.step(dict(zip([t.id for t in turns], policy.act(turns))))

`step` takes any non-empty subset of the open turns. Below the limit of turns (`max_turns`), results never depend on
how turns are batched or ordered.

With `overlap=True` a retriever that is elsewhere (`kind: remote`) answers in the background: an episode that waits for documents
sleeps, none of its turns is listed, and what is played in it all the same is applied when it wakes, after its documents. So each
episode goes as if documents came at once, in whatever order they arrive. `step({})` then waits for documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jade_env.envs.errands import Errands, sleepers
from jade_env.envs.source import open_source
from jade_env.envs.table import Dealer, Table, branch
from jade_env.envs.turn import Action, Turn, TurnId
from jade_env.errors import ConfigError, JadeError, RetrievalError
from jade_env.game.episode import Episode, Rules, settle_duel
from jade_env.game.outputs import Output
from jade_env.questions import Question
from jade_env.retrieval import Retriever
from jade_env.scenario import Mode, Scenario, as_scenario

Group = int | tuple[int, int]


class Pool:
    """`n` episodes in play at once, as one thing to act on.

    In a duel a game is two episodes, one a side, in neighbouring slots; both are dealt and handed out together.

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
        *,
        overlap: bool = False,
        retriever: Retriever | None = None,
    ) -> None:
        group = (group_size, 1) if isinstance(group_size, int) else group_size
        pair = isinstance(group, tuple | list) and len(group) == 2
        if not pair or not all(isinstance(number, int | np.integer) for number in (n, *group)):
            raise ConfigError(
                f"a pool's n is a whole number, its group_size one or a pair of them, found n={n!r}, group_size={group_size!r}"
            )
        plans, self._executions = group
        if n < 1 or plans < 1 or self._executions < 1:
            raise ConfigError(f"a pool needs n >= 1 and group_size >= 1, found n={n}, group_size={group_size}")
        self.scenario, self.sides = scenario, Rules.sides(scenario)
        if n % len(self.sides):
            raise ConfigError(f"{scenario.name}: a game is {len(self.sides)} episodes, so n must be even, not {n}")
        self.rules = self.sides[0]
        self.source = open_source(scenario, data, retriever)
        self._table = Table(self.source, self.sides, split, seed, (plans, self._executions))
        self._modes: dict[str, Mode] = {role: scenario.mode_of(role) for role in scenario.cards}
        self._n, self._overlap = n, overlap
        self._errands = Errands(self._table)
        self.reset(seed)

    def __deepcopy__(self, memo: dict[int, Any]) -> Pool:
        """Branch all games: the copy's stand where these stand, and go on by themselves over the same data.

        Raises:
            JadeError: documents are under way.
        """
        if self._errands.asleep:
            raise JadeError(
                "episodes wait for documents: copy a pool made with overlap=False, or step until nobody waits"
            )
        memo[id(self._errands)] = None  # threads, which every pool has its own of
        copy: Pool = branch(self, self._table, memo)
        copy._errands = Errands(copy._table)
        return copy

    @property
    def agents(self) -> tuple[str, ...]:
        """Everybody who can ever have a turn, side by side."""
        return tuple(agent for rules in self.sides for agent in rules.agents)

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
        """Drop the episodes in play and go on in the present order from an episode's number.

        Raises:
            JadeError: no game begins there, or no plan.
        """
        each = len(self.sides) * self._executions
        if isinstance(episode, bool) or not isinstance(episode, int | np.integer) or episode < 0 or episode % each:
            raise JadeError(f"seek: {episode!r} is not a whole number from 0 on at which a game begins (every {each})")
        self._table.dealer.next_index = int(episode)
        return self._begin()

    def _begin(self) -> list[Turn]:
        self._plans: dict[int, tuple[Output, int]] = {}  # by plan: the shared output, and executions yet to follow it
        self._open: dict[int, dict[TurnId, Turn]] = {}
        self._later: dict[int, list[tuple[Turn, Output]]] = {}  # by sleeping slot: what was played in it
        self._errands.drop()
        self._lost_unplayed = 0
        self._seat([self._table.dealer.deal(self.sides) for _ in range(self._n)])
        self._ended_early = self._settle(range(self._n))
        return self.turns()

    def _seat(self, episodes: list[Episode]) -> None:
        """Put an episode into each slot."""
        self._slots = episodes
        self._slot_of = {episode.index: slot for slot, episode in enumerate(episodes)}

    @property
    def overlaps(self) -> bool:
        """Whether retrieval goes on in the background."""
        return self._overlap and bool(getattr(self._table.retriever, "remote", False))

    @property
    def waiting(self) -> bool:
        """Whether episodes sleep until documents come, or have ended since the last step: whether `step({})` is of use."""
        return bool(self._errands.asleep or self._ended_early)

    def turns(self, block: bool = True) -> list[Turn]:
        """All open turns: by slot, within an episode first-opened first; none of an episode that waits for documents.

        Args:
            block: wait for documents where nothing else is open.

        Raises:
            RetrievalError: as `step`, where retrieval goes on in the background.
        """
        self._wake(False)
        listed = [turn for turns in self.turns_by_slot() for turn in turns]
        while not listed and block and self._errands.asleep:
            self._wake(True)
            listed = [turn for turns in self.turns_by_slot() for turn in turns]
        return listed

    def turns_by_slot(self) -> list[list[Turn]]:
        """The open turns of each slot; none while its plan is being written elsewhere, or while its episode sleeps."""
        asleep = self._errands.asleep
        return [[] if slot in asleep else list(self._open[slot].values()) for slot in range(self._n)]

    def turns_by_game(self, side: int = 0) -> list[list[Turn]]:
        """The open turns of each game, first-opened first; in a duel those of the given side stand last."""
        if len(self.sides) == 1:
            return self.turns_by_slot()
        turns, own = self.turns_by_slot(), slice(side, None, 2)
        return [theirs + ours for theirs, ours in zip(turns[1 - side :: 2], turns[own], strict=True)]

    def step(self, actions: Mapping[TurnId, Action | Output]) -> list[Episode]:
        """Play some of the open turns, answer the retrievals that fall due, refill finished slots.

        Args:
            actions: by turn id: text, a candidate's number, or a ready `Output`. None at all waits for documents, where
                some are under way.

        Returns:
            The episodes that ended in this step, in slot order (and any that were cut short while being dealt). Short ones end
            first: for a sample of the questions take those of an index below a bound, not those that came first.

        Raises:
            JadeError: no action was given, or one is for a turn that is not open; nothing has been played then.
            RetrievalError: the retriever fails for every episode before anybody has a turn.
        """
        if not isinstance(actions, Mapping):
            raise JadeError(f"step takes actions by turn id, {{turn.id: action}}, not a {type(actions).__name__}")
        if not actions:
            if not self.waiting:
                raise JadeError("step needs an action for at least one open turn")
            self._wake(not self._ended_early)
            return self._take_ended()
        chosen: dict[int, list[tuple[Turn, Output]]] = {}
        for turn_id, action in actions.items():
            slot = self._slot_of.get(turn_id[0], -1) if isinstance(turn_id, tuple) and turn_id else -1
            turn = self._open[slot].get(turn_id) if slot >= 0 else None
            if turn is None:
                raise JadeError(f"turn {turn_id} is not open")
            output = action if isinstance(action, Output) else turn.output(action)
            chosen.setdefault(slot, []).append((turn, output))
        touched: set[int] = set()
        for slot in sorted(chosen):
            due = self._in_turn_order(slot, chosen[slot])
            if slot in self._errands.asleep:
                self._later.setdefault(slot, []).extend(due)
                for turn, _ in due:
                    del self._open[slot][turn.id]
            else:
                touched |= self._play(slot, due)
        settled = self._settle(touched)
        return self._take_ended() + settled

    def _play(self, slot: int, due: Sequence[tuple[Turn, Output]]) -> set[int]:
        """Play turns of one episode; return the slots that this changes."""
        episode, touched = self._slots[slot], {slot}
        for turn, output in due:
            if not episode.finished:  # a limit may end it on an earlier turn of this step
                episode.act(turn.game_turn, output)
            if self._executions > 1 and turn.node.parent is None and turn.kind == "workflow":
                touched.update(self._share_plan(episode, output))
        return touched

    def _wake(self, block: bool) -> None:
        """Hand over the documents that have come, and go on in the episodes that slept."""
        slots = self._errands.arrived(block)
        if not all(self._slots[slot].finished for slot in slots):
            self._lost_unplayed = 0
        touched: set[int] = set()
        for slot in slots:
            touched |= self._play(slot, self._later.pop(slot, ()))
        if touched:
            self._ended_early += self._settle(touched)

    def hold(self, ended: Sequence[Episode]) -> None:
        """Hand episodes that have ended out once more, with the next step."""
        self._ended_early += ended

    def _take_ended(self) -> list[Episode]:
        """The episodes that ended outside a step."""
        ended, self._ended_early = self._ended_early, []
        return ended

    def _in_turn_order(self, slot: int, chosen: list[tuple[Turn, Output]]) -> list[tuple[Turn, Output]]:
        if len(chosen) == 1:
            return chosen
        place = {turn_id: i for i, turn_id in enumerate(self._open[slot])}
        return sorted(chosen, key=lambda pair: place[pair[0].id])

    def _share_plan(self, leader: Episode, output: Output) -> list[int]:
        """Play a plan's root output in all its other executions that wait for it."""
        self._plans[self._plan(leader)] = (output, self._executions - 1)
        others = (leader.index + i * leader.rules.rivals for i in range(1, self._executions))
        waiting = sorted(self._slot_of[index] for index in others if index in self._slot_of)
        for slot in waiting:
            self._follow(self._slots[slot])
        return waiting

    def _plan(self, episode: Episode) -> int:
        return episode.place[1]

    def _leads(self, episode: Episode) -> bool:
        """Whether it is the execution in which its plan is written."""
        return episode.index // episode.rules.rivals % self._executions == 0

    def _follow(self, episode: Episode) -> bool:
        """Play the shared plan in a later execution; False while the plan is not written yet."""
        plan = self._plan(episode)
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
        if not self.overlaps:
            self._lost_unplayed = 0
        while slots:
            for slot in slots:
                self._catch_up(slot)
            self._retrieve(slots)
            ended = self._ended(slots)
            for slot in ended:
                episode = self._slots[slot]
                finished.append(episode)
                self._lost_unplayed += not episode.trace.played
                if self._lost_unplayed > self._n:
                    # no slot can be filled: the retriever fails before anybody has a turn
                    raise RetrievalError(f"no episode can begin: {episode.truncated}")
                del self._slot_of[episode.index]
                self._slots[slot] = self._table.dealer.deal(self.sides)
                self._slot_of[self._slots[slot].index] = slot
            for slot in slots:
                self._list_open(slot)
            slots = ended
        return finished

    def _ended(self, slots: Sequence[int]) -> list[int]:
        """Those slots whose episodes have finished; in a duel both slots of the games that have finished on both sides."""
        if len(self.sides) == 1:
            return [slot for slot in slots if self._slots[slot].finished]
        ended: list[int] = []
        for first in sorted({slot - slot % 2 for slot in slots}):
            rivals = self._slots[first : first + 2]
            if all(episode.finished for episode in rivals):
                settle_duel(rivals)
                ended += [first, first + 1]
        return ended

    def _retrieve(self, slots: Sequence[int]) -> None:
        """Answer what the episodes of some slots wait for: at once, or in the background while they sleep."""
        slots = [slot for slot in slots if slot not in self._errands.asleep]
        if self.overlaps and (asleep := sleepers(self._table, slots, self._slots)):
            self._errands.send(asleep)
            slots = [slot for slot in slots if slot not in asleep]
        self._table.settle(self._slots[slot] for slot in slots)

    def _catch_up(self, slot: int) -> bool:
        """Let a later execution follow its plan, where that is written; False where it has to wait for it."""
        episode = self._slots[slot]
        follows = self._executions > 1 and self.rules.planner is not None and not self._leads(episode)
        return not follows or bool(episode.trace.played) or self._follow(episode)

    def _list_open(self, slot: int) -> None:
        if not self._catch_up(slot):
            self._open[slot] = {}
            return
        episode = self._slots[slot]
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
    overlap: bool = False,
    retriever: Retriever | None = None,
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
        overlap: a remote retriever answers in the background while other episodes play.
        retriever: one of your own in place of the scenario's, with `search` and `identity` (`jade_env.retrieval.Retriever`).

    Raises:
        ConfigError: the scenario or an argument is not valid.
        DataError: its data cannot be read.
    """
    loaded = as_scenario(scenario, mode, overrides)
    return Pool(loaded, n, group_size, seed, split, data, overlap=overlap, retriever=retriever)
