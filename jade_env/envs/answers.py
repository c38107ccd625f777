"""The generator's answers: spans of the query and of the documents, in reading order, and what is known of each.

Everything is lexical: of which kind a span is, in which sentence, how near it stands to the query's words. The salience only
decides which spans are dropped when there are more than MAX_SPANS. It knows no gold field and no template.
"""

from __future__ import annotations

import operator
import struct
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import lru_cache

from jade_env.envs.reading import CHOICE, YES_NO, Reading, read
from jade_env.envs.spans import DATE, NAME, NUMBER, STATIC, YEAR, Mention, Passage, find, numeric, passage, static
from jade_env.retrieval.types import Document

MAX_SPANS = 32
MAX_DOCUMENTS = 10
_FAR = 4_999
_NEAR = [0.0, *(1.0 / (1.0 + 0.35 * distance) for distance in range(15))] + [0.0] * (_FAR - 14)
_LEFT = [1.5 * near for near in _NEAR]
_LONG = [0.13 * min(length, 12) for length in range(_FAR)]
_RIGHT = [0.9 * near for near in _NEAR]
_RANK = [1.0 - 0.2 * min(rank, 5) for rank in range(MAX_DOCUMENTS)] + [0.0]
_INDEX = [index / (MAX_SPANS + 2) for index in range(MAX_SPANS + 2)]
_BITS = [min(1.0, count / 4) for count in range(MAX_DOCUMENTS + 1)]
_PLACE = [1.0 - place / 16 for place in range(MAX_SPANS)]

_FITS = (
    (1.9, 0.8, -0.8, -0.5, -0.4, -0.9, -0.3),
    (0.3, 1.6, -0.5, -0.6, -0.5, -0.7, -0.1),
    (-1.2, -1.1, 0.2, 1.8, 1.9, -1.3, -0.5),
    (-0.8, -0.7, 2.2, -0.3, -0.2, -0.5, -0.3),
    (-0.2, -0.2, -0.3, -0.3, -0.3, 0.2, 0.0),
    (0.5, 0.0, -0.5, -0.5, -0.5, -0.7, 0.1),
    (0.7, 0.1, 0.0, -1.0, -0.7, -0.5, 1.0),
)
"""How well a kind of span (column) suits what is wanted (row), fitted by a conditional logit on four public training sets."""

_FITTED = [[fit / 2.2 for fit in fits] for fits in _FITS]

COLUMNS = (
    ("present", "1 for every candidate"),
    ("index", "place in reading order, from 0 to 1"),
    ("overlap", "share of the span's tokens that are words of the query"),
    ("yes", "1 for yes"),
    ("no", "1 for no"),
    ("fit", "how well the kind of span suits the kind of answer the query wants"),
    ("salience", "a hand-weighted sum of the columns below, minus the best candidate's"),
    ("place", "1 for the most salient candidate, falling to -1 for the 32nd"),
    ("in_query", "first met in the query itself"),
    ("in_title", "the best mention is in a title"),
    ("is_title", "it is the title of a document read"),
    ("rank", "1 for the first document, 0 for the sixth and later"),
    ("documents", "documents that mention it, four give 1; yes, no: spans the compared sides share, signed"),
    ("sentence_relation", "share of the query's common words in its sentence; yes, no: in the worse side's document, signed"),
    ("sentence_entity", "share of the query's names in its sentence or that document's title"),
    ("near_left", "closeness of the nearest common word of the query on its left, in the sentence"),
    ("near_right", "the same on its right"),
    ("document_entity", "share of the query's names in its document"),
    ("document_relation", "share of the query's common words in its document"),
    ("title_overlap", "share of its document's title that is in the query"),
    ("head_inside", "contains the noun asked for"),
    ("head_before", "the noun asked for is among the three tokens before it"),
    ("head_after", "the noun asked for is among the three tokens after it"),
    ("defined", "it is a title and that document's first sentence has the noun asked for (-1: has not)"),
    ("compared", "a side of a choice: 1 if its number is the one asked for (largest, earliest), -1 if not"),
    ("side", "a side of a choice"),
    ("linked", "its document's title occurs in other documents, two give 1"),
    ("bridge", "titles of other documents in its document, two give 1"),
    *STATIC,
)
_DYNAMIC = struct.Struct(f"={len(COLUMNS) - len(STATIC)}f").pack
_NO_STATIC = bytes(4 * len(STATIC))

