"""What a study says and what it resolves to; every mistake is named with its place before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from jade_env.config import names
from jade_env.errors import ConfigError
from jade_env.recipe import PpoRecipe, Recipe
from jade_env.research.one_run import TRAINING, curves_of
from jade_env.research.report.study import _mean
from jade_env.research.study import list_studies, load_study, runs_of
from jade_env.show import as_yaml, resolved

TREE = {
    "name": "mine",
    "summary": "a study",
    "scenarios": ["small_world", {"scenario": "small_world", "name": "short", "overrides": {"limits.max_rounds": 2}}],
    "arms": {
        "joint": {"policy": "jade_joint", "overrides": {"clip": 0.1}},
        "exact": {"policy": "jade_joint", "scenario_overrides": {"reward.outcome": "em", "workflows": [["R", "AG"], ["AG"]]}},
        "untrained": {"policy": "jade_joint", "train": False},
        "sb3": {"policy": "sb3_shared"},
        "heuristic": {"policy": "heuristic"},
    },
    "seeds": [0, 3],
    "budget": {"steps": 7, "total_timesteps": 4096},
}  # fmt: skip


def write(folder: Path, **changes: object) -> str:
    path = folder / "mine.yaml"
    tree = TREE | ({"budget": {}} if "arms" in changes else {}) | changes  # other arms may have no use for its keys
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return str(path)


@pytest.mark.parametrize("name", names("studies"))
def test_every_shipped_study_is_named_after_its_file_and_resolves(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    runs = runs_of(study)
    assert len(runs) == len(study.scenarios) * len(study.arms) * len(study.seeds)
    assert len({run.name for run in runs}) == len(runs)


def test_the_studies_promised_are_shipped() -> None:
    assert {"paper_ablation", "paradigms", "rewards", "marl_baselines", "heterogeneous", "adversaries"} <= set(
        list_studies()
    )


def test_a_study_is_every_arm_on_every_scenario_with_every_seed_whole_comparisons_first(tmp_path: Path) -> None:
    runs = runs_of(load_study(write(tmp_path)))
    assert [run.name for run in runs[:6]] == [
        "small_world/joint/0", "small_world/exact/0", "small_world/untrained/0", "small_world/sb3/0", "small_world/heuristic/0",
        "short/joint/0",
    ]  # fmt: skip
    assert {run.seed for run in runs[:10]} == {0} and {run.seed for run in runs[10:]} == {3}
    assert runs[5].game.limits.max_rounds == 2


def test_a_budget_goes_to_the_recipes_that_have_the_key(tmp_path: Path) -> None:
    joint, _, untrained, sb3, heuristic = runs_of(load_study(write(tmp_path)))[:5]
    assert isinstance(joint.recipe, PpoRecipe) and (joint.recipe.steps, joint.recipe.clip) == (7, 0.1)
    assert isinstance(sb3.recipe, Recipe) and sb3.recipe.total_timesteps == 4096
    assert (joint.train, untrained.train, sb3.train, heuristic.train) == (True, False, True, False)
    assert heuristic.player == "heuristic" and heuristic.recipe is None


def test_an_arm_plays_its_own_game_and_is_judged_by_the_rewards_of_the_scenario(tmp_path: Path) -> None:
    exact = runs_of(load_study(write(tmp_path)))[1]
    assert exact.game.reward.outcome == "em" and exact.judged.reward.outcome == "f1"
    assert exact.judged.workflows == exact.game.workflows == (("R", "AG"), ("AG",))


@pytest.mark.parametrize("policy", ["planner=random,default=heuristic", {"planner": "random", "default": "heuristic"}])
def test_an_arm_may_name_a_team_in_words_or_as_a_mapping(policy: object, tmp_path: Path) -> None:
    run = runs_of(load_study(write(tmp_path, arms={"mixed": {"policy": policy}})))[0]
    assert run.player == "planner=random,default=heuristic" and run.recipe is None and not run.train
    assert run.team == {"planner": "random", "default": "heuristic"} and run.scripted and run.side == ""


def test_a_team_with_a_run_in_it_has_several_ways_to_play(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    arms = {"mixed": {"policy": f"planner={tmp_path / 'run'},default=heuristic"}, "plain": {"policy": "heuristic"}}
    mixed, plain = runs_of(load_study(write(tmp_path, arms=arms)))[:2]
    assert not mixed.scripted and plain.scripted and plain.team == {}


def test_a_team_may_have_members_behind_a_server(tmp_path: Path) -> None:
    (tmp_path / "served.yaml").write_text("{learner: remote_chat, base_url: 'http://127.0.0.1:9/v1', model: m}")
    policy = f"planner=remote_chat:{tmp_path / 'served.yaml'},default=heuristic"
    run = runs_of(load_study(write(tmp_path, arms={"served": {"policy": policy}})))[0]
    assert run.player == policy and run.scripted


def test_an_arm_may_be_a_server_or_a_model_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "served.yaml").write_text("{learner: remote_chat, base_url: 'http://127.0.0.1:9/v1', model: m}")
    arms = {"served": {"policy": "remote_chat:served.yaml"}, "plain": {"policy": "language_model:jade-tiny"}}
    served, plain = runs_of(load_study(write(tmp_path, scenarios=["small_world"], arms=arms, seeds=[0])))
    assert (served.player, plain.player) == (f"remote_chat:{tmp_path / 'served.yaml'}", "language_model:jade-tiny")
    for policy in ("remote_chat:nowhere.yaml", "remote_chat:sb3_shared"):
        with pytest.raises(ConfigError, match="nowhere.yaml: no such file|is no server's model"):
            runs_of(load_study(write(tmp_path, arms={"served": {"policy": policy}})))


def test_a_duel_is_judged_by_the_side_that_learns_else_the_first(tmp_path: Path) -> None:
    arms = {
        "red": {"policy": "sb3_shared"},
        "blue": {"policy": "sb3_shared", "overrides": {"train": ["blue"]}},
        "team": {"policy": "red=random,blue=heuristic"},
    }
    runs = runs_of(load_study(write(tmp_path, scenarios=["duel"], arms=arms, seeds=[0])))
    assert [run.side for run in runs] == ["red", "blue", "red"]


def test_a_team_that_nobody_teaches_is_not_trained() -> None:
    frozen = next(run for run in runs_of(load_study("paper_ablation")) if run.arm == "frozen")
    assert not frozen.train


def test_paradigms_differ_in_workflows_and_play_the_same_number_of_episodes() -> None:
    runs = runs_of(load_study("paradigms", {"seeds": [0]}))
    recipes = [run.recipe for run in runs]
    assert all(isinstance(recipe, PpoRecipe) for recipe in recipes)
    assert len({recipe.steps * recipe.episodes for recipe in recipes if isinstance(recipe, PpoRecipe)}) == 1
    assert len({run.game.workflows for run in runs}) == len(runs)
    assert len({run.game.data.model_dump_json() for run in runs}) == 1


def test_reward_arms_are_all_judged_alike_and_each_differs_from_the_baseline() -> None:
    runs = runs_of(load_study("rewards", {"seeds": [0]}))
    assert len({run.judged.model_dump_json() for run in runs}) == 1
    assert len({(run.game.model_dump_json(), str(run.recipe)) for run in runs}) == len(runs)


def test_what_a_study_names_by_path_is_found_from_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scenario, a recipe that extends one in a folder below it, which extends one beside that, and a warm start."""
    home, other = tmp_path / "home", tmp_path / "elsewhere"
    (home / "deep").mkdir(parents=True)
    other.mkdir()
    game = {**resolved("small_world", "scenarios"), "name": "game"}
    (home / "game.yaml").write_text(as_yaml(game))
    (home / "mine.yaml").write_text("name: mine\nsummary: x\nextends: deep/b.yaml\nclip: 0.1\n")
    (home / "deep" / "b.yaml").write_text("name: b\nsummary: x\nextends: a.yaml\nepochs: 7\n")
    (home / "deep" / "a.yaml").write_text("name: a\nsummary: x\nextends: jade_joint\ngamma: 0.9\n")
    (home / "warm.yaml").write_text("name: warm\nsummary: x\nextends: jade_tiny\nsteps: 3\n")
    arms = {"mine": {"policy": "mine.yaml", "warm_start": "warm.yaml"}, "other": {"policy": "heuristic"}}
    file = home / "study.yaml"
    tree = {"name": "study", "summary": "x", "scenarios": ["game.yaml"], "arms": arms, "seeds": [0]}
    file.write_text(yaml.safe_dump(tree))
    for place in (other, home):
        monkeypatch.chdir(place)
        mine, _ = runs_of(load_study(file if place == other else "./study.yaml"))
        assert mine.game.name == "game" and mine.warm is not None and mine.warm.steps == 3
        assert isinstance(mine.recipe, PpoRecipe)
        assert (mine.recipe.clip, mine.recipe.epochs, mine.recipe.gamma) == (0.1, 7, 0.9)


