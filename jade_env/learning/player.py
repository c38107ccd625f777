"""A trained network as a `Policy`, and how one is read back from a run folder. Knows no learner.

It plays any scenario whose agents the run has learned, whatever its number of actions, if the features are the same.
"""

from __future__ import annotations

import jade_env.learning.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from jade_env import streams
from jade_env.envs.features import CANDIDATE_FEATURES, TURN_FEATURES, candidate_features, turn_features
from jade_env.envs.turn import Action, Turn
from jade_env.errors import ConfigError, DataError
from jade_env.game.episode import Rules
from jade_env.learning import checkpoint
from jade_env.learning.candidate_net import CandidateNet, Layout
from jade_env.learning.run_folder import CONFIG
from jade_env.learning.session import reproducible
from jade_env.policy import MixedPolicy, Policy, make_policy
from jade_env.policy.team import unlearned
from jade_env.scenario import Scenario, as_scenario, load_scenario

BATCH = 512
DIGITS = 4  # logits are compared to so many decimals, so that a sum's order in a batch decides nothing


class Weighed(NamedTuple):
    """A candidate's number, its log-probability (None where there are values and no probabilities), and the critic's value."""

    action: int
    logprob: float | None
    value: float


class NetworkPolicy:
    """Plays turns with a `CandidateNet`.

    Args:
        net: the network.
        agents: the roles of its one-hot, in order.
        greedy: plays the most probable candidate; else draws from the stream of each turn.
        name: what errors call it.
        values: its numbers are values of actions, as qmix learns them, and no logits: it plays the best one, asked to draw or not.
    """

    def __init__(
        self,
        net: CandidateNet,
        agents: Sequence[str],
        greedy: bool = True,
        name: str = "this network",
        *,
        values: bool = False,
    ) -> None:
        self._net, self._greedy, self._name, self._values = net, greedy or values, name, values
        self._place = {agent: place for place, agent in enumerate(agents)}

    def act(self, turns: Sequence[Turn]) -> list[Action]:
        """Return the number of a candidate for each turn.

        Raises:
            ConfigError: a turn is of an agent that the network has not learned.
        """
        return [chosen.action for chosen in self.weigh(turns)]

    def weigh(self, turns: Sequence[Turn]) -> list[Weighed]:
        """Return the action of each turn with what the network thinks of it.

        Raises:
            ConfigError: a turn is of an agent that the network has not learned.
        """
        found: list[Weighed] = []
        for start in range(0, len(turns), BATCH):
            batch = turns[start : start + BATCH]
            with torch.no_grad():
                logits, values = self._net(torch.from_numpy(self._encode(batch)))
            actions = self._choose(batch, logits)
            logprobs = torch.log_softmax(logits, 1)[torch.arange(len(batch)), torch.tensor(actions)].tolist()
            found += map(Weighed, actions, [None] * len(batch) if self._values else logprobs, values.tolist())
        return found

    def _choose(self, turns: Sequence[Turn], logits_BK: Tensor) -> list[int]:
        if self._greedy:
            return cast(list[int], logits_BK.round(decimals=DIGITS).argmax(1).tolist())
        below = torch.softmax(logits_BK.double(), 1).cumsum(1).numpy()
        draws = [streams.uniform("network", turn.seed, turn.id) for turn in turns]
        found = [int(np.searchsorted(row, draw, side="right")) for row, draw in zip(below, draws, strict=True)]
        return [min(max(1, action), len(turn.candidates)) for action, turn in zip(found, turns, strict=True)]

    def _encode(self, turns: Sequence[Turn]) -> np.ndarray:
        """Observation vectors as `envs/encoding.py` writes them, with K as large as this batch needs."""
        layout = self._net.layout
        actions = 1 + max(len(turn.candidates) for turn in turns)
        rows = np.zeros((len(turns), actions, layout.width), np.float32)
        context = np.zeros((len(turns), layout.context), np.float32)
        for i, turn in enumerate(turns):
            source, view, values = turn.card.candidates, turn.view, turn.candidates
            rows[i, 1 : 1 + len(values)] = candidate_features(source, view, values)
            context[i, : layout.turn_width] = turn_features(source, view)
            context[i, layout.turn_width + self._role(turn.role)] = 1.0
        return np.concatenate((rows.reshape(len(turns), -1), context), axis=1)

    def _role(self, agent: str) -> int:
        place = self._place.get(agent)
        if place is None:
            raise ConfigError(f"{self._name} has learned {', '.join(self._place)}, and cannot play {agent}")
        return place


