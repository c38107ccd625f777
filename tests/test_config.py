"""Every mistake in a YAML file is refused with file, key path, what was found and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from jade_env.agent import load_agent
from jade_env.config import apply_overrides, names, parse_overrides
from jade_env.errors import ConfigError
from jade_env.recipe import load_recipe
from jade_env.scenario import load_scenario


def test_every_shipped_file_is_valid_and_named_after_its_file() -> None:
    assert {"cooperative", "deep", "hotpotqa", "static"} <= set(names("scenarios"))
    for name in names("scenarios"):
        assert load_scenario(name).name == name
    assert len(names("agents")) == 7 + len(("adversary", "solver", "verifier"))
    for name in names("agents"):
        assert load_agent(name).name == name


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"reward.round_csot": 1},
            r"scenarios/cooperative.yaml .*: reward.round_csot: unknown key; did you mean 'round_cost'\?",
        ),
        (
            {"reward.outcome": "f2"},
            r"reward.outcome: 'f2' is not one of f1, em, cover_em, precision, recall; did you mean 'f1'\?",
        ),
        ({"limits.max_depth": "x"}, r"limits.max_depth: .*integer.*found 'x'"),
        ({"limits.max_turns": 0}, r"limits.max_turns: .*greater than 0, found 0"),
        ({"retriever.top_k": None}, r"retriever.top_k: .*found nothing"),
        ({"workflows": [["R", "QR", "AG"]]}, r"workflow R,QR,AG: members stand once each, in the order"),
        ({"workflows": [["DS", "AG"]]}, r"DS needs documents, so R must stand before it"),
        ({"workflows": [["QDS"], ["QDP"]]}, r"at least one must end in AG"),
        ({"workflows": ["R,AG", "QDX"]}, r"'QDX' is not one of QR, R, DS, AG, AV, QDS, QDP, SOLVE"),
        ({"workflows": ["R,AG", "R,AG"]}, r"one stands twice"),
        ({"team": ["planer"]}, r"there is no agent 'planer'; did you mean 'planner'"),
        ({"team": ["planner", "answer_generator"]}, r"needs an agent with the code QR, which the team lacks"),
        ({"data": {"source": "fles"}}, r"data.source: .fles. is not one of world, files"),
        ({"data.folder": "x"}, r"data.*folder: unknown key"),
        ({"mode": {"plumber": "text"}}, r"mode: 'plumber' is not in the team"),
        ({"mode": {"planer": "text"}}, r"mode: 'planer' is not in the team; did you mean 'planner'"),
        ({"workflows": ["R,AGG"]}, r"workflows: workflow R,AGG: 'AGG' is not one of .*; did you mean 'AG'"),
        ({"team": ["planer", "answer_generator"]}, r"team: there is no agent 'planer'; did you mean 'planner'"),
        ({"data.mixture": {"singel": 1}}, r"data.mixture: 'singel' is not one of .*; did you mean 'single'"),
        ({"data.mixture": {"compare_yesno": 1}}, r"data.mixture: compare_yesno has a share of 1.00"),
        ({"reward.round_cost": float("inf")}, r"reward.round_cost: input should be a finite number, found inf"),
        ({"data.passages": "300"}, r"data.passages: input should be a valid integer, found '300'"),
        ({"data.train": True}, r"data.train: input should be a valid integer, found True"),
        ({"limits.max_turns": True}, r"limits.max_turns: input should be a valid integer, found True"),
        ({"retriever.b": True}, r"retriever.b: input should be a valid number, found True"),
        ({"retriever.stem": "no"}, r"retriever.stem: input should be a valid boolean, found 'no'"),
        ({"team": "planner"}, r"team: input should be a list, found 'planner'"),
        ({"name": ""}, r"name: "),
    ],
)
def test_a_wrong_key_is_explained(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_scenario("cooperative", overrides)


def test_all_mistakes_are_listed_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_scenario("cooperative", {"reward.outcome": "f2", "limits.max_depth": -1})
    assert len(str(caught.value).splitlines()) == 2


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="there is no scenario 'coperative'; did you mean 'cooperative'"):
        load_scenario("coperative")
    with pytest.raises(ConfigError, match="nowhere.yaml: no such file"):
        load_scenario("nowhere.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", r"duel.yaml:\d+: not valid YAML"),
        ("name: a\nname: b\n", r"duel.yaml:2: not valid YAML: key 'name' is given twice"),
        ("- a\n- b\n", r"duel.yaml: expected keys and values, found a list"),
        ("", r"duel.yaml: expected keys and values, found nothing"),
        ("!!python/object/apply:os.system ['true']", r"duel.yaml:\d+: not valid YAML"),
        ("name: duel\n", r"duel.yaml: data: missing"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "duel.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_scenario(path)


def test_a_user_scenario_by_path_with_a_user_agent(tmp_path: Path) -> None:
    card = load_agent("answer_generator").model_dump(mode="json")
    card["name"] = "oracle"
    (tmp_path / "oracle.yaml").write_text(yaml.safe_dump(card))
    scenario = load_scenario("static").model_dump(mode="json")
    scenario.update(name="mine", team=["query_rewriter", "document_selector", str(tmp_path / "oracle.yaml")])
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(scenario))
    assert list(load_scenario(tmp_path / "mine.yaml").cards) == ["query_rewriter", "document_selector", "oracle"]


def write_card(path: Path, **changes: object) -> Path:
    path.write_text(yaml.safe_dump(load_agent("answer_generator").model_dump(mode="json") | changes))
    return path


def test_a_card_is_found_beside_its_scenario_and_read_again_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_card(tmp_path / "oracle.yaml", name="oracle", max_tokens=7)
    scenario = load_scenario("vanilla_rag").model_dump(mode="json") | {"name": "mine", "team": ["oracle.yaml"]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(scenario))
    assert load_scenario(tmp_path / "mine.yaml").cards["oracle"].max_tokens == 7
    write_card(tmp_path / "oracle.yaml", name="oracle", max_tokens=123)
    monkeypatch.chdir(tmp_path)
    assert load_scenario("mine.yaml").cards["oracle"].max_tokens == 123


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"candidates": "document_ids"}, "document_ids does not suit an agent that writes answer: answer, summary"),
        ({"code": "QR"}, "QR is for an agent that writes query, not answer"),
        ({"code": "XY"}, "'XY' is not one of QR, DS, AG"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_agent(write_card(tmp_path / "answer_generator.yaml", **changes))


def test_two_agents_with_one_code_are_refused(tmp_path: Path) -> None:
    second = write_card(tmp_path / "second.yaml", name="second")
    with pytest.raises(ConfigError, match="AG is the code of two agents"):
        load_scenario("vanilla_rag", {"team": ["answer_generator", str(second)]})


def test_overrides_are_dotted_yaml() -> None:
    assert parse_overrides(["reward.round_cost=0.1", "workflows=[[R, AG]]"]) == {
        "reward.round_cost": 0.1,
        "workflows": [["R", "AG"]],
    }
    tree = {"reward": {"round_cost": 0.0}}
    assert apply_overrides(tree, {"reward.round_cost": 0.5}, "x")["reward"]["round_cost"] == 0.5
    assert tree["reward"]["round_cost"] == 0.0
    with pytest.raises(ConfigError, match="expected KEY=VALUE"):
        parse_overrides(["reward.round_cost"])
    with pytest.raises(ConfigError, match="'name.x': name holds no keys"):
        load_scenario("cooperative", {"name.x": 1})


def test_a_prompt_may_only_name_what_the_role_reads(tmp_path: Path) -> None:
    card = load_agent("planner").model_dump(mode="json")
    card["prompts"]["brief"]["user"] = "{documents}"
    path = tmp_path / "planner.yaml"
    path.write_text(yaml.safe_dump(card))
    with pytest.raises(ConfigError, match=r"\{documents\} is not among reads"):
        load_agent(path)


def test_numbers_are_numbers_however_they_are_written(tmp_path: Path) -> None:
    given = parse_overrides(["a=1e-3", "b=2E4", "c=-1.5e+2", "d=.5", "e=1_000", "f=e3", "g=1e", "h='1e-3'"])
    assert given == {"a": 0.001, "b": 20000.0, "c": -150.0, "d": 0.5, "e": 1000, "f": "e3", "g": "1e", "h": "1e-3"}
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nextends: jade_joint\nlearning_rate: 3e-4\nvf_coef: 1\n")
    recipe = load_recipe(file)
    assert (recipe.learning_rate, recipe.vf_coef) == (0.0003, 1.0)  # type: ignore[union-attr]
