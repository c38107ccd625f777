"""Puts together the embedded world's questions: facts and relations in, questions with gold answers out.

Knows where each fact is told (its passage's id) but not how it is worded.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

from jade_env.questions.draws import Draws, Integers
from jade_env.questions.facts import Facts
from jade_env.questions.question import Question, Step
from jade_env.questions.relations import DIRECT, RELATIONS, Relation, chains
from jade_env.questions.words import COLOURS, THINGS

_TRIES = 200
_FEWEST_SUBJECTS = 8


class Asker:
    """Asks about one world, every entity as often as any other of its type, and nothing twice while it can be helped."""

    def __init__(self, facts: Facts, positions: Mapping[str, Integers], draws: Draws) -> None:
        self._facts = facts
        self._draws = draws
        self._values = {name: values.tolist() for name, values in facts.values.items()}
        self._ids = {name: [str(position) for position in held.tolist()] for name, held in positions.items()}
        self._asked: set[str] = set()
        self._chains = {hops: self._stream(chains(hops)) for hops in (1, 2, 3)}
        large = [relation for relation in RELATIONS if facts.count(relation.subject) >= _FEWEST_SUBJECTS]
        self._listed = self._stream([(relation,) for relation in large if relation.lists])
        self._ranked = self._stream([(relation,) for relation in large if relation.which])
        self._paired = self._stream([(relation,) for relation in large if relation.same])
        self._alike = {relation.name: self._groups(relation) for relation in large if relation.same}

    def direct(self) -> Question:
        """Ask for a small fact that the question itself tells."""
        return self._fresh(self._direct)

    def chain(self, kind: str, hops: int) -> Question:
        """Ask for the end of a chain of `hops` facts."""
        return self._fresh(lambda: self._chain(kind, hops))

    def listed(self, items: int) -> Question:
        """Ask for the same fact of several entities, `items` of them where so many have different answers."""
        return self._fresh(lambda: self._list(items))

    def which(self) -> Question:
        """Ask which of two entities has more or less of something."""
        return self._fresh(self._which)

    def same(self, answer: bool) -> Question:
        """Ask whether two entities agree; the true answer is `answer`."""
        return self._fresh(lambda: self._same(answer))

    def _fresh(self, ask: Callable[[], Question | None]) -> Question:
        """Return a question not asked before, or, after many tries, one that was."""
        last: Question | None = None
        for _ in range(_TRIES):
            question = ask()
            if question is not None:
                last = question
                if question.text not in self._asked:
                    break
        if last is None:
            raise ValueError("this world is too small for such a question")
        self._asked.add(last.text)
        return last

    def _stream(self, found: Sequence[tuple[Relation, ...]]) -> Iterator[tuple[tuple[Relation, ...], int]]:
        """Yield chains with a subject to start at, every pair as often as any other."""
        ends = list(accumulate(self._facts.count(chain[0].subject) for chain in found))
        for number in self._draws.endless(ends[-1]):
            index = bisect_right(ends, number)
            yield found[index], number - (ends[index - 1] if index else 0)

    def _pick(self, forms: Sequence[str]) -> str:
        return forms[self._draws.one(len(forms))]

    def _name(self, relation: Relation, subject: int) -> str:
        return self._facts.names[relation.subject][subject]

    def _answer(self, relation: Relation, subject: int) -> str:
        return self._facts.text(relation.target, self._values[relation.name][subject])

    def _source(self, relation: Relation, subject: int) -> str:
        return self._ids[relation.passage][subject]

    def _step(self, relation: Relation, subject: int) -> Step:
        text = relation.asks[0].format(s=self._name(relation, subject))
        return Step(text, self._answer(relation, subject), self._source(relation, subject))

    def _chain(self, kind: str, hops: int) -> Question | None:
        links, subject = next(self._chains[hops])
        phrase = self._name(links[0], subject)
        passed, steps = [phrase], []
        inner = phrase
        for hop, link in enumerate(links):
            answer, source = self._answer(link, subject), self._source(link, subject)
            passed.append(answer)
            if hop == hops - 1:
                ask = self._pick(link.asks)
                steps.append(Step(ask.format(s=inner), answer, source))
                phrase = ask.format(s=phrase)
                break
            noun = self._pick(link.nouns) if hop == 0 else link.nouns[0]
            opening = "Who is" if link.target == "person" else "What is"
            steps.append(Step(f"{opening} {noun.format(s=inner)}?", answer, source))
            phrase = noun.format(s=phrase)
            inner = f"#{hop + 1}"
            subject = self._values[link.name][subject]
        if len(set(passed)) < len(passed):
            return None
        return _question(kind, phrase, _spellings(links[-1], passed[-1]), steps)

    def _list(self, items: int) -> Question | None:
        (relation,), subject = next(self._listed)
        subjects, answers = [subject], [self._answer(relation, subject)]
        high = self._facts.count(relation.subject)
        for _ in range(_TRIES):
            if len(subjects) == items:
                break
            subject = self._draws.one(high)
            answer = self._answer(relation, subject)
            if answer not in answers and subject not in subjects:
                subjects.append(subject)
                answers.append(answer)
        if len(subjects) < 2:
            return None
        text = self._pick(relation.lists).format(l=_series([self._name(relation, subject) for subject in subjects]))
        steps = [self._step(relation, subject) for subject in subjects]
        return _question("list", text, (", ".join(answers), _series(answers)), steps, answers)

    def _which(self) -> Question | None:
        (relation,), one = next(self._ranked)
        two = self._draws.one(self._facts.count(relation.subject))
        first, second = (self._values[relation.name][subject] for subject in (one, two))
        if first == second:
            return None
        form, smaller_wins = relation.which[self._draws.one(len(relation.which))]
        names = self._name(relation, one), self._name(relation, two)
        winner = names[0] if (first < second) == smaller_wins else names[1]
        steps = [self._step(relation, one), self._step(relation, two)]
        return _question("compare_which", form.format(x=names[0], y=names[1]), (winner,), steps)

    def _same(self, answer: bool) -> Question | None:
        (relation,), one = next(self._paired)
        values = self._values[relation.name]
        among = self._alike[relation.name][values[one]] if answer else range(len(values))
        two = among[self._draws.one(len(among))]
        if one == two or (values[one] == values[two]) != answer:
            return None
        text = relation.same.format(x=self._name(relation, one), y=self._name(relation, two))
        steps = [self._step(relation, one), self._step(relation, two)]
        return _question("compare_yesno", text, ("yes" if answer else "no",), steps)

    def _groups(self, relation: Relation) -> dict[int, list[int]]:
        """Return, for each value, the subjects that have it."""
        groups: dict[int, list[int]] = {}
        for subject, value in enumerate(self._values[relation.name]):
            groups.setdefault(value, []).append(subject)
        return groups

    def _direct(self) -> Question:
        draws, names = self._draws, self._facts.names
        people = draws.distinct(len(names["person"]), 3).tolist()
        cities = draws.distinct(len(names["city"]), 2).tolist()
        colours = draws.distinct(len(COLOURS), 2).tolist()
        numbers = draws.distinct(89, 2).tolist()
        slots = dict(zip("pqr", (names["person"][person] for person in people), strict=True))
        slots |= dict(zip("cd", (names["city"][city] for city in cities), strict=True))
        slots |= dict(zip("ab", (COLOURS[colour] for colour in colours), strict=True))
        slots |= dict(zip("mn", (str(number + 11) for number in numbers), strict=True))
        slots["t"] = self._pick(THINGS)
        statement, asks = DIRECT[draws.one(len(DIRECT))]
        ask, answer = asks[draws.one(len(asks))]
        return _question("direct", f"{statement} {ask}".format_map(slots), (slots[answer],), ())


def _question(
    kind: str, text: str, golds: tuple[str, ...], steps: Sequence[Step], items: Sequence[str] = ()
) -> Question:
    """Make a question that has no id yet."""
    sources = tuple(step.supporting_id for step in steps if step.supporting_id is not None)
    metadata = {"hops": len(steps)} | ({"list_items": list(items)} if items else {})
    return Question("", text, golds, kind, sources, tuple(steps), metadata)


def _spellings(relation: Relation, answer: str) -> tuple[str, ...]:
    """Return the ways to write an answer, as its passage does first."""
    if relation.target == "population":
        return answer, answer.replace(",000", " thousand"), answer.replace(",", "")
    return (answer,)


def _series(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