def load_policy(
    run: str | Path,
    scenario: str | Path | Scenario | None = None,
    *,
    greedy: bool = True,
    which: Literal["first", "best", "last"] = "best",
    data: str | Path | None = None,
    seed: int = 0,
    roles: Collection[str] | None = None,
) -> Policy:
    """Read the team that a run has trained: the network for the roles that learned, the run's partners for the others.

    Args:
        run: the run folder.
        scenario: what it will play; the scenario it was trained on where not given.
        greedy: plays the most probable candidate; else draws. What qmix has learned are values: it always plays the best one.
        which: the checkpoint that did best on the held-out train questions (the last one if none were held out), or the last,
            or the network that training began with.
        data: the data location, for partners that look at the train questions.
        seed: seed of partners that draw.
        roles: the roles that it will be asked to play; all of the scenario's where not given.

    Raises:
        ConfigError: the run's features or roles do not fit.
        DataError: the run cannot be read, or has no checkpoint.
    """
    folder = Path(run)
    config = checkpoint.read_json(folder / CONFIG)
    try:
        agents, learned, recipe = list(config["agents"]), list(config["learned"]), config["recipe"]
        own_scenario, names = config["scenario"], config["features"]
        partners = str(recipe["partners"] if len(learned) < len(agents) else "")
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder / CONFIG}: {error} is missing; this is not the configuration of a run") from None
    _check_features(folder, names)
    game = _scenario_to_play(scenario, own_scenario, folder)
    team = [role for role in Rules.of(game).agents if roles is None or role in roles]
    if len(learned) == len(agents) and (unknown := [agent for agent in team if agent not in agents]):
        raise unlearned(folder, agents, unknown)
    net = _first(recipe, len(agents), int(config.get("seed", 0)))
    if which != "first" or 0 in checkpoint.saved_timesteps(folder):
        _fill(net, folder, which)
    elif recipe.get("start"):  # training began from another run's network
        _fill(net, Path(recipe["start"]), "best")
    policy = NetworkPolicy(net, agents, greedy, str(folder), values=recipe.get("algorithm") == "qmix")
    known = {role for role in agents if any(agent == role or agent.endswith(f"_{role}") for agent in learned)}
    if known.issuperset(team):
        return policy
    try:
        others = make_policy(partners, game, data=data, seed=seed)
    except ConfigError as error:  # a partner's place is that of where the training was begun
        raise ConfigError(f"{folder}: those who play beside what it has learned: {error}") from None
    return MixedPolicy({"default": others} | dict.fromkeys(known, cast(Policy, policy)))


def network_of(recipe: Mapping[str, Any], roles: int) -> CandidateNet:
    """The untrained network that a resolved recipe describes."""
    layout = Layout(len(CANDIDATE_FEATURES), len(TURN_FEATURES), roles)
    return CandidateNet(layout, tuple(recipe["network"]), recipe["sharing"] == "per_role")


def _first(recipe: Mapping[str, Any], roles: int, seed: int) -> CandidateNet:
    """The network that a training begins with: of its seed's own weights. The number of threads changes their last bits."""
    with reproducible(recipe["threads"]), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network_of(recipe, roles)


def feature_names() -> dict[str, list[str]]:
    """The names of all features, as a run's configuration records them."""
    return {"candidate": list(CANDIDATE_FEATURES), "turn": list(TURN_FEATURES)}


def _check_features(folder: Path, trained: Any) -> None:
    for kind, here in feature_names().items():
        there = list(trained.get(kind, ())) if isinstance(trained, Mapping) else []
        if there != here:
            changed = [name for name in (*there, *here) if (name in there) != (name in here)]
            raise ConfigError(
                f"{folder} was trained on {len(there)} {kind} features and this version has {len(here)} "
                f"({', '.join(changed[:4]) or 'in another order'}): train again, or use the version that made it"
            )


def _scenario_to_play(given: str | Path | Scenario | None, own: Any, folder: Path) -> Scenario:
    if given is not None:
        return as_scenario(given)
    try:
        return Scenario.model_validate(own)
    except ValueError:
        return load_scenario(str(own.get("name") if isinstance(own, Mapping) else folder))


def network_weights(run: str | Path, net: CandidateNet) -> dict[str, Tensor]:
    """The weights of a run's network, best or last, for a network of the same shape to begin with.

    Raises:
        ConfigError: it has another shape.
        DataError: the run cannot be read, or has no checkpoint.
    """
    folder = Path(run)
    weights = checkpoint.load_weights(folder, checkpoint.chosen_timesteps(folder))
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    if shapes != {name: tuple(tensor.shape) for name, tensor in weights.items()}:
        raise ConfigError(
            f"start: the network of {folder} has another shape: it was trained with other roles, network or sharing"
        )
    return weights


def _fill(net: CandidateNet, folder: Path, which: Literal["first", "best", "last"]) -> None:
    weights = checkpoint.load_weights(folder, checkpoint.chosen_timesteps(folder, which))
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(f"{folder}: the checkpoint does not fit the run's configuration: {error}") from None