def test_a_budget_that_no_arm_can_take_is_refused(tmp_path: Path) -> None:
    arms = {"network": {"policy": "sb3_shared"}, "script": {"policy": "heuristic"}}
    with pytest.raises(ConfigError, match="budget.steps: no recipe of its arms has it"):
        runs_of(load_study(write(tmp_path, arms=arms, budget={"steps": 3})))


def test_a_dotted_key_reaches_into_tables_of_overrides(tmp_path: Path) -> None:
    changes = {"arms.exact.scenario_overrides.reward.outcome": "recall", "budget.steps": 2, "questions": 5}
    study = load_study(write(tmp_path), changes)
    assert study.arms["exact"].scenario_overrides == {"reward.outcome": "recall", "workflows": (("R", "AG"), ("AG",))}
    assert study.budget == {"steps": 2, "total_timesteps": 4096} and study.questions == 5


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scenarioss": []}, r"mine.yaml: scenarioss: unknown key; did you mean 'scenarios'\?"),
        ({"arms": {"a": {"polcy": "random"}}}, r"arms.a.polcy: unknown key; did you mean 'policy'\? allowed: policy, train,"),
        ({"arms": {}}, r"mine.yaml: arms: "),
        ({"arms": {"../up": {"policy": "random"}}}, r"arms.../up: string should match"),
        ({"baseline": "jont"}, r"baseline: there is no arm 'jont'; did you mean 'joint'\?"),
        ({"seeds": [1, 1]}, r"seeds: 1 stands twice"),
        ({"seeds": []}, r"mine.yaml: seeds: "),
        ({"scenarios": ["static", "static"]}, r"scenarios: static stands twice; give one a name of its own"),
        ({"scenarios": "static"}, r"scenarios: expected a list"),
        ({"arms": {"a": {"policy": {"planner": "a,b"}}}}, r"arms.a.policy: 'a,b' has a comma"),
        ({"modes": ["gredy"]}, r"modes.0: 'gredy' is not one of greedy, sampled; did you mean 'greedy'\?"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_named_with_file_and_place(changes: dict[str, object], says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        load_study(write(tmp_path, **changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scenarios": ["smal_world"]}, r"study mine: scenario smal_world: there is no scenario .* did you mean 'small_world'"),
        ({"arms": {"a": {"policy": "jade_jont"}}}, r"study mine: arms.a: there is no policy .* did you mean 'jade_joint'\?"),
        ({"arms": {"a": {"policy": "runs/none"}}}, r"arms.a: policy: runs/none: no such run folder"),
        ({"arms": {"a": {"policy": "random", "overrides": {"clip": 0.1}}}}, r"arms.a: overrides.clip: random is not trained here"),
        ({"arms": {"a": {"policy": "jade_joint", "overrides": {"clp": 0.1}}}}, r"arms.a: .*clp: unknown key; did you mean 'clip'"),
        ({"arms": {"a": {"policy": "jade_joint", "scenario_overrides": {"reward.outcom": 1}}}}, r"arms.a: .*outcom: unknown key"),
        ({"arms": {"a": {"policy": "jade_tiny"}}}, r"arms.a: policy: jade_tiny is a warm start"),
        ({"arms": {"a": {"policy": "sb3_shared", "train": False}}}, r"arms.a: train: networks that have learned nothing"),
        ({"arms": {"a": {"policy": "planner_only"}}, "scenarios": ["static"]}, r"arms.a: .*'planner' is not in the team"),
        ({"arms": {"a": {"policy": "planer=random,default=idle"}}}, r"arms.a: 'planer' has no turns .* did you mean 'planner'"),
        ({"arms": {"a": {"policy": "planner=random"}}}, r"study mine: arms.a: nobody plays query_rewriter, .*name their policy"),
        ({"arms": {"a": {"policy": "planner=,default=random"}}}, r"study mine: arms.a: 'planner=': expected AGENT=POLICY"),
        ({"arms": {"a": {"policy": "default=idle,default=random"}}}, r"study mine: arms.a: .*: default is named twice"),
        ({"arms": {"a": {"policy": "default=heurist"}}}, r"arms.a: there is no policy 'heurist'; did you mean 'heuristic'\?"),
        ({"arms": {"a": {"policy": "default=runs/none"}}}, r"arms.a: there is no policy 'runs/none'"),
        ({"arms": {"a": {"policy": "default=jade_joint"}}}, r"arms.a: jade_joint is a recipe and has learned nothing"),
        ({"arms": {"a": {"policy": "default=idle", "overrides": {"clip": 1}}}}, r"arms.a: overrides.clip: default=idle is not"),
        ({"budget": {"step": 5}}, r"study mine: budget.step: no recipe has it; did you mean 'steps'\?"),
    ],
)  # fmt: skip
def test_what_does_not_resolve_is_named_with_its_arm(changes: dict[str, object], says: str, tmp_path: Path) -> None:
    study = load_study(write(tmp_path, **changes))
    with pytest.raises(ConfigError, match=says):
        runs_of(study)


def test_a_study_that_is_not_there_is_told_from_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"there is no study 'paradigm'; did you mean 'paradigms'\? shipped: "):
        load_study("paradigm")


def test_an_arm_whose_recipe_says_who_plays_one_side_is_judged_by_the_other(tmp_path: Path) -> None:
    arms = {
        "blue": {"policy": "jade_joint", "overrides": {"policies": {"red": "heuristic"}}},
        "both": {"policy": "jade_joint"},
    }
    runs = runs_of(load_study(write(tmp_path, scenarios=["duel"], arms=arms, seeds=[0])))
    assert [run.side for run in runs] == ["blue", "red"]


def test_a_learning_curve_has_net_only_where_net_is_what_the_arm_is_judged_by(tmp_path: Path) -> None:
    joint, exact = runs_of(load_study(write(tmp_path)))[:2]
    (tmp_path / TRAINING).mkdir()
    (tmp_path / TRAINING / "metrics.jsonl").write_text('{"timesteps": 0, "dev": {"f1": 0.5, "net": 0.25}}\n')
    found = [curves_of(run, tmp_path) for run in (joint, exact)]
    assert [curve["points"] for curve in found if curve] == [
        [{"timesteps": 0, "f1": 0.5, "net": 0.25}],
        [{"timesteps": 0, "f1": 0.5}],
    ]
    arms = {run.arm: {} for run in (joint, exact)}
    assert _mean({"curves": found, "arms": arms}, "small_world", "steps", "exact", "net") is None
    assert _mean({"curves": found, "arms": arms}, "small_world", "steps", "joint", "net") is not None
