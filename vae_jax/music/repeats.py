"""The order in which measures are played: repeat signs, endings, D.C. and D.S., by music21's rules.

music21 expands copies of whole parts. Here it expands measures that hold the signs alone, which takes no time.
"""

from __future__ import annotations

from collections.abc import Sequence

from music21 import bar, repeat, spanner
from music21.stream import Measure, Part, Stream

_MAX_TIMES = 16  # A passage that is repeated more often is a mistake.
_MAX_NESTED = 4  # Each level doubles the piece.


def playing_order(parts: Sequence[Stream], measures: Sequence[Sequence[Measure]]) -> list[int] | None:
    """Returns the indices of the measures of a piece as they are played.

    Args:
      parts: a sign may stand in any of them.
      measures: those of every part, of all parts one number, M.

    Returns:
      Indices below M; None where the signs contradict each other.
    """
    columns = list(zip(*measures, strict=True))
    signs = [Measure() for _ in columns]
    starts, ends = _repeat_bars(columns)
    jumps = next((column for column in measures if any(_jumps(measure) for measure in column)), ())
    if not (starts or ends or jumps):
        return list(range(len(columns)))
    brackets = (list(part.recurse().getElementsByClass(spanner.RepeatBracket)) for part in parts)
    endings = next((found for found in brackets if found), [])
    places = {id(measure): n for part in measures for n, measure in enumerate(part)}
    covered = [
        sorted(places[id(one)] for one in ending.getSpannedElements() if id(one) in places) for ending in endings
    ]
    if not _add_bars(signs, starts, ends, {n for one in covered if one for n in range(one[0], one[-1] + 1)}):
        return None
    for n, measure in enumerate(jumps):
        for sign in _jumps(measure):
            signs[n].insert(measure.elementOffset(sign), type(sign)())
    part = Part()
    for n, measure in enumerate(signs):
        measure.number = n + 1
        measure.groups.append(str(n))  # Copies keep it.
        part.insert(n, measure)
    for ending, one in zip(endings, covered, strict=True):
        if one:
            part.insert(0, spanner.RepeatBracket([signs[n] for n in one], number=ending.number))
    try:
        played = repeat.Expander(part).process().getElementsByClass(Measure)
    except (repeat.ExpanderException, IndexError):
        return None
    return [int(measure.groups[0]) for measure in played]


def has_signs(measure: Measure) -> bool:
    """Whether a measure bears a sign that changes the order."""
    lines = (measure.leftBarline, measure.rightBarline)
    return any(isinstance(line, bar.Repeat) for line in lines) or bool(_jumps(measure))


def _jumps(measure: Measure) -> list[repeat.RepeatExpression]:
    return list(measure.getElementsByClass(repeat.RepeatExpression))


def _repeat_bars(columns: Sequence[Sequence[Measure]]) -> tuple[set[int], dict[int, int]]:
    """Returns the measures before which a repeated passage starts, and those after which one ends, with how often it is
    played."""
    starts: set[int] = set()
    ends: dict[int, int] = {}
    for n, column in enumerate(columns):
        for measure in column:
            for line, first, last in ((measure.leftBarline, n, n - 1), (measure.rightBarline, n + 1, n)):
                if isinstance(line, bar.Repeat) and line.direction == "start":
                    starts.add(first)
                elif isinstance(line, bar.Repeat):
                    ends[last] = min(line.times or 2, _MAX_TIMES)
    return starts, ends


def _add_bars(signs: Sequence[Measure], starts: set[int], ends: dict[int, int], in_endings: set[int]) -> bool:
    """Adds balanced repeat bars to measures; a passage without a start begins after the one before. Returns whether
    they are nested at most so deep as music is."""
    open_starts: list[int] = []
    begin, is_after_end = 0, False  # Where a passage without a start begins: after the last one and its endings.
    for n, measure in enumerate(signs):
        if n in starts:
            open_starts.append(n)
            if len(open_starts) > _MAX_NESTED:
                return False
        is_after_end = n in ends or (is_after_end and n in in_endings)
        if n in ends:
            start = open_starts.pop() if open_starts else begin
            signs[start].leftBarline = bar.Repeat(direction="start")
            measure.rightBarline = bar.Repeat(direction="end", times=ends[n])
        if is_after_end:
            begin = n + 1
    return True
