"""The report's page in a real browser: headless Chromium, from a file, without a network."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jade_env.research.report.page import render

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
NAMES = ("chromium", "chromium-browser", "google-chrome")
COMMANDS = ("apt-get install chromium", ".venv/bin/playwright install chromium")
NEEDED = "needs a browser: {} (where there is no such package: {})".format(*COMMANDS)
HOSTILE = '</script><script>window.broken = 1</script><!-- <img src=x onerror="window.broken = 2"> <b>bold</b>'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason=NEEDED)
    with api.sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, NAMES)), playwright.chromium.executable_path)
        if not Path(path).exists():
            pytest.skip(NEEDED)
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def test_the_manual_says_what_makes_these_tests_run() -> None:
    manual = " ".join((Path(__file__).parents[2] / "docs" / "reports.md").read_text(encoding="utf-8").split())
    assert all(f"`{command}`" in manual for command in COMMANDS)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(HOSTILE, data(40)))
    return path


@pytest.fixture
def page(browser: Browser, file: Path) -> Iterator[Page]:
    yield from opened(browser, file, {"width": 1280, "height": 800}, "light")


@pytest.fixture
def phone(browser: Browser, file: Path) -> Iterator[Page]:
    yield from opened(browser, file, {"width": 390, "height": 844}, "dark")


def opened(browser: Browser, file: Path, size: Any, scheme: Any) -> Iterator[Page]:
    """The page as a reader opens it; whatever it asks for beyond its own file, or complains of, fails the test."""
    context = browser.new_context(viewport=size, color_scheme=scheme)
    page, wrong = context.new_page(), list[str]()
    page.on("request", lambda request: None if request.url == file.as_uri() else wrong.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.goto(file.as_uri())
    page.wait_for_selector("body[data-ready]")
    yield page
    context.close()
    assert not wrong


# ---- a report in small -----------------------------------------------------------------------------------------------


def data(questions: int) -> dict[str, Any]:
    """What a run with two plays of each question is made of: 3 is hostile, 5 has a tree, 9 is contested, 10 has own costs."""
    return {
        "title": "runs/first",
        "facts": [["scenario", f"small: {HOSTILE}"], ["seed", "0"]],
        "setup": [{"title": "Recipe", "text": f"name: {HOSTILE}\n"}],
        "cards": [
            {"label": "F1", "before": cell(0.2), "after": cell(0.5), "difference": {**cell(0.3), "signed": True}}
        ],
        "sections": [
            {
                "title": "Results",
                "note": "",
                "blocks": [
                    {"type": "table", "title": "All", "columns": ["metric", "after"], "rows": [["f1", cell(0.5)]]},
                    {
                        "type": "lines",
                        "title": "F1",
                        "x": "turns",
                        "y": "",
                        "roles": False,
                        "series": [
                            {"name": "dev", "points": [[0, 0.1], [1000, 0.5]]},
                            {"name": "train", "points": [[0, 0.1], [1000, 0.3]], "dashed": True},
                        ],
                    },
                    {
                        "type": "shares",
                        "title": "Workflows",
                        "x": "turns",
                        "y": "share",
                        "series": [
                            {"name": "AG", "points": [[0, 0.5], [1000, 0.1]]},
                            {"name": "R,AG", "points": [[0, 0.5], [1000, 0.9]]},
                        ],
                    },
                ],
            }
        ],
        "traces": {
            "strings": ["You plan.", "Question: q", "Document 0: a text", HOSTILE],
            "documents": [["d0", "Town", "a text"], ["d1", HOSTILE, HOSTILE]],
            "agents": ["planner", "answer_generator", "answer_summarizer"],
            "plays": [{"name": name, "note": "greedy"} for name in ("Before", "After", "Sample 1")],
            "questions": [question(number) for number in range(questions)],
        },
    }


def cell(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}


def question(number: int) -> dict[str, Any]:
    text = HOSTILE if number == 3 else f"Where is town number {number}?"
    episodes = {"0": episode(number, 0.0), "1": episode(number, (number % 5) / 4)}
    kind = "bridge" if number % 2 else "single"
    return {
        "id": f"dev_{number}",
        "text": text,
        "answers": ["here"],
        "kind": kind,
        "gold": ["d1"],
        "episodes": episodes,
    }


def episode(number: int, f1: float) -> dict[str, Any]:
    plan = {
        "agent": 0,
        "node": 0,
        "kind": "workflow",
        "output": "<workflow>R,AG</workflow>",
        "system": 0,
        "prompt": [1],
    }
    plan |= {"logprob": -1.25, "tokens": 6, "advantage": -0.5, "value": 0.125}
    said = HOSTILE if number == 3 else f"<answer>place {number}</answer>"
    answer = {"agent": 1, "node": 0, "kind": "answer", "output": said, "system": 0, "prompt": [1, 2, 3]}
    answer |= {"retrieved": [0, 1], "reads": [0], "logprob": -0.5, "tokens": 4, "advantage": 0.25}
    nodes = [{"path": "", "question": "Where?", "workflow": "R,AG", "retrieved": [0, 1], "kept": [0], "answer": "x"}]
    turns = [plan, answer]
    if number == 5:
        nodes = [
            {"path": "", "question": "Where?", "workflow": "QDS", "serial": True, "answer": "x"},
            {**nodes[0], "path": "1", "question": "First part?"},
        ]
        turns = [plan, {**answer, "agent": 2}, {**answer, "node": 1}]
    tree = {
        "answer": said,
        "f1": f1,
        "em": int(f1 == 1),
        "net": f1 - 0.1,
        "outcome": f1,
        "round_cost": 0,
        "nodes": nodes,
    }
    tree |= {"retrieval_cost": 0.1, "rounds": 1, "retrievals": 1, "latency": 3, "malformed": 0, "workflow": "R,AG"}
    if number == 7:
        plan |= {"malformed": 1, "penalty": -1}
        tree |= {"malformed": 1, "penalty": -1}
    if number == 9:
        tree |= {"payoffs": [{"name": "red", "payoff": 0.25 if f1 else -0.5}]}
    if number == 10:
        plan |= {"cost": 0.02, "payoff": -0.02}
        parts = {"common": 0, "share": 1}
        tree |= {
            "own_cost": 0.02,
            "payoffs": [
                {"name": "planner", "payoff": -0.02, "own": 0.02, **parts},
                {"name": "answer_generator", "payoff": 0, "own": 0, **parts},
            ],
        }
    return tree | {"turns": turns}


# ---- reading it ------------------------------------------------------------------------------------------------------


def test_hostile_text_is_shown_as_it_was_written_and_never_obeyed(page: Page) -> None:
    assert HOSTILE in page.inner_text(".facts")
    page.keyboard.press("3")
    assert HOSTILE in page.inner_text("#setup pre")
    page.keyboard.press("2")
    page.click("#row-3")
    assert page.inner_text(".question") == HOSTILE
    page.keyboard.press("e")
    assert HOSTILE in page.inner_text("#pane-right .inside >> nth=1")
    page.click("#pane-right .documents summary >> nth=1")
    assert HOSTILE in page.inner_text("#pane-right .documents p >> nth=1")
    assert page.evaluate("window.broken") is None
    assert page.locator("main img, main b:text-is('bold')").count() == 0


def test_a_question_shows_both_teams_with_what_each_turn_read_wrote_and_earned(page: Page) -> None:
    page.click("#tab-episodes")
    page.click("#row-4")
    left, right = page.locator("#pane-left"), page.locator("#pane-right")
    assert (
        "Before" in left.locator("option[selected]").inner_text()
        and "After" in right.locator("option[selected]").inner_text()
    )
    assert "0.900 = 1 outcome − 0.100 retrievals" in right.locator(".sum").inner_text()
    assert "gold passages found 1 of 1" in right.inner_text()
    turn = right.locator(".turn").first
    assert "log p −1.250" in turn.inner_text() and "A −0.500" in turn.inner_text() and "V 0.125" in turn.inner_text()
    turn.locator("summary").first.click()
    turn.locator(".inside").wait_for()
    assert "<workflow>R,AG</workflow>" in turn.inner_text() and "Question: q" in turn.inner_text()
    documents = right.locator(".documents > li")
    assert "★ gold" in documents.nth(1).inner_text() and "left out" in documents.nth(1).inner_text()
    assert "★" not in documents.nth(0).inner_text()


def test_sub_questions_stand_between_the_plan_and_the_summary(page: Page) -> None:
    page.click("#tab-episodes")
    page.click("#row-5")
    steps = page.locator("#pane-right > .node > .steps > li")
    kinds = [steps.nth(i).inner_text() for i in range(steps.count())]
    assert "planner" in kinds[0] and "First part?" in kinds[1]
    assert "retrieval" in kinds[2] or "answer summarizer" in kinds[2]
    assert page.locator("#pane-right .branch .path").inner_text() == "1"


def count(page: Page) -> str:
    return page.inner_text("#count")


def test_filters_search_and_order_choose_the_questions(page: Page) -> None:
    page.click("#tab-episodes")
    assert count(page) == "40 of 40 questions"
    page.select_option("#filter-kind", "bridge")
    assert count(page) == "20 of 40 questions"
    page.fill("#filter-low", "0.9")
    assert count(page) == "4 of 40 questions"
    page.fill("#filter-low", "0")
    page.select_option("#filter-kind", "")
    page.select_option("#filter-role", "answer_summarizer")
    assert count(page) == "1 of 40 questions"
    page.select_option("#filter-role", "")
    page.check("#filter-malformed")
    assert count(page) == "1 of 40 questions" and "town number 7" in page.inner_text(".question")
    page.select_option("#filter-role", "answer_generator")
    assert count(page) == "0 of 40 questions" and "Loosen a filter" in page.inner_text("#view")
    page.select_option("#filter-role", "")
    page.uncheck("#filter-malformed")
    page.select_option("#filter-change", "same")
    assert count(page) == "8 of 40 questions"
    page.select_option("#filter-change", "")
    page.select_option("#filter-order", "best")
    assert "1.00" in page.inner_text("#row-0")
    page.fill("#search", "PLACE 31")
    assert count(page) == "1 of 40 questions"
    page.fill("#search", "nowhere at all")
    assert count(page) == "0 of 40 questions"


def test_games_are_filtered_by_who_won_them(page: Page) -> None:
    page.click("#tab-episodes")
    page.select_option("#filter-game", "won")
    assert count(page) == "1 of 40 questions" and "number 9?" in page.inner_text(".question")
    assert page.inner_text("#pane-right .payoffs") == "red +0.250 won"
    assert page.inner_text("#pane-left .payoffs") == "red −0.500 lost"
    page.select_option("#filter-game", "lost")
    assert count(page) == "0 of 40 questions"


def test_own_costs_and_payoffs_stand_with_the_reward_and_at_the_turn(page: Page) -> None:
    page.click("#tab-episodes")
    page.fill("#search", "number 10?")
    right = page.locator("#pane-right")
    assert right.locator(".sum").inner_text().endswith("− 0.020 own costs")
    assert right.locator(".payoffs").get_attribute("aria-label") == "Payoffs"
    entries = right.locator(".payoffs li").all_inner_texts()
    assert entries[0] == "planner −0.020 = 1 × 0 in common − 0.020 own cost" and len(entries) == 2
    turn = right.locator(".turn").first
    assert "cost 0.020" in turn.inner_text() and "payoff −0.020" in turn.inner_text()
    parts = right.locator(".sum, .payoffs, .node")
    assert [parts.nth(i).get_attribute("class") for i in range(3)] == ["sum", "payoffs", "node"]


def test_keys_go_through_questions_search_open_and_explain(page: Page) -> None:
    page.keyboard.press("j")
    assert page.is_visible("#episodes") and "number 1?" in page.inner_text(".question")
    for _ in range(20):
        page.keyboard.press("j")
    page.keyboard.press("k")
    assert "number 20?" in page.inner_text(".question")
    selected = page.locator(".row[aria-selected=true]")
    assert selected.is_visible() and page.get_attribute("#list", "aria-activedescendant") == selected.get_attribute(
        "id"
    )
    assert page.url.endswith("#episodes/dev_20")
    page.keyboard.press("/")
    page.keyboard.type("jk town 12")
    assert page.input_value("#search") == "jk town 12"
    page.fill("#search", "number 12?")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "list"
    assert "number 12?" in page.inner_text(".question")
    page.keyboard.press("e")
    assert page.locator("#view details.turn[open]").count() == page.locator("#view details.turn").count() > 0
    page.keyboard.press("e")
    assert page.locator("#view details.turn[open]").count() == 0
    page.keyboard.press("]")
    assert "has not played" in page.inner_text("#pane-right")
    page.keyboard.press("Escape")
    page.keyboard.press("[")
    page.keyboard.press("Escape")
    page.keyboard.press("[")
    assert count(page) == "0 of 40 questions"  # Sample 1 on both sides, which has played nothing
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.is_visible("#help")
    page.keyboard.press("Escape")
    assert not page.is_visible("#help")


def test_an_address_leads_to_its_question(browser: Browser, file: Path) -> None:
    page = browser.new_page()
    page.goto(f"{file.as_uri()}#episodes/dev_33")
    page.wait_for_selector("body[data-ready]")
    assert "number 33?" in page.inner_text(".question") and page.is_visible("#row-33")
    page.close()


def test_tabs_are_tabs_and_focus_can_be_seen(page: Page) -> None:
    page.focus("#tab-overview")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-episodes"
    assert page.get_attribute("#tab-episodes", "aria-selected") == "true" and page.is_visible("#episodes")
    style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert style == "solid"
    roles = [page.get_attribute(where, "role") for where in ("#list", "#row-0", "#episodes", ".tabs", "#count")]
    assert roles == ["listbox", "option", "tabpanel", "tablist", "status"]


def test_a_chart_tells_its_values_under_the_pointer_and_in_words(page: Page) -> None:
    chart = page.locator(".chart svg").first
    assert chart.get_attribute("aria-label") == "F1 over turns: dev from 0.100 to 0.500; train from 0.100 to 0.300"
    box = chart.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] - 14, box["y"] + box["height"] / 2)
    assert page.inner_text("#hint").split("\n")[0] == "1k turns" and "0.500" in page.inner_text("#hint")
    page.click(".chart .key >> nth=0")
    assert page.locator(".chart >> nth=0").locator(".line.faded").count() == 1


def contrast(page: Page, where: str) -> float:
    """The ratio of WCAG between a text and what it stands on."""
    script = """(where) => {
      const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
      const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
      let element = document.querySelector(where), under = element;
      while (under && rgb(getComputedStyle(under).backgroundColor)[3] === 0) under = under.parentElement;
      const ground = getComputedStyle(under ?? document.body).backgroundColor;
      const pair = [light(rgb(getComputedStyle(element).color)), light(rgb(ground))];
      return (Math.max(...pair) + .05) / (Math.min(...pair) + .05);
    }"""
    return float(page.evaluate(script, where))


TEXTS = (
    ".facts dt",
    ".card .was",
    ".note",
    "thead th",
    ".key",
    ".delta",
    ".kind",
    ".score.zero",
    ".score.full",
    ".score.some",
)
IN_TRACES = (".star", ".sign", ".sign.minus b", ".sign.plus b", ".turn .role", ".flow", ".badge")


def test_dark_and_light_can_both_be_read(page: Page) -> None:
    assert page.get_attribute("html", "data-theme") == "light"
    for theme in ("light", "dark"):
        page.keyboard.press("1")
        for where in TEXTS[:6]:
            assert contrast(page, where) >= 4.5, (theme, where)
        page.keyboard.press("2")
        page.click("#row-7")
        for where in (*TEXTS[6:], *IN_TRACES):
            assert contrast(page, where) >= 4.5, (theme, where)
        page.keyboard.press("t")
    assert page.get_attribute("html", "data-theme") == "light"


def test_a_phone_shows_everything_without_scrolling_sideways(phone: Page) -> None:
    assert phone.get_attribute("html", "data-theme") == "dark"
    wide = "document.documentElement.scrollWidth > innerWidth || document.body.scrollWidth > innerWidth"
    assert not phone.evaluate(wide)
    phone.click("#tab-setup")
    assert not phone.evaluate(wide)
    phone.click("#tab-episodes")
    assert phone.is_visible("#list") and not phone.is_visible("#view") and not phone.evaluate(wide)
    phone.click("#row-3")
    assert phone.is_visible("#view") and not phone.is_visible("#list")
    phone.keyboard.press("e")
    assert not phone.evaluate(wide)
    assert not phone.evaluate(
        "document.getElementById('view').scrollWidth > document.getElementById('view').clientWidth"
    )
    phone.click("#back")
    assert phone.is_visible("#list")
    phone.fill("#search", "number 10?")
    phone.click("#row-0")
    assert phone.is_visible("#pane-right .payoffs") and not phone.evaluate(wide)
    assert not phone.evaluate(
        "document.getElementById('view').scrollWidth > document.getElementById('view').clientWidth"
    )


def test_five_thousand_episodes_open_in_under_three_seconds(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "many.html"
    path.write_text(render("many", data(2500)))
    page = browser.new_page()
    took = []
    for _ in range(3):  # the best of three: other programs may be at work on the machine
        page.goto("about:blank")
        began = time.monotonic()
        page.goto(f"{path.as_uri()}#episodes")
        page.wait_for_selector("#row-0")
        took.append(time.monotonic() - began)
        if took[-1] < 3.0:
            break
    assert min(took) < 3.0
    assert page.locator(".row").count() < 60  # only what is on the screen
    page.evaluate("document.getElementById('list').scrollTop = 1e7")
    page.wait_for_selector("#row-2499")
    page.close()


def test_a_report_without_episodes_has_no_such_tab(browser: Browser, tmp_path: Path) -> None:
    tree = json.loads(json.dumps(data(1))) | {"traces": None, "cards": []}
    path = tmp_path / "curves.html"
    path.write_text(render("curves", tree))
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready]")
    page.keyboard.press("j")
    page.keyboard.press("2")
    assert page.is_visible("#setup") and not page.is_visible("#tab-episodes")
    page.close()