Found = tuple[float, int, int, int, str, int, int, int, float, float]
"""A span's best mention: salience, document (-1: the query), start and end token, text, kind, distances to the nearest common
word of the query on its left and right (0: none), and the shares of the query's common words and names in its sentence."""


@dataclass(slots=True)
class Survey:
    """The answers of one view: `values` in reading order, then yes and no.

    `found` has the spans by lowercase text, in the same order; `masks` has bit k set where document k mentions one; `asked`
    are those of the query; `documents` has for each document the shares of the query's names and of its common words in it,
    and the share of its title that is in the query.
    """

    reading: Reading
    passages: list[Passage]
    values: list[str] = field(default_factory=list)
    found: dict[str, Found] = field(default_factory=dict)
    masks: dict[str, int] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()
    documents: list[tuple[float, float, float]] = field(default_factory=list)


@lru_cache(maxsize=32)
def survey(query: str, documents: tuple[Document, ...]) -> Survey:
    """Read query and documents, find every span, and keep the MAX_SPANS most salient in reading order."""
    reading = read(query)
    result = Survey(reading, [passage(document) for document in documents[:MAX_DOCUMENTS]])
    best = result.found
    _scan_query(result, best)
    result.asked = frozenset(best)
    for rank, text in enumerate(result.passages):
        _scan(result, text, rank, best)
    if len(best) > MAX_SPANS:
        by_salience = sorted([(entry[0], key) for key, entry in best.items()])
        for _, key in by_salience[: len(best) - MAX_SPANS]:
            del best[key]
    result.values = [entry[4] for entry in best.values()]
    result.values += ["yes", "no"]
    return result


def _scan(result: Survey, text: Passage, rank: int, best: dict[str, Found]) -> None:
    """Add the spans of one document, each with its best mention."""
    reading, stems, stops, head, asked = result.reading, text.stems, text.stops, text.head, result.asked
    relation, entity, masks, bit = reading.relation, reading.entity, result.masks, 1 << rank
    per_relation, per_entity = reading.per_relation, reading.per_entity
    near = [position for position, stem in enumerate(stems) if stem in relation]
    title = entity.intersection(stems[:head])
    document_entity = len(entity.intersection(stems)) * per_entity
    document_relation = len(relation.intersection(stems)) * per_relation
    title_overlap = (len(title) + bisect_left(near, head)) / (head or 1)
    result.documents.append((document_entity, document_relation, min(1.0, title_overlap)))
    near.append(_FAR)
    fits = _FITS[reading.wanted]
    base = 0.7 * document_entity - 0.5 * rank
    here = in_relation = in_entity = 0.0
    sentence_start = sentence_end = 0
    for start, end, span, key, kind in text.mentions:
        if start >= sentence_end:
            sentence = bisect_left(stops, start)
            sentence_start = stops[sentence - 1] + 1 if sentence else 0
            sentence_end = stops[sentence] if sentence < len(stops) else len(stems)
            part = stems[sentence_start:sentence_end]
            in_relation = len(relation.intersection(part)) * per_relation
            in_entity = len(title.union(entity.intersection(part))) * per_entity
            here = base + 3.0 * in_relation + 0.5 * in_entity
        before = bisect_left(near, start)
        left = start - near[before - 1] if before and near[before - 1] >= sentence_start else 0
        after = near[before] if near[before] >= end else near[bisect_left(near, end, before)]
        right = after - end + 1 if after < sentence_end else 0
        salience = here + fits[kind] + _LEFT[left] + _RIGHT[right] + _LONG[end - start] - 0.012 * start
        if key in asked:
            salience -= 1.0
        old = best.get(key)
        if old is None:
            masks[key] = bit
        else:
            masks[key] |= bit
            if old[0] >= salience:
                continue
        best[key] = salience, rank, start, end, span, kind, left, right, in_relation, in_entity


