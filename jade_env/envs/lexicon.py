"""Closed-class English for reading questions and passages: word lists, crude stems, one class letter a word.

It knows words one at a time. It does not know the embedded world, its names or templates, any question or any answer.
Tables are filled as words are met and forget everything when full, so that hostile text cannot grow them (`memory.Table`).
"""

from __future__ import annotations

import re
from itertools import chain

from jade_env.envs.memory import Table

# No possessive quantifiers over groups, here and in all patterns: before Python 3.11.5 they match wrongly.
_TOKEN = re.compile(
    r"\w+(?:[-'’](?!s\b)\w+|[.,](?<=\d.)\d+)*(?:\.(?:(?<=\b[A-Z]\.)|(?<=\bSt\.)|(?<=\b[JSD]r\.)|(?<=\bM[rst]\.)))?"
    r"|['’]s\b|[^\w\s]"
)


def in_order(text: str) -> list[str]:
    """The words of a white-space separated list, in order."""
    return text.split()


def words(text: str) -> frozenset[str]:
    """The words of a white-space separated list."""
    return frozenset(text.split())


ARTICLES = words("a an the")
COPULAS = words("is was are were be been being became becomes remains as")
AUXILIARIES = words(
    "is was are were do does did has have had can could will would should may might must am isn't aren't wasn't weren't"
)
PARTICLES = words("de von van der den la le las los du da das dos del della di al el y et e bin ibn ben zu des the")
PREPOSITIONS = words(
    "in at by of from as to for with on into near about after before during since until between among through over under against"
)
QUESTION_WORDS = words("who whom whose when where which what how why")
FUNCTION = (
    ARTICLES
    | COPULAS
    | AUXILIARIES
    | PREPOSITIONS
    | QUESTION_WORDS
    | words(
        "and or but nor so if then than that this these those there here he she it they we i you his her its their our my "
        "your him them us me himself herself itself themselves not no yes also both either neither each other others another "
        "such same own only just very too more most less least many much some any all every few several one ones while "
        "because although though however when where who whom which what how why whose having up down out off again further once "
        "without within along across behind beyond plus except per via upon toward towards around above below besides despite "
        "being did does doing done get got now today later still yet even ever never well often"
    )
)
MONTH_ORDER = in_order("January February March April May June July August September October November December")
MONTHS = frozenset(MONTH_ORDER)
SCALES = words("hundred thousand million billion trillion percent dozen hundreds thousands millions billions %")
_ONES = in_order(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = in_order("twenty thirty forty fifty sixty seventy eighty ninety")
NUMBER_WORDS = {word: float(value) for value, word in enumerate(_ONES)}
NUMBER_WORDS |= {word: 10.0 * value for value, word in enumerate(_TENS, 2)}
SCALE_VALUES = {
    "dozen": 12.0,
    "hundred": 1e2,
    "hundreds": 1e2,
    "thousand": 1e3,
    "thousands": 1e3,
    "million": 1e6,
    "millions": 1e6,
    "billion": 1e9,
    "billions": 1e9,
    "trillion": 1e12,
}

PLACES = words(
    "city town village country state county province region place location continent nation district island capital "
    "birthplace hometown area street venue territory municipality settlement suburb neighborhood borough nationality planet "
    "republic kingdom prefecture department port harbor harbour coast valley"
)
PERSONS = words(
    "person man woman king queen duke emperor president wife husband spouse father mother son daughter brother sister "
    "grandfather grandmother uncle aunt cousin nephew niece parent child sibling friend actress director author writer "
    "politician musician artist poet novelist scientist historian coach captain member hero heir partner chief boss mayor "
    "architect engineer guitarist pianist saint pope priest bishop prince princess princesse lord lady guy girl boy "
    "individual celebrity celebrities people chairman chairwoman ceo star widow bride mentor neighbor neighbour tutor "
    "grandson granddaughter ancestor descendant rival pupil student"
)
NOT_PERSONS = words(
    "river number order tower computer center centre paper letter chapter quarter border summer winter water master color "
    "colour floor matter power cover newspaper theater theatre character amber corner december september october november "
    "area list artist's year sector motor vector error factor labor honor harbor flavor danger fiber timber shoulder layer "
    "answer offer daughter-company semester register chamber cancer copper silver leather weather order series"
)
TIMES = words("year date day month century decade season era time birthday birthdate anniversary period")
QUANTITIES = words(
    "number population age height length size distance amount percentage percent total rate cost price depth area weight capacity"
)
HOW_MUCH = words("many much old long tall far high large big deep fast often heavy wide populous")
MORE = words(
    "more larger bigger higher taller longer later younger newer greater most largest biggest highest tallest longest "
    "latest last youngest newest recent recently heavier deeper richer wider after"
)
LESS = words(
    "fewer less smaller lower shorter earlier older elder fewest least smallest lowest shortest earliest first oldest "
    "eldest before sooner lighter"
)
TIME_COMPARISONS = words(
    "earlier later first last recently recent sooner older younger newer oldest youngest earliest latest before after elder newest"
)
MEASURES = {
    "larger": "large",
    "bigger": "big",
    "higher": "high",
    "taller": "tall",
    "longer": "long",
    "older": "old",
    "younger": "old",
    "smaller": "large",
    "lower": "high",
    "shorter": "long",
    "deeper": "deep",
    "heavier": "heavy",
    "wider": "wide",
}

_FAMILIES = """
born birth birthplace birthdate birthday births natives native
die died dies death dead deceased dying deaths
write wrote written writer writers writing writes author authors authored novelist penned
win won winner winners winning wins
lead led leader leaders leading leads head headed heads
make made maker makers making makes
build built builder builders building buildings
hold held holder holds holding
speak spoke spoken speaker speaks speaking
sing sang sung singer singers singing sings vocalist
begin began begun beginning begins start started starts
buy bought buyer buys purchased acquired acquire acquisition purchaser
sell sold seller sells
run ran runs runner running
grow grew grown grows
know known knew knows
give gave given gives
take took taken takes
teach taught teacher teachers teaches teaching
found founded founder founders founding founds establish established establishment cofounder co-founder co-founded
marry married marries marriage wife husband spouse wed
live lived lives living reside resides resided residence home
work worked works working worker employ employed employer employs employee job
lie lies lay located location locate situated
study studied studies student students studying
play played player players plays playing portray portrayed portrays role
act acted actor actors actress actresses acting star starred stars starring
compose composed composer composers music
direct directed director directors directing directs
produce produced producer producers production produces
publish published publisher publishers publishes publishing publication
own owned owner owners owns owning
create created creator creators creates creation
country countries nation national nationality
city cities
company companies
population inhabitants populated people residents
child children son daughter sons daughters
parent parents father mother
king queen reign reigned monarch
serve served serves serving
perform performed performer performers performance
invent invented inventor invention invents
discover discovered discoverer discovery
design designed designer designs architect
record recorded recording records
release released releases
old age aged older oldest
year years
film films movie movies
headquarters headquartered based
named name names called
"""
IRREGULAR = {word: family.split()[0] for family in _FAMILIES.strip().splitlines() for word in family.split()}
_SUFFIXES = (
    "ations",
    "ation",
    "ments",
    "ment",
    "ings",
    "ing",
    "ions",
    "ion",
    "ers",
    "ors",
    "ies",
    "er",
    "or",
    "ed",
    "es",
    "ly",
    "s",
    "e",
    "y",
)


def stem(word: str) -> str:
    """A crude stem of a lowercase word, "" for a function word: founder and founded agree, so do cities and city."""
    if word in FUNCTION:
        return ""
    family = IRREGULAR.get(word)
    if family is not None:
        return family
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 4:
            return word[: -len(suffix)]
    return word


_SIGNS = {
    ".": ".", "?": ".", "!": ".", ",": ",", ";": ";", ":": ";", "(": "(", ")": ")", '"': '"', "“": '"', "”": '"',
    "-": "-", "–": "-", "—": "-", "&": "A", "%": "O", "'s": "s", "’s": "s", "#": "#", "<": "z", ">": "z",
}  # fmt: skip


def kind(word: str) -> str:
    """The class letter of one token, for patterns over whole passages.

    U capitalised, T capitalised function word, D capitalised article, l lowercase, f function word, d article, v copula,
    i preposition, o "of", p name particle, & "and", / "or", A ampersand, Y year, N number, W number word, O scale, M month,
    s possessive, # marker; . sentence end, comma, ; colon, brackets, quote, - dash between words; z an angle bracket, which
    is never part of a span; x anything else.
    """
    sign = _SIGNS.get(word)
    if sign is not None:
        return sign
    first = word[0]
    if first.isdigit():
        if len(word) == 4 and word.isdecimal() and word.isascii() and "1000" <= word < "2100":
            return "Y"
        return "N"
    if not (first.isalpha() or first == "_"):
        return "x"
    return _word_kind(word, word.lower())


def _word_kind(word: str, low: str) -> str:
    if word != low and word[0] != low[0]:
        if word in MONTHS:
            return "M"
        if low in ARTICLES:
            return "D"
        return "T" if low in FUNCTION or low in AUXILIARIES else "U"
    if low == "and":
        return "&"
    if low == "or":
        return "/"
    if low == "of":
        return "o"
    if low in ARTICLES:
        return "d"
    if low in COPULAS:
        return "v"
    if low in PREPOSITIONS:
        return "i"
    if low in SCALES:
        return "O"
    if low in FUNCTION:
        return "f"
    if low in NUMBER_WORDS:
        return "W"
    return "p" if low in PARTICLES else "l"


def _pieces(word: str) -> tuple[str, ...]:
    """Token (a blank after the last), class letter, stem and lowercase form of each token of a white-space separated word."""
    tokens = _TOKEN.findall(word)
    if not tokens:
        return "", ".", "", ""
    pieces: list[str] = []
    for token in tokens:
        low = token.lower()
        pieces += token, kind(token), stem(low) if token[0].isalnum() else "", low
    pieces[-4] += " "
    if pieces[-3] == "-":
        pieces[-3] = ";"
    return tuple(pieces)


SEPARATOR = "\n"
"""A word that stands for one empty token which ends a sentence."""
_PIECES: Table[tuple[str, ...]] = Table(_pieces)


Strings = tuple[str, ...]


def analyse(found: list[str]) -> tuple[Strings, str, Strings, Strings]:
    """Cut white-space separated words into tokens.

    Returns:
        Tokens (joined they give the words with single blanks), a string of their class letters, their stems and their
        lowercase forms (without the blanks), aligned.
    """
    pieces = tuple(chain.from_iterable(map(_PIECES.__getitem__, found)))
    return pieces[::4], "".join(pieces[1::4]), pieces[2::4], pieces[3::4]


STEM: Table[str] = Table(stem)
