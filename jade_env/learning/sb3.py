"""The game as a Stable-Baselines3 `VecEnv` in which all learning roles share one network's parameters.

    vec_env = make_vec_env("cooperative", n=64, seed=0)
    model = MaskablePPO(CandidatePolicy, vec_env, policy_kwargs={"layout": vec_env.layout})

One slot an episode; a slot's row is its oldest open turn (the AEC order), whoever's turn that is. Knows no learner.
"""

from __future__ import annotations

import jade_env.learning.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from jade_env import streams
from jade_env.config import answering, nearest
from jade_env.envs.encoding import Encoder
from jade_env.envs.pool import Pool, make_pool
from jade_env.envs.turn import Action, Turn
from jade_env.errors import ConfigError
from jade_env.game.episode import Episode, Rules
from jade_env.game.workflow import decomposes
from jade_env.learning.training_pool import TrainingPool
from jade_env.policy import Policy, make_policy
from jade_env.policy.base import actions_of
from jade_env.scenario import Scenario, as_scenario

Array = np.ndarray
MAX_EPISODES_WITHOUT_A_ROW = 1000


class _Slot:
    """One episode in play: the learner's row, and what has happened since its last one."""

    __slots__ = ("actions", "agents", "counted", "cuts", "episode", "return_", "rows", "turn")

    def __init__(self, episode: Episode, agents: frozenset[str]) -> None:
        self.episode, self.agents = episode, agents
        self.turn: Turn | None = None
        self.actions: list[Action] = []  # every action so far, partners' included: enough to play it again
        self.cuts: dict[int, int] = {}  # sides of a duel that were cut short, each behind how many actions
        self.counted = 0  # turns whose penalty has been given out
        self.rows = 0
        self.return_ = 0.0

    def earned(self) -> float:
        """What the learning agents' team has earned since this was last asked."""
        alone = self.episode.rules.reward.sharing == "private"
        fresh = self.episode.trace.played[self.counted :]
        reward = sum(turn.penalty for turn in fresh if not alone or turn.agent in self.agents)
        self.counted = len(self.episode.trace.played)
        reward += next((value for agent, value in self.episode.payoffs.items() if agent in self.agents), 0.0)
        self.return_ += reward
        return reward


