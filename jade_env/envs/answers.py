"""The generator's answers: spans of the documents and of the query, ranked only to cut them to 32, shown in reading order.

Everything is lexical: how near a span stands to the query's words, in which sentence, of which kind. No gold, no template.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import NamedTuple

from jade_env.envs.lexicon import KIND, STEM
from jade_env.envs.reading import CHOICE, YES_NO, Reading, read
from jade_env.envs.spans import (
    DATE, LOWERCASE, NAME, NUMBER, PATTERN, QUOTED, SINGLE, YEAR, Mention, Passage, clean, find, numeric, passage,
)
from jade_env.game.view import View

MAX_SPANS = 32
MAX_DOCUMENTS = 10
FAR = 4_999
NEAR = [0.0, *(1.0 / (1.0 + 0.35 * d) for d in range(15))] + [0.0] * 4_990

# rows: person place time number yes_no choice thing; columns: name single number year date lowercase quoted
FIT = (
    (1.9, 0.8, -0.8, -0.5, -0.4, -0.9, -0.3),
    (0.3, 1.6, -0.5, -0.6, -0.5, -0.7, -0.1),
    (-1.2, -1.1, 0.2, 1.8, 1.9, -1.3, -0.5),
    (-0.8, -0.7, 2.2, -0.3, -0.2, -0.5, -0.3),
    (-0.2, -0.2, -0.3, -0.3, -0.3, 0.2, 0.0),
    (0.5, 0.0, -0.5, -0.5, -0.5, -0.7, 0.1),
    (0.7, 0.1, 0.0, -1.0, -0.7, -0.5, 1.0),
)


class Found(NamedTuple):
    """The best mention of one span, with what the features need."""

    salience: float
    rank: int
    mention: Mention
    sentence: int
    left: int
    right: int
    entity_left: int
    entity_right: int
    inside: float
    cover: tuple[float, float]


@dataclass(slots=True)
class Survey:
    """All answer candidates of one view: `values` in reading order, `found` beside them (yes and no have none)."""

    reading: Reading
    passages: list[Passage]
    values: list[str]
    found: list[Found]
    counts: list[int]
    ranks: list[int]
    document_cover: list[float]
    title_cover: list[float]
    items: dict[str, float]


def survey(view: View) -> Survey:
    """Read the documents and the query, find every span, and keep the MAX_SPANS most salient in reading order."""
    reading = read(view.query)
    best: dict[str, Found] = {}
    counts: dict[str, int] = {}
    ranks: dict[str, int] = {}
    passages: list[Passage] = []
    covers: list[float] = []
    titles: list[float] = []
    scan_query(reading, best, counts, ranks)
    for rank, document in enumerate(view.documents[:MAX_DOCUMENTS]):
        text = passage(document)
        passages.append(text)
        scan(text, rank, reading, best, counts, ranks, covers, titles)
    keys = list(best)
    if len(keys) > MAX_SPANS:
        worst = sorted(keys, key=lambda key: best[key].salience)[: len(keys) - MAX_SPANS]
        for key in worst:
            del best[key]
        keys = list(best)
    values = [best[key].mention.text for key in keys]
    found = list(best.values())
    return Survey(reading, passages, [*values, "yes", "no"], found, [counts[k] for k in keys], [ranks[k] for k in keys],
                  covers, titles, compare(reading, passages) if reading.wanted == CHOICE else {})


def scan(text, rank, reading, best, counts, ranks, covers, titles):
    relation, entity = reading.relation, reading.entity
    stems = text.stems
    stops = text.stops
    rel = [i for i, s in enumerate(stems) if s in relation]
    ent = [i for i, s in enumerate(stems) if s in entity]
    per_relation = 1.0 / (len(relation) or 1)
    per_entity = 1.0 / (len(entity) or 1)
    rel_count = len(rel)
    ent_count = len(ent)
    head = text.head
    title = set(stems[:head])
    title_cover = len(title & entity) * per_entity
    inside_title = bisect_left(rel, head) + bisect_left(ent, head)
    titles.append(min(1.0, inside_title / (head or 1)))
    document_cover = len(entity.intersection(stems)) * per_entity
    covers.append(document_cover)
    fits = FIT[reading.wanted]
    base = 0.7 * document_cover - 0.5 * rank
    sentence = -1
    cover = (0.0, 0.0)
    begin = end_of = 0
    for mention in text.mentions:
        start, end, _, key, code = mention
        if start >= end_of or sentence < 0:
            sentence = bisect_left(stops, start)
            begin = stops[sentence - 1] + 1 if sentence else 0
            end_of = stops[sentence] if sentence < len(stops) else len(stems)
            part = set(stems[begin:end_of])
            cover = (len(part & relation) * per_relation, len((part | title) & entity) * per_entity)
        i = bisect_left(rel, start)
        j = bisect_left(rel, end, i)
        left = start - rel[i - 1] if i and rel[i - 1] >= begin else FAR
        right = rel[j] - end + 1 if j < rel_count and rel[j] < end_of else FAR
        k = bisect_left(ent, start)
        m = bisect_left(ent, end, k)
        entity_left = start - ent[k - 1] if k and ent[k - 1] >= begin else FAR
        entity_right = ent[m] - end + 1 if m < ent_count and ent[m] < end_of else FAR
        inside = (j - i + m - k) / (end - start)
        salience = (
            base + fits[code] + 3.0 * cover[0] + 0.5 * cover[1] + 1.5 * NEAR[left] + 0.9 * NEAR[right]
            + 1.0 * NEAR[entity_left] + 1.0 * NEAR[entity_right] - 1.0 * inside + 0.13 * (end - start) - 0.012 * start
        )
        old = best.get(key)
        if old is None:
            counts[key] = 1
            ranks[key] = 1 << rank
        else:
            counts[key] += 1
            ranks[key] |= 1 << rank
            if old.salience >= salience:
                continue
        best[key] = Found(salience, rank, mention, sentence, left, right, entity_left, entity_right, inside, cover)


def scan_query(reading, best, counts, ranks):
    seen, twice = set(), set()
    for s in reading.stems:
        (twice if s in seen else seen).add(s)
    twice.discard("")
    hits = [i for i, s in enumerate(reading.stems) if s in twice] if twice else []
    count = len(hits)
    fits = FIT[reading.wanted]
    choice = reading.wanted == CHOICE
    mentions = [Mention(a, b, reading.phrase(a, b).strip('"'), reading.phrase(a, b).strip('"').lower(), NAME) for a, b in reading.items]
    item_count = len(mentions)
    mentions += find(reading.kinds, reading.tokens, 0)
    for order, mention in enumerate(mentions):
        start, end, _, key, code = mention
        if key in best or not key:
            continue
        i = bisect_left(hits, start)
        j = bisect_left(hits, end, i)
        left = start - hits[i - 1] if i else FAR
        right = hits[j] - end + 1 if j < count else FAR
        salience = fits[code] + 1.0 + 1.5*NEAR[left] + NEAR[right]
        if choice and order < item_count:
            salience += 10.0
        counts[key] = 0
        ranks[key] = 0
        best[key] = Found(salience, -1, mention, 0, left, right, FAR, FAR, 1.0, (0.0, 0.0))


def compare(reading, passages):
    """For a choice between items: the number each item's passage gives, most relevant first; see `items`."""
    out = {}
    values = []
    for a, b in reading.items:
        text = reading.phrase(a, b).strip('"')
        want = {s for s in reading.stems[a:b] if s}
        bestv, bests = None, -1.0
        for p in passages:
            share = len(want.intersection(p.stems[:p.head])) / (len(want) or 1) / (1+ .1*abs(p.head - (b-a)))
            share += .2*len(want.intersection(p.stems))/(len(want) or 1)
            if share <= .3: continue
            rel = [i for i, s in enumerate(p.stems) if s in reading.relation]
            for m in p.mentions:
                if m.kind in (YEAR, DATE, NUMBER):
                    v = numeric(m.text)
                    if v is None: continue
                    k = bisect_left(rel, m.start)
                    d = min([abs(m.start - r) for r in rel[max(0, k-1):k+1]] or [20])
                    sc = share * 2 - min(d, 20) * .03 - m.start * .002 + (.3 if m.kind != NUMBER else 0)
                    if sc > bests: bests, bestv = sc, v
        values.append((text.lower(), bestv))
    known = [v for _, v in values if v is not None]
    if len(known) < 2 or max(known) == min(known):
        return {k: 0.0 for k, _ in values}
    for k, v in values:
        if v is None: out[k] = 0.0
        else: out[k] = 1.0 if v == (max(known) if reading.polarity >= 0 else min(known)) else -1.0
    return out


