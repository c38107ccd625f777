"""The summarizer's answers: the sides named in the question, the sub-answers, their list, yes and no. It knows no gold field."""

from __future__ import annotations

from jade_env.envs.reading import CHOICE, YES_NO, Reading, read
from jade_env.envs.spans import clean, numeric
from jade_env.game.view import View

MAX_SIDES = 12
MAX_ANSWERS = 19

COLUMNS = (
    ("present", "1 for every candidate"),
    ("index", "place in reading order, from 0 to 1"),
    ("overlap", "share of its words that are in the question"),
    ("yes", "1 for yes"),
    ("no", "1 for no"),
    (
        "fit",
        "1 if such a candidate suits the kind of answer wanted (side: choice, yes and no: yes/no, others: the rest)",
    ),
    ("side", "a side of the question's coordination"),
    ("sub_answer", "a sub-answer"),
    ("last", "the last sub-answer"),
    ("first", "the first sub-answer"),
    ("list", "the list of all sub-answers"),
    (
        "list_fit",
        "the list, where the question has a coordination and is no choice and no yes/no question (-1: has not)",
    ),
    ("order", "number of the sub-answer, seven give 1"),
    ("agreement", "share of the sub-answers equal to it"),
    ("compared", "a side: 1 if its value is the one asked for (largest, earliest, yes), -1 if not, 0 if unknown"),
    ("equal", "yes, no: 1 and -1 if the sides' last values are equal, -1 and 1 if they differ"),
    ("affirmed", "yes, no: 1 and -1 if every sub-answer is yes, -1 and 1 if one is no"),
    ("chained", "a sub-answer that a later sub-question uses"),
    ("final", "a sub-answer that no later sub-question uses, in a decomposition where another one is used"),
    ("number", "begins with a digit"),
    ("capital", "begins with a capital letter"),
    ("length", "words, eight or more give 1"),
)


def summaries(view: View) -> list[str]:
    """At most 34 answers in reading order: sides of the question, sub-answers, their list, yes, no."""
    reading = read(view.query)
    sides = [clean(reading.phrase(*item).strip('"')) for item in reading.items[:MAX_SIDES]]
    answers = [clean(answer) for _, answer in view.answers]
    seen = {"", "yes", "no"}
    values: list[str] = []
    for value in (*sides, *answers[:MAX_ANSWERS]):
        if value.casefold() not in seen:
            seen.add(value.casefold())
            values.append(value)
    joined = clean(", ".join(filter(None, answers)))
    if len(answers) > 1 and joined.casefold() not in seen:
        values.append(joined)
    return [*values, "yes", "no"]


def _last_values(view: View, reading: Reading) -> dict[str, str]:
    """For each side, the last sub-answer on its chain: its sub-question names the side or the chain's previous answer."""
    found: dict[str, str] = {}
    for item in reading.items[:MAX_SIDES]:
        side = clean(reading.phrase(*item).strip('"')).casefold()
        follow = [side.removeprefix("the ")]
        for question, answer in view.answers:
            low = question.casefold()
            if any(name and name in low for name in follow):
                found[side] = answer.casefold().strip()
                follow.append(found[side])
    return found


def _compared(values: dict[str, str], polarity: float) -> dict[str, float]:
    """Which side has the largest (smallest, for a negative polarity) number; without numbers, which side's answer is yes."""
    numbers = {side: numeric(value) for side, value in values.items()}
    known = [number for number in numbers.values() if number is not None]
    if len(known) > 1 and max(known) != min(known):
        wanted = min(known) if polarity < 0.0 else max(known)
        return {side: 0.0 if number is None else 1.0 if number == wanted else -1.0 for side, number in numbers.items()}
    if "yes" in values.values():
        return {side: 1.0 if value == "yes" else -1.0 for side, value in values.items()}
    return {}


def rows(view: View, values: list[str]) -> list[list[float]]:
    """The feature rows of `values`, in the order of COLUMNS."""
    reading = read(view.query)
    chains = _last_values(view, reading)
    compared = _compared(chains, reading.polarity)
    answers = [clean(answer).casefold() for _, answer in view.answers]
    questions = [question.casefold() for question, _ in view.answers]
    used = {
        answer for place, answer in enumerate(answers) if answer and any(answer in q for q in questions[place + 1 :])
    }
    lasting = list(chains.values()) if len(chains) > 1 else answers
    equal = 0.0 if len(lasting) < 2 else 1.0 if len(set(lasting)) == 1 else -1.0
    affirmed = -1.0 if "no" in answers else 1.0 if answers and set(answers) == {"yes"} else 0.0
    words = {low for low in reading.lows if low.isalnum()}
    joined = len(answers) > 1
    listed = bool(reading.items) and reading.wanted not in (CHOICE, YES_NO)
    total, last = len(answers) or 1, answers[-1] if answers else None
    result: list[list[float]] = []
    for index, value in enumerate(values):
        key = value.casefold()
        mine = key.split()
        sign = 1.0 if key == "yes" else -1.0 if key == "no" else 0.0
        place = answers.index(key) if key in answers else -1
        is_list = joined and place < 0 and not sign and key not in chains and ", " in value
        side = not is_list and not sign and place < 0
        fit = side if reading.wanted == CHOICE else bool(sign) if reading.wanted == YES_NO else not (sign or side)
        result.append(
            [
                1.0,
                min(1.0, index / 34),
                sum(map(words.__contains__, mine)) / (len(mine) or 1),
                1.0 if sign > 0.0 else 0.0,
                1.0 if sign < 0.0 else 0.0,
                1.0 if fit else -1.0,
                1.0 if side or key in chains else 0.0,
                1.0 if place >= 0 else 0.0,
                1.0 if key == last else 0.0,
                1.0 if place == 0 else 0.0,
                1.0 if is_list else 0.0,
                (1.0 if listed else -1.0) if is_list else 0.0,
                min(1.0, (place + 1) / 7),
                answers.count(key) / total,
                compared.get(key, 0.0),
                sign * equal,
                sign * affirmed,
                1.0 if key in used else 0.0,
                1.0 if used and place >= 0 and key not in used else 0.0,
                1.0 if value[:1].isdigit() else 0.0,
                1.0 if value[:1].isupper() else 0.0,
                min(1.0, len(mine) / 8),
            ]
        )
    return result
