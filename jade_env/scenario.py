"""The typed form of `scenarios/*.yaml`: the game's questions, corpus, retriever, team, workflows, limits and rewards.

Knows what may be written; opening the data is `envs/source.py`, playing is `game/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PrivateAttr, Tag, field_validator, model_validator

from jade_env.agent import AgentCard, PromptStyle, load_agent
from jade_env.config import Settings, apply_overrides, beside, is_path, load_tree, nearest, validate
from jade_env.errors import ConfigError
from jade_env.game.workflow import RETRIEVE, check, codes, decomposes
from jade_env.questions.mixture import check_mixture
from jade_env.retriever_settings import Bm25, Count, Positive, RetrieverSettings, Share

Mode = Literal["text", "discrete"]

REWARD_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "rule": "standard",
        "yes_no": "as_others",
        "format_penalty": -1.0,
        "free_rounds": 0,
        "parallel_rounds": "each",
    },
    "code": {
        "rule": "jade_code",
        "yes_no": "em",
        "format_penalty": -2.0,
        "free_rounds": 1,
        "parallel_rounds": "together",
    },
}


class Reward(Settings):
    """What a team earns. `preset` fills what the file does not say: `paper` (eq. 6-8) or `code` (the released code)."""

    preset: Literal["paper", "code"] = "paper"
    """Fills what the file does not say."""
    outcome: Literal["f1", "em", "cover_em", "precision", "recall"] = "f1"
    """The metric of the final answer against the gold answers."""
    rule: Literal["standard", "jade_code"] = "standard"
    """How answers are normalised: as SQuAD and HotpotQA do, or as the released code does."""
    yes_no: Literal["as_others", "em"] = "as_others"
    """`em` scores questions whose gold answer is yes or no by exact match."""
    lists: Literal["as_others", "f1", "squared", "all"] = "as_others"
    """List questions: item F1, the squared share of right items (half a list is worth .25), or all or nothing."""
    format_penalty: float = Field(le=0, default=-1.0)
    """Given to the acting agent, at once, for an output that breaks its format."""
    round_cost: Share = 0.0
    """alpha: what `cap` or more rounds cost."""
    retrieval_cost: Share = 0.0
    """beta: what `cap` or more retrievals cost."""
    cap: Positive = 3
    """N(n) = min(n, cap) / cap."""
    free_rounds: Count = 0
    """Rounds that cost nothing (the released code does not charge the first)."""
    parallel_rounds: Literal["each", "together"] = "each"
    """Whether the children of a parallel decomposition count as a round each or as one together."""
    sharing: Literal["team", "private", "zero_sum"] = "team"
    """`team`: R_global to every member. `private`: to each its weighted share, minus what it spent itself. `zero_sum`: what one
    side wins the other loses, penalties included."""
    turn_cost: Share = 0.0
    """What a turn costs: its agent with `sharing: private`, else the team."""
    token_cost: Share = 0.0
    """What a token written costs, in the same way. Of a candidate chosen by number its words count."""
    weights: dict[str, Share] = Field(default_factory=dict)
    """With `sharing: private`: each agent's share of the outcome minus the common costs, by agent or `default`; 1 unless said."""
    latency_bonus: Share = 0.0
    """In a duel: added to the score of the side with the lower latency."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("preset", "paper") in REWARD_PRESETS:
            return {**REWARD_PRESETS[given.get("preset", "paper")], **given}
        return given

    @model_validator(mode="after")
    def _weights_are_private(self) -> Reward:
        if self.weights and self.sharing != "private":
            raise ValueError(f"weights: go with sharing: private, not with {self.sharing}")
        return self

    def weight_of(self, agent: str) -> float:
        """An agent's share of what is common, with `sharing: private`."""
        return self.weights.get(agent, self.weights.get("default", 1.0))


class Limits(Settings):
    """Limits are rules of the game: reaching one ends or shortens an episode, which is scored as it stands."""

    max_depth: Annotated[int, Field(ge=0, le=8)] = 1
    """Decomposing is illegal for a node at this depth (the original question is at 0)."""
    max_subquestions: Annotated[int, Field(ge=1, le=7)] = 7
    """Sub-questions opened by one decomposition; further ones are dropped."""
    max_rounds: Positive = 8
    """Nodes opened in an episode; decomposing is illegal once there are so many."""
    max_turns: Positive = 64
    """After so many turns every open node is answered with the empty string."""
    pool: Annotated[int, Field(ge=1, le=5)] = 3
    """Passages that an adversary may choose from: those that the retriever ranks next behind `top_k`."""
    swaps: Positive = 64
    """Documents that an adversary may replace in a round (of one question or sub-question)."""
    forged_words: Annotated[int, Field(ge=1, le=400)] = 40
    """Words of a text that an adversary writes itself."""


