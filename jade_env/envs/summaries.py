"""The summarizer's answers: the sides named in the question, the sub-answers, their list, yes and no. It knows no gold field."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jade_env.envs.lexicon import STEM
from jade_env.envs.memory import remember
from jade_env.envs.reading import CHOICE, WANTED, YES_NO, Reading, read
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


class Gathered(NamedTuple):
    """What a view offers to a summarizer.

    Attributes:
        reading: the question.
        keys: the sides of its coordination, cleaned and in lower case.
        answers: the sub-answers, cleaned and in lower case.
        values: the candidates in reading order.
    """

    reading: Reading
    keys: list[str]
    answers: list[str]
    values: list[str]


@remember(16)
def _gather(query: str, answers: tuple[tuple[str, str], ...]) -> Gathered:
    reading = read(query)
    sides = [clean(reading.phrase(*item).strip('"')) for item in reading.items[:MAX_SIDES]]
    given = [clean(answer) for _, answer in answers]
    seen = {"", "yes", "no"}
    values: list[str] = []
    for value in (*sides, *given[:MAX_ANSWERS]):
        key = value.casefold()
        if key not in seen:
            seen.add(key)
            values.append(value)
    joined = clean(", ".join(filter(None, given)))
    if len(given) > 1 and joined.casefold() not in seen:
        values.append(joined)
    values += ("yes", "no")
    return Gathered(reading, [side.casefold() for side in sides], [text.casefold() for text in given], values)


def summaries(view: View) -> list[str]:
    """At most 34 answers in reading order: sides of the question, sub-answers, their list, yes, no."""
    return _gather(view.query, view.answers).values


def _last_values(keys: list[str], questions: list[str], answers: list[str]) -> dict[str, str]:
    """For each side, the last sub-answer on its chain: its sub-question names the side or the chain's previous answer."""
    found: dict[str, str] = {}
    for side in keys:
        follow = [side.removeprefix("the ")]
        for question, answer in zip(questions, answers, strict=True):
            for name in follow:
                if name and name in question:
                    found[side] = answer
                    follow.append(answer)
                    break
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


def rows(view: View, values: Sequence[str], width: int) -> bytes:
    """The packed feature rows of `values`, in the order of COLUMNS, each filled up with zeros to `width` columns."""
    reading, keys, answers, _ = _gather(view.query, view.answers)
    questions = [question.casefold() for question, _ in view.answers]
    chains = _last_values(keys, questions, answers)
    compared = _compared(chains, reading.polarity) if chains else {}
    used = {answer for place, answer in enumerate(answers, 1) if answer and any(answer in q for q in questions[place:])}
    distinct = set(answers)
    lasting = set(chains.values()) if len(chains) > 1 else distinct
    count = len(chains) if len(chains) > 1 else len(answers)
    equal = 0.0 if count < 2 else 1.0 if len(lasting) == 1 else -1.0
    affirmed = -1.0 if "no" in distinct else 1.0 if distinct == {"yes"} else 0.0
    words, pack = reading.words, _packer(width)
    last, total = answers[-1] if answers else "", len(answers) or 1
    wanted = reading.wanted
    listed = 1.0 if reading.items and wanted not in (CHOICE, YES_NO) else -1.0
    side_fit, sign_fit, other_fit = _FITS[wanted]
    packed: list[bytes] = []
    for index, value in enumerate(values):
        key = value.casefold()
        if key in _SIGNS:
            sign = _SIGNS[key]
            sub = float(key in distinct)
            packed.append(
                pack(
                    1.0, _INDEX[index], 0.0, sign > 0.0, sign < 0.0, sign_fit, 0.0, sub, key == last,
                    0.0, 0.0, 0.0, 0.0, answers.count(key) / total, 0.0, sign * equal, sign * affirmed,
                    0.0, 0.0, 0.0, 0.0, 0.125,
                )
            )  # fmt: skip
            continue
        mine = key.split()
        size = len(mine) or 1
        place = answers.index(key) if key in distinct else -1
        is_side = key in keys
        is_list = place < 0 and not is_side and ", " in value
        chained = key in used
        first = value[:1]
        packed.append(
            pack(
                1.0,
                _INDEX[index],
                sum([STEM[word] in words for word in mine]) / size,
                0.0,
                0.0,
                side_fit if is_side and place < 0 else other_fit,
                is_side,
                place >= 0,
                key == last,
                place == 0,
                is_list,
                listed if is_list else 0.0,
                _ORDER[place + 1] if place < 7 else 1.0,
                answers.count(key) / total,
                compared.get(key, 0.0),
                0.0,
                0.0,
                chained,
                place >= 0 and not chained and bool(used),
                first.isdigit(),
                first.isupper(),
                size / 8 if size < 8 else 1.0,
            )
        )
    return b"".join(packed)


@remember(8)
def _packer(width: int) -> Callable[..., bytes]:
    return struct.Struct(f"{len(COLUMNS)}f{4 * (width - len(COLUMNS))}x").pack


_SIGNS = {"yes": 1.0, "no": -1.0}
_INDEX = [min(1.0, index / 34) for index in range(MAX_SIDES + MAX_ANSWERS + 3)]
_ORDER = [place / 7 for place in range(8)]
_FITS = dict.fromkeys(range(len(WANTED)), (-1.0, -1.0, 1.0)) | {
    CHOICE: (1.0, -1.0, -1.0),
    YES_NO: (-1.0, 1.0, -1.0),
}
"""By what is wanted, how a side, yes or no, and anything else suits it."""
