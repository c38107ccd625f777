"""The JADE environment: retrieval-augmented question answering as a cooperative game (`jade_v0`).

A question is dealt. The planner writes a workflow for it; the workflow's members rewrite, retrieve, select and answer, or
decompose the question into sub-questions that are planned in turn. One global reward scores the final answer. The game is
the multi-agent semi-MDP of the JADE paper (arXiv 2601.21916); `jade_env.game.episode` is its rule book.

| Import             | `import jade_env`                                                                        |
|--------------------|------------------------------------------------------------------------------------------|
| AEC                | `jade_env.env(...)`, without order checks `jade_env.raw_env(...)`                        |
| Parallel           | `jade_env.parallel_env(...)`                                                             |
| Many episodes      | `jade_env.make_pool(...)`                                                                |
| One role           | `jade_env.single_agent_env("planner", ..., partners="heuristic")` (Gymnasium)            |
| Agents             | those of the scenario's team that can have a turn, named by role                         |
| Agents can leave   | no: all end together                                                                     |
| Discrete actions   | `Discrete(K)`, the same for all; 0 is the no-op, i is candidate i; masked                |
| Discrete obs.      | `Dict(observation=Box(-1, 1, (D,), float32), action_mask=Box(0, 1, (K,), int8))`         |
| Text actions, obs. | any text; the prompt is the observation, chat messages are in `infos[agent]["messages"]` |
| State              | `state()`: `Box(-1, 1, (S,), float32)`, for central critics                              |

**Agents.** `planner`, `query_rewriter`, `serial_decomposer`, `parallel_decomposer`, `document_selector`,
`answer_generator`, `answer_summarizer`. A scenario's `team:` and `workflows:` decide which of them there are.

**Whose turn.** Turns are played first-opened first. AEC selects the agent whose turn that is, in a duel of the side that has
played less. The parallel environment plays in one tick the oldest open turn of every role that has one. An agent without a
turn submits the no-op (0 or ""), and whatever it submits is ignored; on one's own turn the no-op counts as malformed output.
Every action is understood: one that is illegal takes effect through the fallback of its kind (see `jade_env.game.outputs`)
and costs the format penalty.

**Observations.** In discrete mode one flat vector: K rows of F candidate features, row 0 (no-op) zero, then T features of
the turn, then the role one-hot (`jade_env.envs.features` names every feature). Candidates stand in reading order, never
best-first, and are made only from what the role may read. In text mode the prompt, whose documents are fenced.

**Rewards.** The format penalty (-1; preset `code`: -2) goes to the acting agent alone, at once. R_global = outcome - costs
(paper, eq. 6-8) goes to every agent at the last step. A learner that adds up a team's rewards counts R_global once.

**End.** `terminated` when the original question is solved or a limit of the game is reached (`max_turns` answers open nodes with
the empty string; such an episode is scored). `truncated` only for outside causes, such as a retriever that is down; then
there is no R_global.

**Seeds.** Episode j of a seed plays question `perm(seed, epoch)[j]`. `reset(seed=s)` restarts the order of s, `reset()` goes
on with it; environments made with equal seeds play the same, so give copies that run side by side seeds of their own.
`reset(options={"question_id": ..., "split": ...})` plays a given question, or changes the split.

**Copies.** `copy.deepcopy(env)` branches a game where it stands, for search in its tree; the two share the data and the order of
questions goes on in each by itself. A pickle holds the description alone (and a `retriever` that was
given, which has to allow it), and starts before its first reset.

**Infos.** Numbers under fixed keys: `has_turn`, and at the end `f1`, `em`, `net` (R_global), `rounds`, `retrievals`, `turns`,
`latency`, `failed`; in text mode also `messages` and `truncated_because`.

Version history: v0 (0.1.0), first release.
"""