class WorldData(Settings):
    """Questions from the embedded world: every split is a world of its own with redrawn facts."""

    source: Literal["world"] = "world"
    passages: Annotated[int, Field(ge=100, le=1_000_000)] = 2000
    """Passages in each split's corpus."""
    train: Positive = 4000
    """Questions in the train split."""
    dev: Positive = 500
    """Questions in the dev split."""
    test: Positive = 500
    """Questions in the test split (and in any split of another name)."""
    seed: Count = 0
    """Seed of the worlds."""
    mixture: dict[str, Share] | None = None
    """Shares of the question kinds; the world's default where not given."""
    phrasings: Annotated[int, Field(ge=1, le=4)] = 4
    """Plain wordings of each fact in use."""
    oblique: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of passages worded without a word of the questions that ask for their fact."""
    lexicon: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the words that names are made of; with fewer of them a small model learns sooner."""

    @field_validator("mixture")
    @classmethod
    def _can_be_asked(cls, given: dict[str, float] | None) -> dict[str, float] | None:
        if given is not None:
            try:
                check_mixture(given)
            except ConfigError as error:
                raise ValueError(str(error).removeprefix("mixture: ")) from None
        return given


class FileData(Settings):
    """Questions and corpus in FlashRAG/Search-R1 JSONL: `corpus.jsonl` and `SPLIT.jsonl` in one folder."""

    source: Literal["files"] = "files"
    folder: str = Field(min_length=1)
    """The folder, or its name inside the data location (`--data DIR` or `JADE_DATA`)."""


def _named_or_whole(given: Any) -> str:
    return "AgentCard" if isinstance(given, Mapping | AgentCard) else "str"


Member = Annotated[Annotated[str, Tag("str")] | Annotated[AgentCard, Tag("AgentCard")], Discriminator(_named_or_whole)]