def _scan_query(result: Survey, best: dict[str, Found]) -> None:
    """Add the spans of the query: nearness counts its words that occur twice, as in a statement followed by a question."""
    reading = result.reading
    kinds, tokens, stems = reading.kinds, reading.tokens, reading.stems
    twice = [position for position, stem in enumerate(stems) if stem and stems.count(stem) > 1]
    sides: list[Mention] = []
    for start, end in reading.items:
        text = reading.phrase(start, end).strip('"')
        sides.append((start, end, text, text.lower(), NAME))
    fits = _FITS[reading.wanted]
    choice = 10.0 if reading.wanted == CHOICE else 0.0
    entries = sides + find(kinds, tokens, 0)
    for order, entry in enumerate(entries):
        start, end, span, key, kind = entry
        if not key or key in best:
            continue
        before = bisect_left(twice, start)
        after = bisect_left(twice, end)
        left = start - twice[before - 1] if before else 0
        right = twice[after] - end + 1 if after < len(twice) else 0
        salience = fits[kind] + 1.0 + 1.5 * _NEAR[left] + _NEAR[right] + (choice if order < len(sides) else 0.0)
        result.masks[key] = 0
        best[key] = salience, -1, start, end, span, kind, left, right, 0.0, 0.0


def rows(result: Survey) -> list[bytes]:
    """The packed feature rows of `result.values`, in the order of COLUMNS."""
    reading, passages, masks = result.reading, result.passages, result.masks
    head, words = reading.head, reading.words
    order = sorted([entry[0] for entry in result.found.values()], reverse=True)
    top = order[0] if order else 0.0
    places = dict(zip(reversed(order), reversed(_PLACE[: len(order)]), strict=True))
    titles = {text.title.lower(): text for text in passages}
    about = list(map(operator.add, result.documents, _links(passages)))
    compared = _compare(result) if reading.wanted == CHOICE else {}
    fits = _FITTED[reading.wanted]
    packed: list[bytes] = []
    index = -1
    for key, entry in result.found.items():
        salience, rank, start, end, _, kind, left, right, in_relation, in_entity = entry
        index += 1
        inside = before = after = defined = 0.0
        if rank >= 0:
            text: Passage | Reading = passages[rank]
            stems = text.stems
            overlap = len(words.intersection(stems[start:end])) / (end - start)
            in_title = end <= passages[rank].head
            document_entity, document_relation, title_overlap, linked, bridge = about[rank]
            if head and head in stems:
                inside = head in stems[start:end]
                before = head in stems[max(0, start - 3) : start]
                after = head in stems[end : end + 3]
        else:
            text = reading
            overlap = 1.0
            in_title = False
            document_entity = document_relation = title_overlap = linked = bridge = 0.0
        is_title = key in titles
        if is_title and head:
            defined = 1.0 if head in titles[key].first else -1.0
        packed.append(
            _DYNAMIC(
                1.0,
                _INDEX[index],
                overlap,
                0.0,
                0.0,
                fits[kind],
                (salience - top) / 6.0 if salience > top - 6.0 else -1.0,
                places[salience],
                rank < 0,
                in_title,
                is_title,
                _RANK[rank],
                _BITS[masks[key].bit_count()],
                in_relation,
                in_entity,
                _NEAR[left],
                _NEAR[right],
                document_entity,
                document_relation,
                title_overlap,
                inside,
                before,
                after,
                defined,
                compared.get(key, 0.0),
                key in compared,
                linked,
                bridge,
            )
            + static(text.kinds, text.tokens, start, end, kind)
        )
    return packed + _yes_and_no(result)


