"""The rule book: one question played by one team, as a deterministic state machine (the JADE paper's MSMDP, algorithm 1).

    episode = Episode(question, Rules.of(scenario))
    while not episode.finished:
        for request in episode.pending_queries:            # retrieval is asked for by data ...
            episode.supply(request, documents)             # ... and answered by whoever plays the game
        turn = episode.turns[0]
        episode.act(turn, parse(turn.kind, text, **turn.context))

Knows questions, documents and outputs. Knows no retriever, no prompt, no policy, no environment, and no other episode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jade_env.agent import AgentCard
from jade_env.errors import JadeError
from jade_env.game.outputs import KINDS, Output
from jade_env.game.rewards import Ledger, Result, Side, duel, payoffs, score
from jade_env.game.trace import Node, Played, Trace
from jade_env.game.view import View, Workflow
from jade_env.game.workflow import RETRIEVE, SOLVER, decomposes, substitute
from jade_env.questions import Question
from jade_env.retrieval.types import Document
from jade_env.scenario import Limits, Reward, Scenario

ROOT_FALLBACK: Workflow = ("QDS",)
LEAF_FALLBACK: Workflow = ("R", "AG")
MADE_OF_ANSWERS = ("query", "summary")
"""The sources of candidates that sub-answers are put into; in the others' numbers is only how many there are, and of what kind."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What of a scenario the game needs to know. `team` is the one of `rivals` teams that plays by them, "" where there is but one.

    `top_k` documents of a retrieval are read; those behind them, up to `depth`, are the adversary's pool.
    """

    workflows: tuple[Workflow, ...]
    leaf_workflows: tuple[Workflow, ...]
    limits: Limits
    reward: Reward
    top_k: int
    planner: AgentCard | None
    rewriter: AgentCard | None
    summarizer: AgentCard | None
    adversary: AgentCard | None
    by_code: Mapping[str, AgentCard]
    agents: tuple[str, ...]
    team: str = ""
    rivals: int = 1

    @property
    def depth(self) -> int:
        """Documents asked of the retriever."""
        return self.top_k + (self.limits.pool if self.adversary else 0)

    def agent(self, card: AgentCard) -> str:
        """The name under which a role plays in this team."""
        return f"{self.team}_{card.name}" if self.team else card.name

    @staticmethod
    def names(scenario: Scenario) -> dict[str, tuple[str, ...]]:
        """Everybody who can ever have a turn, with the names they answer to: the agent's, its role's and its team's.

        Where there is an adversary, the others answer to `team`.
        """
        found: dict[str, tuple[str, ...]] = {}
        for rules in Rules.sides(scenario):
            for card in scenario.cards.values():
                if (agent := rules.agent(card)) in rules.agents:
                    other = ("team",) if rules.adversary and card is not rules.adversary else ()
                    found[agent] = (agent, card.name, rules.team) if rules.team else (agent, *other)
        return found

    @staticmethod
    def sides(scenario: Scenario) -> tuple[Rules, ...]:
        """The rules of each of a scenario's teams; those of the one team where it has no others."""
        return tuple(Rules.of(scenario, team) for team in scenario.teams or ("",))

    @staticmethod
    def of(scenario: Scenario, team: str = "") -> Rules:
        """The rules of one team; `agents` are its members that can ever have a turn, in team order."""
        cards = list(scenario.cards.values())
        leaf = tuple(w for w in scenario.workflows if not decomposes(w))
        used = {code for workflow in scenario.workflows for code in workflow}
        limits = scenario.limits
        splits = len(leaf) < len(scenario.workflows) and limits.max_depth > 0 and limits.max_rounds > 1
        workflows = scenario.workflows if splits else leaf
        planner = next((c for c in cards if c.writes == "workflow"), None) if len(workflows) > 1 else None
        rewriter = next((c for c in cards if c.writes == "query"), None)
        summarizer = next((c for c in cards if not c.code and c.writes == "answer"), None) if splits else None
        adversary = next((c for c in cards if c.writes == "document"), None)
        by_code = {c.code: c for c in cards if c.code and c.code in used}
        playing = {c.name for c in (planner, summarizer, adversary, *by_code.values()) if c}
        if rewriter and "QDS" in used and splits:
            playing.add(rewriter.name)
        return Rules(
            workflows=workflows,
            leaf_workflows=leaf,
            limits=limits,
            reward=scenario.reward,
            top_k=scenario.retriever.top_k,
            planner=planner,
            rewriter=rewriter if splits else None,
            summarizer=summarizer,
            adversary=adversary,
            by_code=by_code,
            agents=tuple(f"{team}_{c.name}" if team else c.name for c in cards if c.name in playing),
            team=team,
            rivals=2 if team else 1,
        )


