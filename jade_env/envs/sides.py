"""A coordination asked of one side at a time: "Who was born earlier, X or Y?" becomes "When was X born?", "When was Y born?".

Generic English; it knows no template, document or gold field. What comes out is checked for form by `splits`.
"""

from __future__ import annotations

from jade_env.envs import lexicon
from jade_env.envs.reading import Reading

_SINGULAR = dict(
    word.split("/") for word in lexicon.in_order("were/was are/is do/does have/has Were/Was Are/Is Do/Does Have/Has")
)
_DROPPED = lexicon.words("both either between respectively")
_FILLERS = lexicon.words("more most than the other")


WAYS = (
    ("as_it_stands", "the question asked of each side"),
    ("property", "what is compared, asked of each side"),
    ("same", 'each side asked for its own, where the question has "the same"'),
    ("owner_event", "what is compared, asked of the owner of each side"),
    ("owner_chain", "the owner of each side, then what is compared, asked of each owner"),
    ("with_relation", "each side with the question's common words"),
    ("alone", "each side alone"),
)
"""The ways to cut a coordination: name and meaning."""
_AS_IT_STANDS, _PROPERTY, _SAME, _OWNER_EVENT, _OWNER_CHAIN, _WITH_RELATION, _ALONE = range(len(WAYS))


def ask(text: str) -> str:
    """A piece of a question as a question: on one line, no angle brackets, first letter capital, one question mark."""
    text = " ".join(text.replace("<", " ").replace(">", " ").split()).strip(" ,;:?.!-–")
    return f"{text[0].upper()}{text[1:].replace(' ,', ',')}?" if text else ""


def relation_words(reading: Reading) -> str:
    """The content words of a question that are not names, in order and in lower case."""
    relation = reading.relation
    return " ".join([low for low, stem in zip(reading.lows, reading.stems, strict=True) if stem in relation])


def sides(reading: Reading) -> list[tuple[tuple[str, ...], int]]:
    """The cuts of a coordination, each with its way, an index into WAYS; [] if there is no coordination."""
    if not reading.items:
        return []
    items = [reading.phrase(*item).strip('"') for item in reading.items]
    before = _around(reading, 0, reading.items[0][0])
    after = _around(reading, reading.items[-1][1], len(reading.tokens))
    left, right = " ".join(before), " ".join(after)
    found = [word for word in (*before, *after) if word != ","]
    owner, event = _owned(found)
    patterns = (
        (_PROPERTY, _property(found)),
        (_SAME, _same(before, after)),
        (_OWNER_EVENT, f"When {event[0]} the {owner} of {{}} {event[1]}" if owner else ""),
    )
    cuts = [(tuple([ask(f"{left} {item} {right}") for item in items]), _AS_IT_STANDS)]
    cuts += [(tuple([ask(text.replace("{}", item)) for item in items]), way) for way, text in patterns if text]
    if owner:
        people = [f"Who is the {owner} of {item}?" for item in items]
        events = [f"When {event[0]} #{number} {event[1]}?" for number in range(1, len(items) + 1)]
        cuts.append(((*people, *events), _OWNER_CHAIN))
    relation = relation_words(reading)
    cuts.append((tuple([f"{item} {relation}" for item in items]), _WITH_RELATION))
    cuts.append((tuple(items), _ALONE))
    return cuts


def _around(reading: Reading, start: int, end: int) -> list[str]:
    """The words on one side of a coordination in the singular, without "both" and the like or closing punctuation."""
    text = "".join(reading.tokens[start:end]).rstrip("?,.:;-– ")
    found = [word for word in text.replace(", ", " , ").split() if word not in _DROPPED]
    singular = [_SINGULAR.get(word, word) for word in found]
    if singular != found and singular[-1] == "of" and len(singular) > 1:
        singular[-2] = _one(singular[-2])
    return singular


def _one(noun: str) -> str:
    """A regular plural in the singular."""
    if noun.endswith("ies") and len(noun) > 4:
        return f"{noun[:-3]}y"
    return noun[:-1] if noun.endswith("s") and not noun.endswith("ss") and len(noun) > 3 else noun


def _auxiliary(lows: list[str]) -> int:
    return next((position for position, low in enumerate(lows) if low in lexicon.AUXILIARIES), -1)


def _property(found: list[str]) -> str:
    """What a comparison compares, asked of one side "{}"; "" if nothing is compared."""
    lows = [word.lower() for word in found]
    cues = [low for low in lows if low in lexicon.TIME_COMPARISONS or low in lexicon.MORE or low in lexicon.LESS]
    if not cues or "who" in lows[1:] or "whose" in lows:
        return ""
    verb = _auxiliary(lows)
    timed = not lexicon.TIME_COMPARISONS.isdisjoint(cues)
    tail = [word for word in found[verb + 1 :] if word.lower() not in cues and word.lower() not in _FILLERS]
    if verb < 0:
        return f"When did {{}} {' '.join(tail[2:])}" if timed else ""
    auxiliary = lows[verb]
    if auxiliary in ("has", "have", "had") and tail:
        return (
            f"How many {' '.join(tail)} does {{}} have"
            if tail[0].endswith("s")
            else f"What is the {' '.join(tail)} of {{}}"
        )
    measure = next((lexicon.MEASURES[low] for low in cues if low in lexicon.MEASURES), "")
    if not tail:
        return f"How {measure} {auxiliary} {{}}" if measure and measure != "old" else "When was {} born"
    return (
        f"When {auxiliary} {{}} {' '.join(tail)}"
        if timed
        else f"How {measure or 'much'} {auxiliary} {{}} {' '.join(tail)}"
    )


def _owned(found: list[str]) -> tuple[str, tuple[str, str]]:
    """The owner and the event a comparison of owners is about, ("", ...) if it is none.

    "which film has the director who was born earlier" and "whose director was born earlier" give ("director", ("was", "born")).
    """
    rest = [word for word in found if word.lower() not in lexicon.TIME_COMPARISONS and word.lower() not in _FILLERS]
    lows = [word.lower() for word in rest]
    nothing = "", ("", "")
    if len(rest) == len(found):
        return nothing
    link = next((place for place in range(1, len(rest)) if lows[place] in ("who", "whose")), -1)
    if link < 0:
        if lows[2:3] != ["has"] or len(rest) < 5:
            return nothing
        return rest[3], ("did" if lows[4] == "died" else "was", " ".join(rest[4:]))
    owner, tail = rest[link - 1], rest[link + 1 :]
    if lows[link] == "whose":
        if not tail:
            return nothing
        owner, tail = tail[0], tail[1:]
    verb = _auxiliary([word.lower() for word in tail])
    event = " ".join(tail[verb + 1 :])
    return owner, (tail[verb].lower() if verb >= 0 else "did", event) if event else ("was", "born")


def _same(before: list[str], after: list[str]) -> str:
    """ "Were X and Y born in the same city" asked of one side: "In which city was {} born"."""
    lows = [word.lower() for word in after]
    if "same" not in lows or not before:
        return ""
    place = lows.index("same")
    head = [word for word in after[:place] if word != ","]
    if head and head[-1].lower() == "the":
        head.pop()
    preposition = head.pop() if head and head[-1].lower() in lexicon.PREPOSITIONS else ""
    noun = " ".join(after[place + 1 :])
    return f"{preposition} which {noun} {before[0].lower()} {' '.join(before[1:])} {{}} {' '.join(head)}"