class Scenario(Settings):
    """One game."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    summary: str = Field(min_length=1, max_length=200)
    """One line for listings."""
    data: Annotated[WorldData | FileData, Field(discriminator="source")]
    retriever: RetrieverSettings = Bm25()
    """`kind: bm25`, `dense`, `hybrid` or `remote`; see `docs/retrieval.md`."""
    team: tuple[Member, ...] = Field(min_length=1)
    """Agent cards: by name, by path, or whole."""
    teams: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$")], ...] = ()
    """Two names make a duel: each side is a full `team`, its agents named `red_planner`, `blue_planner`, ..."""
    workflows: tuple[tuple[str, ...], ...] = Field(min_length=1)
    """The planner's action set; a list of one is a static pipeline without a planner."""
    limits: Limits = Limits()
    reward: Reward = Reward()
    mode: Mode | dict[str, Mode] = "discrete"
    """`text` or `discrete`, for all agents or by agent with a `default`."""
    prompt: PromptStyle = "full"
    """Which of a card's two prompts text mode shows."""
    _cards: dict[str, AgentCard] = PrivateAttr(default_factory=dict)

    @field_validator("workflows", mode="before")
    @classmethod
    def _split_chains(cls, given: Any) -> Any:
        if not isinstance(given, list | tuple):
            raise ValueError("expected a list of workflows such as [QR,R,AG]")
        return tuple(codes(item) if isinstance(item, str) else item for item in given)

    @model_validator(mode="after")
    def _hangs_together(self) -> Scenario:
        try:
            chains = [check(workflow) for workflow in self.workflows]
        except ConfigError as error:
            raise ValueError(f"workflows: {error}") from None
        try:
            cards = [load_agent(card) if isinstance(card, str) else card for card in self.team]
        except ConfigError as error:
            raise ValueError(f"team: {error}") from None
        if len(set(chains)) < len(chains):
            raise ValueError("workflows: one stands twice")
        if all(decomposes(chain) for chain in chains):
            raise ValueError("workflows: at least one must end in AG, for sub-questions and as a fallback")
        names = [card.name for card in cards]
        if len(set(names)) < len(names):
            raise ValueError("team: an agent stands twice")
        by_code = [card.code for card in cards if card.code]
        for code in by_code:
            if by_code.count(code) > 1:
                raise ValueError(f"team: {code} is the code of two agents; one of them would never play")
        members = set(by_code)
        for chain in chains:
            for code in chain:
                if code != RETRIEVE and code not in members:
                    raise ValueError(
                        f"workflows: {','.join(chain)} needs an agent with the code {code}, which the team lacks"
                    )
        if len(chains) > 1 and not any(card.writes == "workflow" for card in cards):
            raise ValueError("team: several workflows need an agent that writes a workflow (planner)")
        if any(decomposes(chain) for chain in chains) and not any(_is_summarizer(card) for card in cards):
            raise ValueError("team: decomposing needs an agent that summarizes (answer_summarizer)")
        for key, table in (("mode", self.mode), ("reward.weights", self.reward.weights)):
            for agent in table if isinstance(table, dict) else ():
                if agent not in (*names, "default"):
                    raise ValueError(f"{key}: {agent!r} is not in the team{nearest(agent, (*names, 'default'))}")
        self._sides_are_playable([card for card in cards if card.writes == "document"])
        self._cards = {card.name: card for card in cards}
        return self

    def _sides_are_playable(self, adversaries: list[AgentCard]) -> None:
        """Rivals need a reward that sets them against each other, and a reward that does so needs rivals."""
        sharing = self.reward.sharing
        if self.teams and (len(self.teams) != 2 or self.teams[0] == self.teams[1]):
            raise ValueError("teams: a duel has two, with different names, such as [red, blue]")
        if self.teams and adversaries:
            raise ValueError(f"team: {adversaries[0].name} has no place in a duel")
        if len(adversaries) > 1:
            raise ValueError("team: one agent at most writes documents")
        if (self.teams or adversaries) and sharing != "zero_sum":
            raise ValueError(f"reward.sharing: rivals need zero_sum, not {sharing}")
        if sharing == "zero_sum" and not (self.teams or adversaries):
            raise ValueError("reward.sharing: zero_sum needs two teams, or an adversary in the team")
        if self.reward.latency_bonus and not self.teams:
            raise ValueError("reward.latency_bonus: goes with two teams")

    @property
    def cards(self) -> Mapping[str, AgentCard]:
        """The team's cards by agent name, in team order."""
        return self._cards

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of output that the team writes."""
        return frozenset(card.writes for card in self._cards.values())

    def resolved(self) -> dict[str, Any]:
        """The scenario as a tree for JSON that needs no file of the user's own: cards given by path stand in it whole."""
        tree = self.model_dump(mode="json")
        named = zip(self.team, self._cards.values(), strict=True)
        tree["team"] = [
            card if isinstance(card, str) and not is_path(card) else own.model_dump(mode="json") for card, own in named
        ]
        return tree

    def mode_of(self, agent: str) -> Mode:
        """The mode of one role."""
        if isinstance(self.mode, dict):
            return self.mode.get(agent, self.mode.get("default", "discrete"))
        return self.mode


def _is_summarizer(card: AgentCard) -> bool:
    return not card.code and card.writes == "answer"


def load_scenario(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> Scenario:
    """Load a scenario by shipped name or by path, with dotted overrides such as `{"reward.round_cost": 0.1}`.

    Raises:
        ConfigError: the scenario does not exist or is not valid; one line for each mistake.
    """
    tree, label = load_tree("scenarios", name_or_path)
    if isinstance(tree.get("team"), list):
        tree["team"] = [beside(name_or_path, card) for card in tree["team"]]
    return scenario_of(tree, label, overrides)


def as_scenario(
    scenario: str | Path | Scenario, mode: Mode | None = None, overrides: Mapping[str, Any] | None = None
) -> Scenario:
    """A loaded scenario with a mode and overrides applied.

    Raises:
        ConfigError: the scenario or an override is not valid, or overrides are given for a loaded scenario.
    """
    if not isinstance(overrides, Mapping | None):
        raise ConfigError(
            f"overrides: expected dotted keys with values, such as {{'reward.round_cost': 0.1}}, found {overrides!r}"
        )
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


def scenario_of(tree: dict[str, Any], label: str, overrides: Mapping[str, Any] | None = None) -> Scenario:
    """The typed form of a scenario's tree, with overrides; errors begin with the label.

    Raises:
        ConfigError: as `load_scenario`.
    """
    if overrides:
        tree = apply_overrides(tree, overrides, label)
        label = f"{label} (with {', '.join(f'{key}={value}' for key, value in overrides.items())})"
    return validate(Scenario, tree, label)
