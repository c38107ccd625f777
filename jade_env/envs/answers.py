"""The generator's answers: spans of the query and of the documents, in reading order, and what is known of each.

Everything is lexical: of which kind a span is, in which sentence, how near it stands to the query's words. The salience only
decides which spans are dropped where there are more than MAX_SPANS. It knows no gold field and no template.

Plain loops over a few dozen spans are faster here than arrays; rows are packed to bytes and become an array once.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from dataclasses import dataclass, field
from math import log

from jade_env.envs.comparison import compare, links, side_documents
from jade_env.envs.memory import Table, remember
from jade_env.envs.reading import CHOICE, YES_NO, Reading, read
from jade_env.envs.spans import MAX_MENTIONS, MAX_TEXT, MAX_TITLE, NAME, Mention, Passage, cut, mentions, passage
from jade_env.retrieval.types import Document

MAX_SPANS = 32
MAX_DOCUMENTS = 10
_TOKENS = MAX_TEXT + MAX_TITLE + 2
"""More than the tokens of any passage, and a position after all of them."""

_FITS = (
    (1.9, 0.8, -0.8, -0.5, -0.4, -0.9, -0.3),
    (0.3, 1.6, -0.5, -0.6, -0.5, -0.7, -0.1),
    (-1.2, -1.1, 0.2, 1.8, 1.9, -1.3, -0.5),
    (-0.8, -0.7, 2.2, -0.3, -0.2, -0.5, -0.3),
    (-0.2, -0.2, -0.3, -0.3, -0.3, 0.2, 0.0),
    (0.5, 0.0, -0.5, -0.5, -0.5, -0.7, 0.1),
    (0.7, 0.1, 0.0, -1.0, -0.7, -0.5, 1.0),
)
"""How well a kind of span (column) suits what is wanted (row): log-odds fitted on the training files of four public sets."""

_SCALED_FITS = [[fit / 2.2 for fit in fits] for fits in _FITS]
_NEAR = [0.0, *(1.0 / (1.0 + 0.35 * distance) for distance in range(14)), *[0.0] * (_TOKENS - 14)]
"""Closeness by distance in tokens, 0 for none."""
_LEFT = [1.5 * near for near in _NEAR]
_RIGHT = [0.9 * near for near in _NEAR]
_START = [0.012 * start for start in range(_TOKENS)]
_LENGTH = [0.13 * min(length, 12) for length in range(_TOKENS)]
_INDEX = [index / (MAX_SPANS + 2) for index in range(MAX_SPANS + 2)]
_FOURTHS = [min(1.0, count / 4) for count in range(MAX_DOCUMENTS + 1)]

COLUMNS = (
    ("present", "1 for every candidate, -1 for the answer that a verifier has sent back"),
    ("index", "place in reading order, from 0 to 1"),
    ("overlap", "share of the span's tokens that are words of the query"),
    ("yes", "1 for yes"),
    ("no", "1 for no"),
    ("fit", "how well the kind of span suits the kind of answer the query wants"),
    ("salience", "a hand-weighted sum of fit, rank, sentence and closeness, minus the best candidate's"),
    ("in_query", "the best mention is in the query"),
    ("is_title", "it is the title of a document read"),
    ("documents", "documents that mention it, four give 1; yes, no: spans the compared sides share, signed"),
    (
        "sentence_relation",
        "share of the query's common words in its sentence; yes, no: in the worse side's document, signed",
    ),
    ("sentence_entity", "share of the query's names in its sentence or that document's title"),
    ("near_left", "closeness of the nearest common word of the query on its left, in the sentence"),
    ("near_right", "the same on its right"),
    (
        "sentence_weight",
        "share of the query's words in its sentence, the fewer documents have a word the more it counts",
    ),
    ("sentence_best", "the same over that of the best sentence"),
    ("sentence_words", "words of the query in its sentence over those in the best sentence"),
    ("early", "1 at the start of its passage, falling to -1 at token 60"),
    ("document_weight", "share of the query's words in its document, weighted as for the sentence"),
    ("document_best", "the same over that of the best document"),
    ("rank", "1 for the first document, 0 for the sixth and later"),
    ("document_entity", "share of the query's names in its document"),
    ("document_relation", "share of the query's common words in its document"),
    ("title_overlap", "share of its document's title that is in the query"),
    ("linked", "its document's title occurs in other documents, two give 1"),
    ("bridge", "titles of other documents in its document, two give 1"),
    ("head_inside", "contains the noun asked for"),
    ("head_before", "the noun asked for is among the three tokens before it"),
    ("head_after", "the noun asked for is among the three tokens after it"),
    ("defined", "it is a title and that document's first sentence has the noun asked for (-1: has not)"),
    ("compared", "a side of a choice: 1 if its number is the one asked for (largest, earliest), -1 if not"),
    ("side", "a side of a choice"),
    ("length", "tokens, eight or more give 1"),
    ("name", "several capitalised words"),
    ("capitalised", "one capitalised word"),
    ("number", "a number that is neither a year nor a date"),
    ("year", "a year"),
    ("date", "a date with a month"),
    ("other_kind", "a lowercase phrase or a quotation"),
    ("after_in", "preceded by in, at or near"),
    ("after_by", "preceded by by"),
    ("after_of", "preceded by of"),
    ("after_is", "preceded by as, is or was"),
)
_FIRST = [struct.pack("2f", 1.0, index) for index in _INDEX]
"""The columns present and index by place in the list."""
_MIDDLE = struct.Struct("f8x13f").pack
"""The columns from overlap to early; yes and no are 0."""
_ABOUT = struct.Struct("8f").pack
"""The columns from document_weight to bridge, the same for all spans of a document."""
_HEAD = struct.Struct("6f").pack
"""The columns from head_inside to side, 0 for most questions."""
_NO_HEAD = _HEAD(*[0.0] * 6)
_NO_DOCUMENT = _ABOUT(*[0.0] * 8)


def _floats(*values: float) -> bytes:
    return struct.pack(f"{len(values)}f", *values)


_SHAPES = [
    [_floats(min(1.0, length / 8), *(float(min(kind, 5) == column) for column in range(6))) for length in range(9)]
    for kind in range(7)
]
"""The columns from length to other_kind, by kind and length."""
_EARLY = [1.0 - start / 30 for start in range(61)]
_BEFORE_GROUPS = (
    frozenset(("in", "at", "near")),
    frozenset(("by",)),
    frozenset(("of",)),
    frozenset(("as", "is", "was")),
)
_BEFORE: Table[bytes] = Table(
    lambda token: _floats(*(float(token.strip().lower() in group) for group in _BEFORE_GROUPS))
)
"""The last columns, by the token before."""
_WEIGHTS = [
    [round(1e6 * log((count + 1) / (having + 0.5))) for having in range(count + 1)]
    for count in range(MAX_DOCUMENTS + 1)
]
"""By the number of documents, and of those that have it, how much a word of the query counts. Whole numbers: sums of them are
the same in any order."""

Sentence = tuple[float, float, int, int]
"""Of a sentence: the shares of the query's common words and names in it, and the weight and number of the query's words."""
_NOT_READ: Sentence = (0.0, 0.0, 0, 0)
Found = tuple[float, int, Mention, int, int, Sentence]
"""A span's best mention: salience, document (-1: the query), the mention, distances to the nearest common word of the query
on its left and right (0: none), and its sentence."""


class Story:
    """What there is to know of a document before a question is asked.

    Attributes:
        passage: its text in tokens.
        title: the lowercase title.
        title_stems: the stems of the title.
        sentences: start and end token, stems and spans of each sentence with spans, the title first.
    """

    __slots__ = ("passage", "sentences", "title", "title_stems")

    def __init__(self, document: Document) -> None:
        self.passage = text = passage(document)
        self.title = text.title.lower()
        stems = text.stems
        self.title_stems = stems[: text.head]
        self.sentences = [
            (start, stop, frozenset(stems[start:stop]), mentions) for start, stop, mentions in text.sentences()
        ]


story = remember(2048)(Story)
"""`Story(document)`, remembered for documents met again."""


@dataclass(slots=True)
class Survey:
    """The answers of one view: `values` in reading order, then yes and no.

    Attributes:
        found: the spans by lowercase text, in the order of `values`.
        masks: bit k is set where document k mentions the span.
        asked: the spans of the query.
        documents: for each document the shares of the query's names and of its common words in it, and the share of its
            title that is in the query.
        weights: how much each word of the query counts.
        here: the words of the query in each document.
        best_weight, most_words: the greatest weight and number of the query's words in a sentence.
    """

    reading: Reading
    stories: list[Story]
    values: list[str] = field(default_factory=list)
    found: dict[str, Found] = field(default_factory=dict)
    masks: dict[str, int] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()
    documents: list[tuple[float, float, float]] = field(default_factory=list)
    weights: dict[str, int] = field(default_factory=dict)
    here: list[frozenset[str]] = field(default_factory=list)
    best_weight: int = 0
    most_words: int = 0


@remember(8)  # a survey is many small objects, and each that is kept is one more for the garbage collector to look at
def survey(query: str, documents: tuple[Document, ...]) -> Survey:
    """Read query and documents, find every span, and keep the MAX_SPANS most salient in reading order."""
    result = Survey(read(query), [story(document) for document in documents[:MAX_DOCUMENTS]])
    found = result.found
    _scan_query(result)
    result.asked = frozenset(found)
    if result.stories:
        _weigh(result)
        for rank, told in enumerate(result.stories):
            _scan(result, told, rank)
    if len(found) > MAX_SPANS:
        for _, key in sorted([(entry[0], key) for key, entry in found.items()])[: len(found) - MAX_SPANS]:
            del found[key]
    result.values = [entry[2][2] for entry in found.values()]
    result.values += ("yes", "no")
    return result


def _weigh(result: Survey) -> None:
    """Weigh the words of the query: the fewer documents have one, the more it counts."""
    words = result.reading.words
    result.here = [words & told.passage.words for told in result.stories]
    having = dict.fromkeys(words, 0)
    for here in result.here:
        for word in here:
            having[word] += 1
    by_count = _WEIGHTS[len(result.stories)]
    result.weights = {word: by_count[count] for word, count in having.items()}


def _scan_query(result: Survey) -> None:
    """Add the spans of the query: nearness counts its words that occur twice, as in a statement followed by a question."""
    reading, twice = result.reading, result.reading.twice
    sides: list[Mention] = []
    for start, end in reading.items:
        text = reading.phrase(start, end).strip('"').strip()
        if text:
            sides.append((start, end, text, text.lower(), NAME))
    bonus = 10.0 if sides and reading.wanted == CHOICE else 0.0
    count = len(sides)
    fits, masks, found = _FITS[reading.wanted], result.masks, result.found
    left = right = 0
    for order, span in enumerate([*sides, *mentions(cut(reading.kinds), reading.tokens, 0)][:MAX_MENTIONS]):
        start, end, _, key, kind = span
        if key in found:
            continue
        if twice:
            before, after = bisect_left(twice, start), bisect_left(twice, end)
            left = start - twice[before - 1] if before else 0
            right = twice[after] - end + 1 if after < len(twice) else 0
        salience = 1.0 + fits[kind] + _LEFT[left] + _RIGHT[right] + (bonus if order < count else 0.0)
        masks[key] = 0
        found[key] = salience, -1, span, left, right, _NOT_READ


def _scan(result: Survey, told: Story, rank: int) -> None:
    """Add the spans of one document, each with its best mention."""
    reading, asked, found, masks, bit = result.reading, result.asked, result.found, result.masks, 1 << rank
    per_relation, per_entity, fits = reading.per_relation, reading.per_entity, _FITS[reading.wanted]
    here, weights = result.here[rank], result.weights
    related = here & reading.relation
    entities = (len(here) - len(related)) * per_entity
    titled = sum(map(reading.words.__contains__, told.title_stems))
    result.documents.append((entities, len(related) * per_relation, min(1.0, titled / (len(told.title_stems) or 1))))
    title = here.intersection(told.title_stems) - related
    stems = told.passage.stems
    base = 0.7 * entities - 0.5 * rank
    left = right = 0
    titled_only: Sentence = 0.0, len(title) * per_entity, 0, 0
    for begin, stop, words, spans in told.sentences:
        part = here & words
        close: list[int] = []
        if part:
            common, count = len(part & related), len(part)
            weight = sum(map(weights.__getitem__, part))
            if weight > result.best_weight:
                result.best_weight = weight
            if count > result.most_words:
                result.most_words = count
            about = common * per_relation, (len(part | title) - common) * per_entity, weight, count
            if common:
                close = [place for place in range(begin, stop) if stems[place] in related]
        else:
            about = titled_only
        worth = base + 3.0 * about[0] + 0.5 * about[1]
        for span in spans:
            start, end, _, key, kind = span
            if close:
                left = right = 0
                for place in close:
                    if place < start:
                        left = start - place
                    elif place >= end:
                        right = place - end + 1
                        break
            salience = worth + fits[kind] + _LEFT[left] + _RIGHT[right] + _LENGTH[end - start] - _START[start]
            if key in asked:
                salience -= 1.0
            old = found.get(key)
            if old is None:
                masks[key] = bit
            else:
                masks[key] |= bit
                if old[0] >= salience:
                    continue
            found[key] = salience, rank, span, left, right, about
        left = right = 0


def rows(result: Survey) -> bytes:
    """The packed feature rows of `result.values`, in the order of COLUMNS, as native 32-bit floats."""
    reading, masks, found = result.reading, result.masks, result.found
    words = reading.words
    top = max([entry[0] for entry in found.values()], default=0.0)
    about = _about(result)
    stories = result.stories
    total, best, most = sum(result.weights.values()) or 1, result.best_weight or 1, result.most_words or 1
    titles = {told.title: told.passage for told in result.stories}
    compared = compare(reading, [told.passage for told in result.stories]) if reading.wanted == CHOICE else {}
    plain = not reading.head and not compared
    fits = _SCALED_FITS[reading.wanted]
    packed: list[bytes] = []
    for index, (key, entry) in enumerate(found.items()):
        salience, rank, span, left, right, (in_relation, in_entity, weight, count) = entry
        start, end, _, _, kind = span
        text = stories[rank].passage if rank >= 0 else reading
        length, kinds, before = end - start, text.kinds, start - 1
        if before > 0 and kinds[before] in "dD":
            before -= 1
        inside = text.stems[start:end]
        packed += (
            _FIRST[index],
            _MIDDLE(
                0.0 if words.isdisjoint(inside) else len(words.intersection(inside)) / length,
                fits[kind],
                (salience - top) / 6.0 if salience > top - 6.0 else -1.0,
                rank < 0,
                key in titles,
                _FOURTHS[masks[key].bit_count()],
                in_relation,
                in_entity,
                _NEAR[left],
                _NEAR[right],
                weight / total,
                weight / best,
                count / most,
                _EARLY[start] if start < 60 else -1.0,
            ),
            about[rank],
            _NO_HEAD if plain else _by_head(result, key, rank, span, titles.get(key), compared),
            _SHAPES[kind][length if length < 8 else 8],
            _BEFORE[text.tokens[before]] if before >= 0 else _NO_TOKEN,
        )
    packed.append(_yes_and_no(result))
    return b"".join(packed)


_NO_TOKEN = _floats(*[0.0] * len(_BEFORE_GROUPS))


def _by_head(
    result: Survey, key: str, rank: int, span: Mention, title: Passage | None, compared: dict[str, float]
) -> bytes:
    """The columns from head_inside to side."""
    head = result.reading.head
    inside = before = after = defined = 0.0
    if head:
        stems = result.stories[rank].passage.stems if rank >= 0 else result.reading.stems
        start, end = span[:2]
        if rank < 0 or head in result.stories[rank].passage.words:
            inside = head in stems[start:end]
            before = head in stems[start - 3 if start > 3 else 0 : start]
            after = head in stems[end : end + 3]
        if title is not None:
            defined = 1.0 if head in title.first else -1.0
    return _HEAD(inside, before, after, defined, compared.get(key, 0.0), key in compared)


def _about(result: Survey) -> list[bytes]:
    """The columns from document_weight to bridge of each document, and last of the query."""
    if not result.stories:
        return [_NO_DOCUMENT]
    linked = links([told.passage for told in result.stories])
    weights = [sum(map(result.weights.__getitem__, here)) for here in result.here]
    best, total = max(weights) or 1, sum(result.weights.values()) or 1
    about = [
        _ABOUT(weights[rank] / total, weights[rank] / best, max(0.0, 1.0 - 0.2 * rank), *measured, *linked[rank])
        for rank, measured in enumerate(result.documents)
    ]
    return [*about, _NO_DOCUMENT]


def _yes_and_no(result: Survey) -> bytes:
    """The rows of yes and no: whether both sides' documents have the query's words, and share a span it does not name."""
    worst = shared = 0.0
    asked = result.reading.wanted == YES_NO
    if asked and len(result.stories) > 1:
        ranks = side_documents(result.reading, [told.passage for told in result.stories])
        worst = min((result.documents[rank][1] for rank in ranks), default=0.0)
        both = sum(1 << rank for rank in ranks)
        if len(ranks) > 1:
            common = sum([key not in result.asked and result.masks[key] & both == both for key in result.found])
            shared = min(1.0, common / 3)
    return _closed_rows(len(result.found), asked, worst, shared)


@remember(256)
def _closed_rows(count: int, asked: bool, worst: float, shared: float) -> bytes:
    """The rows of yes and no behind `count` spans."""
    packed = b""
    for sign, place in ((1.0, count), (-1.0, count + 1)):
        values = [0.0] * len(COLUMNS)
        values[0], values[1], values[5] = 1.0, _INDEX[place], 1.0 if asked else -1.0
        values[3 if sign > 0.0 else 4] = 1.0
        values[9], values[10] = sign * shared, sign * worst
        packed += _floats(*values)
    return packed
