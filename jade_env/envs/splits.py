"""How a question may be rewritten or cut into sub-questions, by generic English shapes. It knows no template and no gold.

Every list is in a fixed order, holds no duplicate and no malformed output (equal to the question, repeated, empty, or too
long), and is never empty.
"""

from __future__ import annotations

from jade_env.envs import lexicon
from jade_env.envs.memory import remember
from jade_env.envs.reading import Reading, is_person, read
from jade_env.envs.sides import WAYS, ask, relation_words, sides
from jade_env.game.outputs import MAX_QUERY_WORDS, MAX_SUBQUESTIONS
from jade_env.game.view import View
from jade_env.game.workflow import substitute

MAX_CANDIDATES = 8
WORDINGS = (
    ("whole", "the target query with the answers of earlier steps in it"),
    ("plain", "the same without its question mark"),
    ("content", "its content words"),
    ("names", "its names"),
    ("phrase", "its last noun phrase"),
    ("name_and_word", "its names and its last common word"),
    ("plain_last", "the plain wording and the last sub-answer"),
    ("content_last", "its content words and the last sub-answer"),
    ("last_relation", "the last sub-answer and its common words"),
    ("about", "the target query after the word about, where nothing else is left"),
)
"""The ways to word a query: name and meaning."""
CUTS = (
    *WAYS,
    ("names_asked", "what each name is"),
    ("names_relation", "each name with the question's common words"),
    ("pair", "a phrase, then the question with #1 in its place"),
    ("chain", "a phrase in a phrase, then both in turn"),
    ("plain", "the question without its question mark"),
    ("keywords", "its content words"),
    ("about", "the question after the word about, where nothing else is left"),
)
"""The ways to cut a question: name and meaning."""
_NAMES, _NAMES_RELATION, _PAIR, _CHAIN, _PLAIN, _KEYWORDS, _ABOUT = range(len(WAYS), len(CUTS))
Cut = tuple[int, int, int]
"""How a question was cut: an index into CUTS, and the tokens [start, end) of the phrase cut out (0, 0 if none)."""
Option = tuple[tuple[str, ...], Cut]
_RELATIVE = lexicon.words("who whose whom that which where when")
_OWN = frozenset("lUMNY")
_LINKS = lexicon.words("of who whose whom that which where when by from in with for behind on at")


def shorten(text: str) -> str:
    """`text` on one line without angle brackets, at most MAX_QUERY_WORDS words."""
    if "<" in text or ">" in text:
        text = text.replace("<", " ").replace(">", " ")
    parts = text.split()
    if len(parts) > MAX_QUERY_WORDS:
        del parts[MAX_QUERY_WORDS:]
    return " ".join(parts)


def keywords(reading: Reading) -> str:
    """The content words of a question in order."""
    return " ".join([token.rstrip() for token, stem in zip(reading.tokens, reading.stems, strict=True) if stem])


def rewrites(view: View) -> list[str]:
    """At most eight queries that say the same in other words; never the query itself."""
    return list(wordings(view.query, view.answers))


@remember(16)
def wordings(query: str, answers: tuple[tuple[str, str], ...]) -> dict[str, int]:
    """The rewrites of a query, each with its wording, an index into WORDINGS."""
    text = shorten(substitute(query, [answer for _, answer in answers]))
    reading = read(text)
    plain = text.rstrip("? ")
    content = keywords(reading)
    names = " ".join([reading.phrase(*name).strip('"') for name in reading.names])
    relation = relation_words(reading)
    phrases = noun_phrases(reading)
    options = [
        text,
        plain,
        content,
        names,
        reading.phrase(*phrases[-1]) if phrases else "",
        f"{names} {relation.split()[-1]}" if names and relation else "",
    ]
    if answers:
        last = answers[-1][1]
        options += [f"{plain} {last}", f"{content} {last}", f"{last} {relation}"]
    seen = {query.strip().casefold(), ""}
    kept: dict[str, int] = {}
    for wording, option in enumerate(options):
        if option:
            option = shorten(option)
            key = option.casefold()
            if key not in seen:
                seen.add(key)
                kept[option] = wording
                if len(kept) == MAX_CANDIDATES:
                    break
    return kept or {_about(query): len(WORDINGS) - 1}


def _about(query: str) -> str:
    """Another wording where there is no other; of a query that is all "about", one word less."""
    about = shorten(f"about {query}")
    return about if about.casefold() != query.strip().casefold() else about.rpartition(" ")[0]


def noun_phrases(reading: Reading) -> list[tuple[int, int]]:
    """Token ranges of noun phrases a question is nested around: "the author of X", "the city where X lived", "X's father"."""
    kinds, lows, size = reading.kinds, reading.lows, len(reading.lows)
    end_of = size - 1 if size and kinds[-1] == "." else size
    found: list[tuple[int, int]] = []
    for start, letter in enumerate(kinds):
        if letter in "dD":
            link = _link(reading, start)
            if link and (lows[start] == "the" or lows[link] in _RELATIVE or lows[link] in ("of", "in")):
                found += [(start, end) for end in _ends(reading, link, end_of)]
        elif letter == "s":
            begin = next((a for a, b in reading.names if a < start <= b), -1)
            end = start + 1
            while end < end_of and end < start + 4 and kinds[end] == "l":
                end += 1
            if begin >= 0 and end > start + 1:
                found += [(begin, stop) for stop in ((end - 1, end) if end > start + 2 else (end,))]
    return [phrase for phrase in found if _asks(reading, *phrase)][:12]