def _yes_and_no(result: Survey) -> list[bytes]:
    """The rows of yes and no: whether both sides' documents have the query's words, and share a span it does not name."""
    count = len(result.found)
    worst = shared = 0.0
    asked = result.reading.wanted == YES_NO
    if asked and len(result.passages) > 1:
        ranks = _side_documents(result)
        worst = min((result.documents[rank][1] for rank in ranks), default=0.0)
        both = 0
        for rank in ranks:
            both |= 1 << rank
        if len(ranks) > 1:
            common = sum([key not in result.asked and result.masks[key] & both == both for key in result.found])
            shared = min(1.0, common / 3)
    packed = []
    for sign, place in ((1.0, count), (-1.0, count + 1)):
        values = [0.0] * (len(COLUMNS) - len(STATIC))
        values[0], values[1], values[5] = 1.0, _INDEX[place], 1.0 if asked else -1.0
        values[3 if sign > 0 else 4] = 1.0
        values[12], values[13] = sign * shared, sign * worst
        packed.append(_DYNAMIC(*values) + _NO_STATIC)
    return packed


def _side_documents(result: Survey) -> list[int]:
    """For each side of the coordination (or name) in the query, the document whose title has most of its words."""
    reading = result.reading
    ranks: list[int] = []
    for start, end in reading.items or reading.names:
        words = {stem for stem in reading.stems[start:end] if stem}
        scores = [len(words.intersection(text.stems[: text.head])) - 0.01 * text.head for text in result.passages]
        best = max(range(len(scores)), key=scores.__getitem__)
        if scores[best] > 0.0 and best not in ranks:
            ranks.append(best)
    return ranks


def _links(passages: list[Passage]) -> list[tuple[float, float]]:
    """For each document: how often its title is in others, and others' titles in it; two give 1."""
    into = [0.0] * len(passages)
    out = [0.0] * len(passages)
    for target, text in enumerate(passages):
        if len(text.title) > 2:
            for source, other in enumerate(passages):
                if source != target and text.title in other.text:
                    into[target] += 0.5
                    out[source] += 0.5
    return [(min(1.0, a), min(1.0, b)) for a, b in zip(into, out, strict=True)]


def _compare(result: Survey) -> dict[str, float]:
    """For each side of a choice, 1 if the number found for it is the one the query's comparison asks for, -1 if not, else 0."""
    reading = result.reading
    numbers: dict[str, float | None] = {}
    for start, end in reading.items:
        words = {stem for stem in reading.stems[start:end] if stem}
        numbers[reading.phrase(start, end).strip('"').lower()] = _number_of(result, words, end - start)
    known = [number for number in numbers.values() if number is not None]
    if len(known) < 2 or max(known) == min(known):
        return dict.fromkeys(numbers, 0.0)
    wanted = min(known) if reading.polarity < 0.0 else max(known)
    return {key: 0.0 if number is None else 1.0 if number == wanted else -1.0 for key, number in numbers.items()}


def _number_of(result: Survey, words: set[str], size: int) -> float | None:
    """The number or date nearest to the query's common words in the document that is most about `words`."""
    relation = result.reading.relation
    per_word = 1.0 / (len(words) or 1)
    best: float | None = None
    best_score = -1.0
    for text in result.passages:
        share = len(words.intersection(text.stems[: text.head])) * per_word / (1.0 + 0.1 * abs(text.head - size))
        share += 0.2 * len(words.intersection(text.stems)) * per_word
        if share <= 0.3:
            continue
        near = [position for position, stem in enumerate(text.stems) if stem in relation]
        for start, _, phrase, _, kind in text.mentions:
            if kind in (NUMBER, YEAR, DATE):
                place = bisect_left(near, start)
                distance = min([20, *(abs(start - position) for position in near[max(0, place - 1) : place + 1])])
                score = 2.0 * share - 0.03 * distance - 0.002 * start + (0.3 if kind != NUMBER else 0.0)
                if score > best_score:
                    number = numeric(phrase)
                    if number is not None:
                        best, best_score = number, score
    return best