@dataclass(slots=True, eq=False)
class Turn:
    """A turn that is open: `agent` may write one output of `kind` for `node`. `step` numbers the turns of a node from 0."""

    card: AgentCard
    node: Node
    step: int
    episode: Episode
    agent: str
    kind: str
    _view: View | None = None

    @property
    def view(self) -> View:
        """What the agent may read."""
        if self._view is None:
            self._view = self.episode.view(self)
        return self._view

    @property
    def context(self) -> dict[str, Any]:
        """What the validity of an output depends on, as `outputs.parse` takes it."""
        node, kind = self.node, self.kind
        if kind == "workflow":
            return {"workflows": self.episode.legal_workflows(node)}
        if kind == "document_ids":
            return {"documents": len(node.documents)}
        if kind == "document":
            words = self.episode.rules.limits.forged_words
            return {"documents": len(node.documents), "passages": len(node.pool), "words": words}
        if kind == "search_or_answer":
            return {"may_search": self.episode.may_search(node)}
        return {"question": node.query}


@dataclass(slots=True, eq=False)
class Retrieval:
    """A query that waits for its documents."""

    node: Node
    query: str
    top_k: int


@dataclass(eq=False, repr=False)
class Episode:
    """One question, played by one team. `turns` are open, first-opened first; `pending_queries` wait for `supply`.

    `group` says how often its question is dealt: plans, and executions of each. `payoffs` hold what each agent receives at the end:
    of a team that has a rival they are set when both have finished (`rewards.duel`), and they stay empty in a truncated episode.
    """

    question: Question
    rules: Rules
    index: int = 0
    group: tuple[int, int] = (1, 1)
    turns: list[Turn] = field(default_factory=list)
    pending_queries: list[Retrieval] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    finished: bool = False
    truncated: str = ""
    result: Result | None = None
    payoffs: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        text, room = self.question.text, self.rules.limits.max_rounds - 1
        root = Node(path=(), question=text, query=text, room=room, left=room)
        self.trace = Trace(root, [root])
        self._plan(root)

    # ---- what a player may do -------------------------------------------------------------------------------------

    def act(self, turn: Turn, output: Output) -> float:
        """Play an open turn and return the format penalty it cost at once (0 or negative; in zero-sum games it is in the score).

        Raises:
            JadeError: the turn is not open, or the output is of another kind than the turn expects.
        """
        card, node, ledger = turn.card, turn.node, self.ledger
        if output.kind != turn.kind:
            raise JadeError(f"{turn.agent} writes {turn.kind}, not {output.kind}")
        try:
            self.turns.remove(turn)
        except ValueError:
            raise JadeError(f"{turn.agent} has no such turn open in this episode") from None
        reward = self.rules.reward
        penalty = 0.0 if output.valid or reward.sharing == "zero_sum" else reward.format_penalty
        node.clock += card is not self.rules.adversary
        ledger.turns += 1
        ledger.tokens += output.tokens
        ledger.malformed += not output.valid
        self.trace.played.append(Played(turn.agent, node.path, turn.step, output, penalty, node.clock))
        KINDS[output.kind].apply(self, node, output)
        if not self.finished and node.answer is None and node.serial is None:
            self._go_on(node)
        if not self.finished and ledger.turns >= self.rules.limits.max_turns:
            self._give_up()
        return penalty

    def supply(self, request: Retrieval, documents: Sequence[Document]) -> None:
        """Answer a pending query with its documents, best first."""
        self.pending_queries.remove(request)
        node, top_k = request.node, self.rules.top_k
        found = tuple(documents[:top_k])
        node.clock += 1
        self.ledger.retrievals += 1
        alone = node.workflow == (SOLVER,)  # who reads on in what it has
        if alone:
            node.searches.append((request.query, found))
        node.retrieved = tuple(dict.fromkeys((*(node.retrieved or ()), *found))) if alone else found
        node.documents = tuple(dict.fromkeys((*node.documents, *found))) if alone else found
        node.pool = tuple(documents[top_k : request.top_k])
        if self.rules.adversary and node.documents and node.pool and node.swaps < self.rules.limits.swaps:
            return self._open(self.rules.adversary, node)
        return self._go_on(node)

    def truncate(self, reason: str) -> None:
        """End the episode for a cause outside the game: it gets no R_global and no answer."""
        self.finished, self.truncated = True, reason
        self.turns.clear()
        self.pending_queries.clear()

    # ---- the course of a round ------------------------------------------------------------------------------------

    def _plan(self, node: Node) -> None:
        """A node opens: the planner writes its workflow, or the only legal one is played without asking."""
        legal = self.legal_workflows(node)
        if self.rules.planner and len(legal) > 1:
            self._open(self.rules.planner, node)
        else:
            self.start_round(node, legal[0])
            self._go_on(node)

    def start_round(self, node: Node, workflow: Workflow) -> None:
        """The workflow of a node is settled: its members will play one after another."""
        node.workflow = node.todo = workflow
        self.ledger.rounds += 1
        first_of_siblings = node.parent is None or node.parent.serial or node is node.parent.children[0]
        self.ledger.rounds_together += bool(first_of_siblings)

    def _go_on(self, node: Node) -> None:
        """Run the next member of the node's workflow; before there is one, a rewritten sub-question is planned."""
        if node.workflow is None:
            return self._plan(node)
        code, node.todo = node.todo[0], node.todo[1:]
        if code == RETRIEVE:
            self.pending_queries.append(Retrieval(node, node.search or node.query, self.rules.depth))
            return None
        card = self.rules.by_code[code]
        if card.writes == "document_ids" and not node.documents:
            return self._go_on(node)
        return self._open(card, node)

    def decompose(self, node: Node, questions: Sequence[str], serial: bool) -> None:
        """Open sub-questions: all at once, or for a serial decomposition one after another.

        They share the rounds that the node has left, so that what is legal in one does not depend on what goes on in others.
        """
        if node.room < 1:  # a ready output that no text could have said: answer without decomposing
            node.workflow = node.todo = self.fallback_workflow(node)
            return
        node.serial = serial
        opened = questions[: min(self.rules.limits.max_subquestions, node.room)]
        share, more = divmod(node.room - len(opened), len(opened))
        for i, question in enumerate(opened, 1):
            room = share + (i <= more)
            node.children.append(
                Node((*node.path, i), question, question, node, room=room, left=room, clock=node.clock)
            )
        node.left = 0
        self.trace.nodes.extend(node.children)
        for child in node.children[:1] if serial else node.children:
            self._plan(child)

    def search(self, node: Node, query: str) -> None:
        """A lone solver searches, and then has another turn; every search beyond the first is another round, one of the node's."""
        again = bool(node.searches)
        node.left -= again
        self.ledger.rounds += again
        self.ledger.rounds_together += again
        node.search, node.todo = query, (RETRIEVE, SOLVER)

    def may_search(self, node: Node) -> bool:
        """Whether a lone solver has a search left."""
        return not node.searches or node.left > 0

    def replace(self, node: Node, place: int, put: Document | str) -> None:
        """An adversary replaces a document at hand by a passage, or by a text under the same title."""
        node.swaps += 1
        old = node.documents[place]
        new = put if isinstance(put, Document) else Document(f"forged:{old.id}", old.title, put)
        node.documents = (*node.documents[:place], new, *node.documents[place + 1 :])
        node.searches = [
            (query, tuple(new if document == old else document for document in found)) for query, found in node.searches
        ]

    def judge(self, node: Node, verdict: str) -> None:
        """A verdict on a draft: it becomes the answer, or the generator writes again, once, knowing what was sent back.

        `retry` has it written from the same documents, `search` from those of the same query asked again.
        """
        if verdict == "accept":
            return self.solve(node, node.draft)
        node.sent_back, node.todo = True, ("AG",) if verdict == "retry" else (RETRIEVE, "AG")
        return None

    def solve(self, node: Node, answer: str) -> None:
        """A node has its answer: the episode ends, the next sub-question opens, or the parent is summarized.

        An answer with a verifier behind it is a draft until that has judged it.
        """
        if node.todo:
            node.draft = answer
            return None
        node.answer = answer
        parent = node.parent
        if parent is None:
            return self._finish()
        if all(child.answer is not None for child in parent.children):
            parent.clock = max(child.clock for child in parent.children)
            parent.left = sum(child.left for child in parent.children)
            assert self.rules.summarizer is not None
            return self._open(self.rules.summarizer, parent)
        if parent.serial:
            self._open_next(parent, node)
        return None

    def _open_next(self, parent: Node, solved: Node) -> None:
        """The next sub-question of a serial decomposition is rewritten with the answers so far, then planned."""
        child = parent.children[solved.path[-1]]
        child.clock = solved.clock
        child.room, solved.left = child.room + solved.left, 0  # what the one has not used
        child.left = child.room
        if self.rules.rewriter:
            return self._open(self.rules.rewriter, child)
        child.query = substitute(child.query, [each.answer or "" for each in parent.children[: solved.path[-1]]])
        return self._plan(child)

    def _finish(self) -> None:
        self.finished = True
        self.turns.clear()
        self.pending_queries.clear()
        self.ledger.latency = self.trace.root.clock
        played, against = self.trace.played, self.adversaries
        own = [turn for turn in played if turn.agent not in against] if against else played
        self.result = score(self.question, self.answer, self.ledger, self.rules.reward, own)
        if not self.rules.team:
            self.payoffs = payoffs(self.rules.agents, against, self.result, played, self.rules.reward)

    def _give_up(self) -> None:
        """The limit of turns is reached: every open node is answered with the empty string."""
        self.trace.root.clock = max(node.clock for node in self.trace.nodes)
        for node in self.trace.nodes:
            node.answer = node.answer or ""
        self._finish()

    # ---- what follows from the state ------------------------------------------------------------------------------

    @property
    def place(self) -> tuple[int, int]:
        """The numbers of its question and of its plan in the seeded order; a plan is one side's."""
        (plans, executions), (game, side) = self.group, divmod(self.index, self.rules.rivals)
        return game // (plans * executions), game // executions * self.rules.rivals + side

    def __repr__(self) -> str:
        state = self.truncated or ("finished" if self.finished else "in play")
        return f"Episode({self.index}, question={self.question.id!r}, {len(self.trace.played)} turns, {state})"

    @property
    def adversaries(self) -> tuple[str, ...]:
        """The agents that play against the team."""
        return (self.rules.agent(self.rules.adversary),) if self.rules.adversary else ()

    @property
    def penalties(self) -> float:
        """The format penalties of the team's own outputs, also where they are in the score and nothing is due at once."""
        against = self.adversaries
        broken = sum(not turn.output.valid for turn in self.trace.played if turn.agent not in against)
        return self.rules.reward.format_penalty * broken if broken else 0.0

    @property
    def answer(self) -> str:
        """The answer of the original question; empty while there is none."""
        return self.trace.root.answer or ""

    def legal_workflows(self, node: Node) -> tuple[Workflow, ...]:
        """The scenario's workflows, without decompositions for a node at a limit of depth or rounds."""
        rules = self.rules
        splits = node.room > 0 and len(node.path) < rules.limits.max_depth
        return rules.workflows if splits else rules.leaf_workflows

    def fallback_workflow(self, node: Node) -> Workflow:
        """What a malformed plan becomes: QDS for the original question, R,AG below it, the first legal one if illegal."""
        legal = self.legal_workflows(node)
        for wanted in (ROOT_FALLBACK, LEAF_FALLBACK) if node.parent is None else (LEAF_FALLBACK,):
            if wanted in legal:
                return wanted
        return next(w for w in legal if not decomposes(w))

    def view(self, turn: Turn) -> View:
        """What the agent of a turn may read; independent of the order in which other nodes are played."""
        node, kind, reads = turn.node, turn.kind, turn.card.reads
        draft = "draft" in reads if kind == "verdict" else node.sent_back and "rejected" in reads
        if "answers" not in reads and turn.card.candidates in MADE_OF_ANSWERS:
            answers: tuple[tuple[str, str], ...] = ()
        elif turn.card is self.rules.summarizer:
            answers = tuple((child.query, child.answer or "") for child in node.children)
        elif node.parent is not None and node.parent.serial:
            earlier = node.parent.children[: node.path[-1] - 1]
            answers = tuple((child.query, child.answer or "") for child in earlier)
        else:
            answers = ()
        return View(
            self.question.text,
            node.query,
            answers,
            node.documents if "documents" in reads or "history" in reads else (),
            self.legal_workflows(node) if kind == "workflow" else (),
            len(node.path),
            node.retrieved is not None,
            node.draft if draft else "",
            tuple(node.searches) if "history" in reads else (),
            node.pool if kind == "document" and "pool" in reads else (),
            kind != "search_or_answer" or self.may_search(node),
        )

    def _open(self, card: AgentCard, node: Node) -> None:
        self.turns.append(Turn(card, node, node.steps, self, self.rules.agent(card), card.writes))
        node.steps += 1

    def support_ids(self) -> set[str]:
        """Ids of all documents retrieved so far."""
        return {document.id for node in self.trace.nodes for document in node.retrieved or ()}


def settle_duel(rivals: Sequence[Episode]) -> None:
    """Set what the agents of two finished rivals receive; where one was cut short, so is the other."""
    reason = next((episode.truncated for episode in rivals if episode.truncated), "")
    if reason:
        for episode in rivals:
            episode.truncated, episode.result = reason, None
        return
    sides = [Side(each.rules.agents, each.result, each.ledger) for each in rivals if each.result is not None]
    for episode, gained in zip(rivals, duel(sides, rivals[0].rules.reward), strict=True):
        episode.payoffs = gained


__all__ = ["Episode", "Retrieval", "Rules", "Turn", "settle_duel"]