def _asks(reading: Reading, start: int, end: int) -> bool:
    """Whether a question with words of its own is left around the phrase, and the phrase neither asks nor cuts a choice."""
    lows, kinds = reading.lows, reading.kinds
    if "what" in lows[start:end] or (reading.items and start < reading.items[0][0] < end):
        return False
    outside = lows[:start] + lows[end:]
    if not outside or _OWN.isdisjoint(kinds[:start] + kinds[end:]):
        return False
    if kinds[end : end + 1] == "v" and not _RELATIVE.isdisjoint(lows[start:end]) and "v" not in kinds[start:end]:
        return False
    return outside[0] in lexicon.AUXILIARIES or not lexicon.QUESTION_WORDS.isdisjoint(outside)


def _link(reading: Reading, start: int) -> int:
    """The token after "the N" that opens its complement, 0 if there is none."""
    noun = False
    for position in range(start + 1, min(start + 7, len(reading.lows))):
        low = reading.lows[position]
        if low in _LINKS or (noun and low.endswith(("ed", "ing")) and reading.kinds[position] == "l"):
            return position if noun else 0
        if reading.kinds[position] not in "lUMNYW-":
            return 0
        noun = True
    return 0


def _ends(reading: Reading, link: int, end_of: int) -> list[int]:
    """Where the phrase opened at `link` may end: after its first name, before the last verb, at the question's end."""
    kinds = reading.kinds
    ends: list[int] = []
    name = next((b for a, b in reading.names if a > link), 0)
    if name:
        ends.append(name)
    if name and name + 2 < end_of and kinds[name] in "vl" and kinds[name + 1] in "lo":
        ends.append(name + 2)
    if end_of - 1 > link + 1 and kinds[end_of - 1] == "l" and kinds[end_of - 2] not in "vfid":
        ends.append(end_of - 1)
    if end_of > link + 1:
        ends.append(end_of)
    return sorted(set(ends))


def _inner(reading: Reading, start: int, end: int, text: str) -> str:
    """The question that asks for the noun phrase of tokens [start, end), whose words are `text`."""
    head = ""
    if reading.kinds[start] in "dD":
        for position in range(start + 1, end):
            if reading.lows[position] in _LINKS or reading.kinds[position] not in "lUMNYW-":
                break
            if head and reading.lows[position].endswith(("ed", "ing")):
                break
            head = reading.lows[position]
    else:
        head = reading.lows[end - 1]
    return ask(f"{'Who' if is_person(head) else 'What'} is {text}")


def serial(view: View) -> list[tuple[str, ...]]:
    """Chains in which a step may use the answer of an earlier one as `#k`, and cuts of a coordination played in order."""
    return list(cuts(view.query, True))


def parallel(view: View) -> list[tuple[str, ...]]:
    """One sub-question for each side of a coordination, in several wordings; for other questions one for each name."""
    return list(cuts(view.query, False))


@remember(16)
def cuts(query: str, serial: bool) -> dict[tuple[str, ...], Cut]:
    """The decompositions of a question, each with the way it was cut.

    They are well-formed; the question itself without its question mark, as a chain of one, is among them.
    """
    reading = read(query)
    options = _serial(reading) if serial else _parallel(reading)
    whole = query.strip().casefold()
    kept: dict[tuple[str, ...], Cut] = {}
    options += [((shorten(query).rstrip("? "),), (_PLAIN, 0, 0)), ((keywords(reading),), (_KEYWORDS, 0, 0))]
    for option, way in options:
        distinct: dict[str, str] = {}
        for part in option[:MAX_SUBQUESTIONS]:
            text = shorten(part)
            key = text.casefold()
            if text and key != whole:
                distinct.setdefault(key, text)
        if distinct and (len(distinct) > 1 or len(option) == 1):
            kept.setdefault(tuple(distinct.values()), way)
            if len(kept) == MAX_CANDIDATES:
                break
    return kept or {(shorten(f"about {query}"),): (_ABOUT, 0, 0)}


def _serial(reading: Reading) -> list[Option]:
    phrases = noun_phrases(reading)
    size = len(reading.tokens)
    phrase = reading.phrase
    coordinated = [(parts, (way, 0, 0)) for parts, way in sides(reading)[:4]]
    chains: list[Option] = []
    for outer_start, outer_end in phrases:
        for start, end in phrases:
            if outer_start < start and end <= outer_end and len(chains) < 3:
                middle = f"{phrase(outer_start, start)} #1 {phrase(end, outer_end)}"
                main = f"{phrase(0, outer_start)} #2 {phrase(outer_end, size)}"
                first = _inner(reading, start, end, phrase(start, end))
                steps = first, _inner(reading, outer_start, outer_end, middle), ask(main)
                chains.append((steps, (_CHAIN, outer_start, outer_end)))
    room = MAX_CANDIDATES - len(coordinated) - (1 + len(chains) if chains else 2)
    pairs: list[Option] = [
        (
            (_inner(reading, start, end, phrase(start, end)), ask(f"{phrase(0, start)} #1 {phrase(end, size)}")),
            (_PAIR, start, end),
        )
        for start, end in phrases[:room]
    ]
    return [*pairs, *chains, *coordinated]


def _parallel(reading: Reading) -> list[Option]:
    found = sides(reading)
    if not found and len(reading.names) > 1:
        names = [reading.phrase(*name).strip('"') for name in reading.names]
        relation = relation_words(reading)
        found = [
            (tuple([f"Who or what is {name}?" for name in names]), _NAMES),
            (tuple([f"{name} {relation}" for name in names]), _NAMES_RELATION),
        ]
    return [(parts, (way, 0, 0)) for parts, way in found if "#1" not in parts[-1]]
