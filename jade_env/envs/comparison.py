"""What documents say of the sides of a comparison: their documents, their numbers, and how documents refer to one another."""

from __future__ import annotations

from bisect import bisect_left

from jade_env.envs.reading import Reading
from jade_env.envs.spans import DATE, NUMBER, YEAR, Passage, numeric


def links(passages: list[Passage]) -> list[tuple[float, float]]:
    """For each document: how often its title is in others, and others' titles in it; two give 1."""
    if len(passages) < 2:
        return [(0.0, 0.0)] * len(passages)
    into = [0.0] * len(passages)
    out = [0.0] * len(passages)
    for target, passage in enumerate(passages):
        title = passage.title
        if len(title) > 2:
            for source, other in enumerate(passages):
                if title in other.text and source != target:
                    into[target] += 0.5
                    out[source] += 0.5
    return [(min(1.0, a), min(1.0, b)) for a, b in zip(into, out, strict=True)]


def side_documents(reading: Reading, passages: list[Passage]) -> list[int]:
    """For each side of the query's coordination (or each name), the document whose title has most of its words."""
    ranks: list[int] = []
    for start, end in reading.items or reading.names:
        words = {stem for stem in reading.stems[start:end] if stem}
        scores = [len(words.intersection(text.stems[: text.head])) - 0.01 * min(text.head, 90) for text in passages]
        best = max(range(len(scores)), key=scores.__getitem__)
        if scores[best] > 0.0 and best not in ranks:
            ranks.append(best)
    return ranks


def compare(reading: Reading, passages: list[Passage]) -> dict[str, float]:
    """For each side of a choice, 1 if the number found for it is the one the query asks for, -1 if not, 0 if none is found."""
    numbers: dict[str, float | None] = {}
    for start, end in reading.items:
        words = {stem for stem in reading.stems[start:end] if stem}
        numbers[reading.phrase(start, end).strip('"').strip().lower()] = _number_of(
            reading, passages, words, end - start
        )
    known = [number for number in numbers.values() if number is not None]
    if len(known) < 2 or max(known) == min(known):
        return dict.fromkeys(numbers, 0.0)
    wanted = min(known) if reading.polarity < 0.0 else max(known)
    return {key: 0.0 if number is None else 1.0 if number == wanted else -1.0 for key, number in numbers.items()}


def _number_of(reading: Reading, passages: list[Passage], words: set[str], size: int) -> float | None:
    """The number or date nearest to the query's common words in the document that is most about `words`."""
    per_word = 1.0 / (len(words) or 1)
    best = ""
    best_score = -1.0
    for passage in passages:
        stems = passage.stems
        titled = len(words.intersection(stems[: passage.head]))
        share = per_word * (titled / (1.0 + 0.1 * abs(passage.head - size)) + 0.2 * len(words.intersection(stems)))
        if share <= 0.3:
            continue
        near = [place for place, stem in enumerate(stems) if stem in reading.relation]
        for start, _, text, _, kind in passage.mentions():
            if kind in (NUMBER, YEAR, DATE):
                after = bisect_left(near, start)
                distance = min([20, *(abs(start - place) for place in near[max(0, after - 1) : after + 1])])
                score = 2.0 * share - 0.03 * distance - 0.002 * start + (0.3 if kind != NUMBER else 0.0)
                if score > best_score:
                    best, best_score = text, score
    return numeric(best) if best else None