class TurnVecEnv(VecEnv):
    """A pool of episodes as rows for one learner.

    Observation: `Encoder`'s vector, float32 in [-1, 1]. Action: Discrete(K), legal ones from `env_method("action_masks")`.
    Reward: what the team earned since the slot's previous row: format penalties as they fall, R_global once, at the end.
    At the end of an episode the info holds `terminal_observation`, `TimeLimit.truncated` (an outside cause, such as a
    retriever that is down), `episode` (r, l, t and the figures below), and f1, em, net, rounds, retrievals, turns,
    malformed, workflow.

    `seed()` restarts the order of questions of that seed at the next reset; a reset without one goes on in the order.

    In a duel a slot is a game: one side learns, the other is played by partners. The learning agents must receive the same
    rewards: one side of a duel, the team or its adversary, with private rewards one agent.

    Args:
        pool: the episodes; its group size must be 1, and its retrievals answered at once (`overlap=False`).
        agents: who learns; their turns are rows. All where not given (in a duel, the first side).
        partners: plays everybody else's turns; needed where not all learn.
        on_episode: called with every episode that ends and had a row, in slot order.

    Raises:
        ConfigError: an agent is not in the team, the agents' rewards differ, there are no partners for those who do not learn, or
            the pool's episodes sleep while documents are on their way.
    """

    explore = False
    """Whether the planner's turns on original questions are drawn evenly from the legal workflows, and are no rows: executors
    then learn every workflow before the planner learns to choose."""
    spec = None
    render_mode: str | None = None

    def __init__(
        self,
        pool: Pool,
        agents: Sequence[str] | None = None,
        partners: Policy | None = None,
        on_episode: Callable[[Episode], None] | None = None,
    ) -> None:
        team = pool.agents
        for agent in agents or ():
            if agent not in team:
                raise ConfigError(f"{agent!r} is not in the team: {', '.join(team)}{nearest(agent, team)}")
        if pool.overlaps:
            raise ConfigError(
                "the pool retrieves in the background, and a row is needed of every episode at once: make it with overlap=False"
            )
        self.pool, self.encoder = pool, Encoder(pool.scenario)
        self.agents = frozenset(pool.rules.agents if agents is None else agents)
        self._side = side_of(pool, self.agents)
        if partners is None and len(self.agents) < len(team):
            raise ConfigError(
                f"{', '.join(a for a in team if a not in self.agents)}: no partners are given to play them"
            )
        self._partners, self._on_episode = partners, on_episode
        n, encoder = len(pool.episodes) // len(pool.sides), self.encoder
        self._obs = np.zeros((n, encoder.size), np.float32)
        self._masks = np.zeros((n, encoder.actions), np.int8)
        self._slots: list[_Slot] = []
        self._actions: Array = np.zeros(n, np.int64)
        self._fresh = True
        self._began = time.monotonic()
        super().__init__(
            n, gymnasium.spaces.Box(-1.0, 1.0, (encoder.size,), np.float32), gymnasium.spaces.Discrete(encoder.actions)
        )

    @property
    def layout(self) -> tuple[int, int, int]:
        """Candidate features, turn features and roles of an observation, as `CandidatePolicy` takes them."""
        return self.encoder.width, self.encoder.turn_width, len(self.encoder.agents)

    # ---- Stable-Baselines3's interface ----------------------------------------------------------------------------

    def reset(self) -> Array:
        """Deal new episodes and return the first row of each."""
        for key in sorted({str(key) for options in self._options for key in options}):
            warnings.warn(f"reset: option {key!r} is not understood here; ignored", stacklevel=2)
        seed = self._seeds[0]
        if seed is not None or not self._fresh:
            self.pool.reset(seed)
        self._reset_seeds()
        self._reset_options()
        self._fresh = False
        self._slots = [_Slot(episode, self.agents) for episode in self._episodes()]
        self._to_next_rows([])
        self.reset_infos = [{} for _ in range(self.num_envs)]
        return self._obs.copy()

    def step_async(self, actions: Array) -> None:
        """Take one action a slot."""
        self._actions = np.asarray(actions).reshape(-1)

    def step_wait(self) -> tuple[Array, Array, Array, list[dict[str, Any]]]:
        """Play the actions and everything up to each slot's next row."""
        last = [slot.turn for slot in self._slots]
        chosen: dict[Any, Action] = {}
        for slot, action in zip(self._slots, self._actions.tolist(), strict=True):
            assert slot.turn is not None, "call reset() before step()"
            chosen[slot.turn.id] = action
            slot.actions.append(action)
            slot.rows += 1
        ended = self._to_next_rows(self.pool.step(chosen))
        rewards, dones = np.zeros(self.num_envs, np.float32), np.zeros(self.num_envs, bool)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for place, slot in enumerate(self._slots):
            over = ended.get(place)
            if over is None:
                rewards[place] = slot.earned()
            else:
                rewards[place], dones[place] = over.earned(), True
                turn = last[place]
                assert turn is not None
                infos[place] = self._final_info(over, turn)
        return self._obs.copy(), rewards, dones, infos

    def action_masks(self) -> Array:
        """The legal actions of every slot's row, booleans of shape (slots, K)."""
        masks = self._masks.astype(bool)
        assert masks.any(axis=1).all(), "a row without a legal action"
        return masks

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method for some slots; `action_masks` gives each its own row."""
        if method_name == "action_masks":
            masks = self.action_masks()
            return [masks[i] for i in self._get_indices(indices)]
        result = getattr(self, method_name)(*args, **kwargs)
        return [result for _ in self._get_indices(indices)]

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute, once a slot: all share one pool."""
        value = getattr(self, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute, which all slots share."""
        setattr(self, attr_name, value)

    def has_attr(self, attr_name: str) -> bool:
        """Whether there is such an attribute."""
        return hasattr(self, attr_name)

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No slot is wrapped by anything."""
        return [False for _ in self._get_indices(indices)]

    def close(self) -> None:
        """Nothing is held open."""

    # ---- the way from one row to the next -------------------------------------------------------------------------

    def _to_next_rows(self, finished: Iterable[Episode]) -> dict[int, _Slot]:
        """Refill ended slots and play partners' turns until every slot has a row; return the ended ones by place."""
        ended: dict[int, _Slot] = {}
        passed = 0
        while True:
            passed += self._refill(finished, ended)
            self._note_cuts()
            if passed > MAX_EPISODES_WITHOUT_A_ROW * self.num_envs:
                raise ConfigError(f"{', '.join(sorted(self.agents))}: no turn in {passed} episodes with these partners")
            partners: list[tuple[_Slot, Turn]] = []
            for slot, turns in zip(self._slots, self.pool.turns_by_game(self._side), strict=True):
                slot.turn = turns[0]
                if self._explores(slot.turn) or slot.turn.agent not in self.agents:
                    partners.append((slot, slot.turn))
            if not partners:
                break
            actions = self._play_others([turn for _, turn in partners])
            for (slot, _), action in zip(partners, actions, strict=True):
                slot.actions.append(action if isinstance(action, str) else int(action))
            finished = self.pool.step({turn.id: action for (_, turn), action in zip(partners, actions, strict=True)})
        for place, slot in enumerate(self._slots):
            assert slot.turn is not None
            self.encoder.write(slot.turn, self._obs[place], self._masks[place])
        return ended

    def _episodes(self) -> list[Episode]:
        """The learning side's episode of every game."""
        return self.pool.episodes[self._side :: len(self.pool.sides)]

    def _explores(self, turn: Turn) -> bool:
        return self.explore and turn.agent in self.agents and turn.kind == "workflow" and turn.view.depth == 0

    def _play_others(self, turns: Sequence[Turn]) -> list[Action]:
        """Actions for turns that are no rows: partners' and explored ones."""
        explored = [self._explores(turn) for turn in turns]
        theirs = [turn for turn, drawn in zip(turns, explored, strict=True) if not drawn]
        played = iter(actions_of(self._partners, theirs) if theirs and self._partners else ())
        return [_draw(turn) if drawn else next(played) for turn, drawn in zip(turns, explored, strict=True)]

    def _refill(self, finished: Iterable[Episode], ended: dict[int, _Slot]) -> int:
        """Put the pool's new episodes into the slots; return how many ended without a row of the learner."""
        if not finished:
            return 0
        passed = 0
        for place, episode in enumerate(self._episodes()):
            slot = self._slots[place]
            if slot.episode is episode:
                continue
            if slot.rows:
                ended[place] = slot
                if self._on_episode:
                    self._on_episode(slot.episode)
            else:
                passed += 1
            self._slots[place] = _Slot(episode, self.agents)
        return passed

    def _note_cuts(self) -> None:
        """Keep when a side of a duel was cut short, which the game's actions do not tell."""
        sides = len(self.pool.sides)
        if sides > 1:
            for number, episode in enumerate(self.pool.episodes):
                if episode.truncated:
                    slot = self._slots[number // sides]
                    slot.cuts.setdefault(number % sides, len(slot.actions))

    def _final_info(self, slot: _Slot, turn: Turn) -> dict[str, Any]:
        """What a learner is told at the end of an episode whose last row was `turn`."""
        episode = slot.episode
        truncated = bool(episode.truncated)
        # After a failure the value of the last row stands in for what was never earned; after an end there is nothing.
        terminal = self.encoder.encode(turn)[0] if truncated else self.encoder.idle(turn.role)[0]
        figures = outcome(episode)
        monitor = {"r": slot.return_, "l": slot.rows, "t": round(time.monotonic() - self._began, 6)}
        return {
            "terminal_observation": terminal,
            "TimeLimit.truncated": truncated,
            "episode": monitor | figures,
            **figures,
        }

    # ---- stopping and going on ------------------------------------------------------------------------------------

    def snapshot(self) -> list[dict[str, Any]]:
        """The episodes in play, as JSON: each one's number and every action so far, from which `restore` plays it again."""
        return [
            {
                "episode": s.episode.index,
                "actions": list(s.actions),
                "counted": s.counted,
                "rows": s.rows,
                "return": s.return_,
                "cuts": [list(cut) for cut in s.cuts.items()],
            }
            for s in self._slots
        ]

    def restore(self, snapshot: Sequence[Mapping[str, Any]]) -> Array:
        """Play the episodes of a snapshot up to where they stood; return the rows in play.

        Raises:
            ConfigError: it has another number of slots, or the pool cannot play episodes again.
        """
        if len(snapshot) != self.num_envs or not isinstance(self.pool, TrainingPool):
            raise ConfigError(f"a snapshot of {len(snapshot)} episodes needs a TrainingPool of as many slots")
        cuts = [{int(side): int(at) for side, at in saved.get("cuts", ())} for saved in snapshot]
        games = [(int(s["episode"]), list(s["actions"]), cut) for s, cut in zip(snapshot, cuts, strict=True)]
        self.pool.replay(games, self._side)
        self._fresh = False
        self._slots = [_Slot(episode, self.agents) for episode in self._episodes()]
        for slot, saved, cut in zip(self._slots, snapshot, cuts, strict=True):
            slot.cuts = cut
            slot.actions, slot.counted = list(saved["actions"]), int(saved["counted"])
            slot.rows, slot.return_ = int(saved["rows"]), float(saved["return"])
        self._to_next_rows([])
        return self._obs.copy()


def side_of(pool: Pool, agents: frozenset[str]) -> int:
    """The side that the learning agents play for.

    Raises:
        ConfigError: their rewards are not the same.
    """
    sides = [side for side, rules in enumerate(pool.sides) if agents.intersection(rules.agents)]
    against = {rules.agent(rules.adversary) for rules in pool.sides if rules.adversary}
    if pool.scenario.reward.sharing == "private" and len(agents) > 1:
        raise ConfigError(
            f"{pool.scenario.name}: rewards are private, so one agent learns at a time here: name it (train=[planner]), or use a"
            " recipe of a language model"
        )
    if len(sides) > 1 or (agents & against and agents - against):
        raise ConfigError(
            f"{pool.scenario.name}: {', '.join(sorted(agents))} play against each other: choose those of one side, such as"
            f" train=[{pool.rules.team or 'team'}]"
        )
    return sides[0] if sides else 0


def _draw(turn: Turn) -> int:
    """A workflow: chains, serial and parallel decompositions are equally likely, and so are the members of each."""
    shapes: dict[str, list[int]] = {}
    for number, workflow in enumerate(turn.view.workflows, 1):
        shapes.setdefault(workflow[0] if decomposes(workflow) else "", []).append(number)
    bits = streams.bits("explore", turn.seed, turn.id)
    members = list(shapes.values())[bits % len(shapes)]
    return members[bits // len(shapes) % len(members)]


def outcome(episode: Episode) -> dict[str, Any]:
    """The figures of a finished episode; a failed one has f1, em and net 0."""
    result, ledger = episode.result, episode.ledger
    return {
        "f1": result.scores.f1 if result else 0.0,
        "em": result.scores.em if result else 0.0,
        "net": result.value if result else 0.0,
        "rounds": ledger.rounds,
        "retrievals": ledger.retrievals,
        "turns": ledger.turns,
        "malformed": ledger.malformed,
        "workflow": ",".join(episode.trace.root.workflow or ()),
    }


def make_vec_env(
    scenario: str | Path | Scenario = "cooperative",
    n: int = 32,
    *,
    seed: int = 0,
    split: str = "train",
    agents: Sequence[str] | None = None,
    partners: str | Policy = "heuristic",
    data: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> TurnVecEnv:
    """Make the VecEnv of a scenario.

    Args:
        scenario: a shipped name, a path, or a loaded scenario.
        n: episodes in play at once, each a row.
        seed: seed of the order of questions.
        split: `train`, `dev`, `test`, or any file stem of the data folder.
        agents: who learns, by agent, role or team; all where not given.
        partners: a policy, or the name of one, for the others.
        data: the data location for scenarios with files; else JADE_DATA.
        overrides: dotted keys, e.g. `{"reward.round_cost": 0.1}`.

    Raises:
        ConfigError: an argument is not valid.
        DataError: the data cannot be read.
    """
    sides = len(as_scenario(scenario, "discrete", overrides).teams) or 1
    pool = make_pool(scenario, n * sides, 1, seed, split, "discrete", data=data, overrides=overrides)
    played, names = None, Rules.names(pool.scenario)
    agents = pool.rules.agents if agents is None else answering(names, agents, "agents")
    if set(agents) < set(pool.agents):
        played = make_policy(partners, pool.scenario, data=data, seed=seed) if isinstance(partners, str) else partners
    return TurnVecEnv(pool, agents, played)