def rows(s: Survey, view: View):
    reading = s.reading
    entity, relation = reading.entity, reading.relation
    fits = FIT[reading.wanted]
    top = max((f.salience for f in s.found), default=0.0)
    order = sorted(range(len(s.found)), key=lambda i: -s.found[i].salience)
    place = {i: r for r, i in enumerate(order)}
    head = reading.head
    title_keys = {p.title.lower() for p in s.passages}
    out = []
    n = len(s.values)
    topcov = max((f.cover[0]+f.cover[1] for f in s.found), default=1.0) or 1.0
    docs_ = view.documents[:len(s.passages)]
    linked = [sum(len(p.title)>2 and p.title in o.text for o in docs_ if o is not d)/2 for p, d in zip(s.passages, docs_)]
    links = [sum(len(q.title)>2 and q.title in d.text for q in s.passages if q is not p)/2 for p, d in zip(s.passages, docs_)]
    relcov = [len(relation.intersection(p.stems))/(len(relation) or 1) for p in s.passages]
    defs = {}
    for p in s.passages:
        a = p.head+1
        nx = next((x for x in p.stops if x > a+5), a+30)
        defs[p.title.lower()] = set(p.stems[a:nx])
    hits = [[i for i, t in enumerate(p.stems) if t in relation or t in entity] for p in s.passages]
    shared = 0
    for index, f in enumerate(s.found):
        salience, rank, mention, sentence, left, right, el, er, inside, cover = f
        start, end, text, key, code = mention
        if rank >= 0:
            p = s.passages[rank]; stems, kinds, tokens, phead = p.stems, p.kinds, p.tokens, p.head
        else:
            stems, kinds, tokens, phead = reading.stems, reading.kinds, reading.tokens, 0
        before = tokens[start-1].strip().lower() if start else ""
        if before in ("the","a","an"): before2 = tokens[start-2].strip().lower() if start>1 else ""
        else: before2 = before
        after = kinds[end] if end < len(kinds) else ""
        docs = s.ranks[index].bit_count()
        if docs > 1 and inside == 0: shared = max(shared, docs)
        row = [1.0, index/36, min(1.0,(end-start)/8), inside if inside<1 else 1.0, 0.0, 0.0, fits[code]/2.2, max(-1.0,(salience-top)/6),
          1.0 if place[index]==0 else 0.0, 1 - place[index]/16 if place[index]<32 else -1.0,
          float(code==NAME), float(code==SINGLE), float(code==NUMBER), float(code==YEAR), float(code==DATE), float(code==LOWERCASE), float(code==QUOTED),
          float(rank<0), float(rank>=0 and start<phead), float(key in title_keys),
          1-rank/5 if rank>=0 else 0.0, min(1.0,docs/4), min(1.0, s.counts[index]/6), min(1.0,start/80), float(sentence==1),
          min(1.0,cover[0]), min(1.0,cover[1]), NEAR[left],NEAR[right],NEAR[el],NEAR[er],
          s.document_cover[rank] if rank>=0 else 0.0, s.title_cover[rank] if rank>=0 else 0.0,
          float(before2 in ("in","at","near")), float(before2 in("by",)), float(before2 in("of",)), float(before2 in("from","to")), float(before2 in ("as","is","was")),
          float(after=="("), float(after==","), float(after in 'lf' and after!=''), 
          float(bool(head) and head in stems[start:end]), float(bool(head) and head in stems[max(0,start-3):start]), float(bool(head) and head in stems[end:end+3]),
          s.items.get(key, 0.0) , float(key in s.items)]
        d_ = defs.get(key)
        if rank>=0:
            h=hits[rank]
            win = (bisect_left(h, end+7)-bisect_left(h, start-6))/6
            winl = (bisect_left(h, start)-bisect_left(h, start-4))/3
        else: win=winl=0.0
        row += [(cover[0]+cover[1])/topcov, min(1.0,linked[rank]) if rank>=0 else 0.0, min(1.0,links[rank]) if rank>=0 else 0.0, min(1.0,relcov[rank]) if rank>=0 else 0.0,
           (1.0 if d_ and head and head in d_ else -1.0 if d_ and head else 0.0), (len(d_ & relation)/(len(relation) or 1) if d_ else 0.0), min(1.0,win), min(1.0,winl), float(cover[0]+cover[1]>=topcov-1e-6)]
        out.append(row)
    F = len(out[0]) if out else 55
    for v in (1.0,-1.0):
        r = [0.0]*F
        r[0]=1.0; r[1]=(n-1)/36; r[4 if v>0 else 5]=1.0; r[6]=1.0 if reading.wanted==YES_NO else -1.0; r[21]=min(1.0,shared/4)*v
        out.append(r)
    return out
