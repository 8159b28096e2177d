"""Requests for new pieces: sampled from what the training pieces are like, or made from a piece to continue or vary."""

import dataclasses
import re

import numpy as np

from vae_jax.composer import conditions as conditions_lib
from vae_jax.composer import drums as drums_lib
from vae_jax.composer import notes as notes_lib
from vae_jax.composer.conditions import PieceConditions
from vae_jax.composer.form import PHRASE_BARS, Form
from vae_jax.composer.harmony import NUM_CHORDS, UNKNOWN
from vae_jax.composer.notes import MELODY_SHARES, NUM_POSITIONS, STEPS_PER_BEAT, NotePiece
from vae_jax.composer.stage import TrainedComposer, encode_phrases
from vae_jax.data.corpus import Piece
from vae_jax.music import key as key_lib
from vae_jax.music import quantization
from vae_jax.music.key import Tonic
from vae_jax.runtime.errors import UserError
from vae_jax.runtime.text import quantity

Bars = tuple[tuple[Tonic, ...], ...]  # The chords of bars, each of equal length within its bar.

MAX_BARS = 1000
_SAMPLED_BARS, _TEMPOS = (8, 64), (40.0, 200.0)  # Limits.


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
    """A piece to generate."""

    conditions: PieceConditions
    bars: np.ndarray  # int64, steps at which bars start, a pick-up first where there is one, and the end.
    form: Form
    opening: NotePiece | None = None  # Music that it begins with, at the same steps, and its length in steps.
    opening_steps: int = 0
    source: NotePiece | None = None  # Music that its phrases repeat, at the same steps, instead of the form's.
    latents: np.ndarray | None = None  # float32 [U, L], of its phrases; drawn from the prior where none are given.
    mode: float | None = None  # How minor it is to be, if not as its conditions say: 0 major, 1 minor.
    drums: np.ndarray | None = None  # bool [T, D], those of the opening or the source.
    melody: NotePiece | None = None  # The top voice.
    harmony: np.ndarray | None = None  # int64 [num_beats], chord classes.
    number: int | None = None  # Which what is drawn for the piece depends on; that in its batch if None.

    @property
    def num_steps(self) -> int:
        """Length of the piece."""
        return int(self.bars[-1])

    @property
    def last(self) -> int:
        """Step of the last chord: as far from the end as in the piece that the conditions are of, after the opening."""
        if self.melody is not None:
            return self.melody.last
        return min(max(self.num_steps - self.conditions.final, self.opening_steps, 0), self.num_steps - 1)

    def piece(self) -> NotePiece:
        """Returns the piece without notes."""
        none = np.zeros(0, np.int64)
        bar = self.form.phrase // PHRASE_BARS
        unknown = np.full(-(-self.num_steps // STEPS_PER_BEAT), UNKNOWN)
        harmony = unknown if self.harmony is None else self.harmony
        return NotePiece(none, none, none, none, self.bars, bar, self.conditions.minor, self.form, harmony)


def parse_meter(text: str) -> tuple[int, int]:
    """Reads a meter such as 3/4. Raises UserError for anything else, or a meter whose bar does not fit the grid."""
    written = re.fullmatch("([0-9]{1,3})/(1|2|4|8|16)", text)
    if written is None:
        raise UserError(f"--meter must be written as 4/4 or 6/8, got {text!r}")
    meter = int(written[1]), int(written[2])
    if not bar_steps(meter):
        longest = (NUM_POSITIONS - 1) // STEPS_PER_BEAT
        raise UserError(f"--meter={text}: a bar must lie on the grid and last {longest} quarter notes at most")
    return meter


def bar_steps(meter: tuple[int, int]) -> int:
    """Returns the steps of a bar; 0 where it does not lie on the grid or is too long."""
    steps, rest = divmod(4 * STEPS_PER_BEAT * meter[0], meter[1])
    return steps if not rest and steps < NUM_POSITIONS else 0


def sample_request(
    composer: TrainedComposer,
    rng: np.random.Generator,
    *,
    num_bars: int | None = None,
    meter: tuple[int, int] | None = None,
    key: Tonic | None = None,
    tempo: float | None = None,
) -> Request:
    """Samples the conditions of a piece of those known, and a form.

    Length (within limits), meter, key and tempo are those of the piece unless given; with a key given, it is a piece in
    its mode, and with a meter given one in this meter, where there is one.
    """
    conditions = _sample_conditions(composer, rng, None if key is None else key.minor, meter)
    if key is not None:
        conditions = dataclasses.replace(conditions, minor=key.minor, pitch_class=key.pitch_class)
    meter = meter or (conditions.meter if bar_steps(conditions.meter) else (4, 4))
    pickup = conditions.pickup if meter == conditions.meter and conditions.pickup < bar_steps(meter) else 0
    conditions = dataclasses.replace(
        conditions,
        beats_per_minute=tempo or float(np.clip(conditions.beats_per_minute, *_TEMPOS)),
        meter=meter,
        pickup=pickup,
        final=conditions.final if meter == conditions.meter else bar_steps(meter),
        num_bars=num_bars or int(np.clip(conditions.num_bars, *_SAMPLED_BARS)),
    )
    return _with_harmony(composer, _with_sampled_form(composer, conditions, rng), rng)


def _sample_conditions(
    composer: TrainedComposer, rng: np.random.Generator, minor: bool | None, meter: tuple[int, int] | None
) -> PieceConditions:
    """Samples those of a piece in this mode and meter, as far as there is one."""
    known = list(composer.conditions)
    if minor is not None:
        known = [one for one in known if one.minor == minor] or known
    if meter is not None:
        known = [one for one in known if one.meter == meter] or known
    return known[rng.integers(len(known))]


def arrangement_request(composer: TrainedComposer, piece: Piece, rng: np.random.Generator) -> Request:
    """Requests a piece of the bars, key, tempo and form of another for an ensemble that is known, in its style."""
    return _arrange(composer, *_read(composer, piece), rng)


def harmonisation_request(composer: TrainedComposer, piece: Piece, rng: np.random.Generator) -> Request:
    """Requests a piece with the top voice of another, as `arrangement_request`, but for what the style says of it."""
    source, own = _read(composer, piece)
    melody = notes_lib.top_voice(source)
    request = _arrange(composer, source, own, rng)
    style = np.array(request.conditions.style)
    style[MELODY_SHARES] = own.style[MELODY_SHARES]
    conditions = dataclasses.replace(request.conditions, style=tuple(style.tolist()))
    request = dataclasses.replace(request, conditions=conditions, form=melody.form, melody=melody)
    likelihood = composer.harmonies.melody_likelihood(notes_lib.sounding_melody(source))
    return _with_harmony(composer, request, rng, likelihood)


def _arrange(composer: TrainedComposer, source: NotePiece, own: PieceConditions, rng: np.random.Generator) -> Request:
    style = _sample_conditions(composer, rng, own.minor, own.meter)
    taken = ("meter", "num_bars", "pickup", "pitch_class", "minor", "beats_per_minute", "final", "slowing")
    conditions = dataclasses.replace(style, **{name: getattr(own, name) for name in taken})
    return Request(conditions, source.bars, source.form)


def infill_request(
    composer: TrainedComposer, piece: Piece, first_bar: int, last_bar: int
) -> tuple[NotePiece, Request, int]:
    """Requests a piece that begins as another one before a full bar, counted from one, and has its form.

    Returns the other piece, the request, and the end of the last bar in steps. Raises UserError where there are no such
    bars.
    """
    source, conditions = _read(composer, piece)
    bars = source.bars[source.bars >= quantization.first_downbeat(source.bars)]
    if not 1 <= first_bar <= last_bar < len(bars):
        raise UserError(f"{piece.path} has {quantity(len(bars) - 1, 'full bar')}; --bars={first_bar}-{last_bar}")
    start, end = int(bars[first_bar - 1]), int(bars[last_bar])
    return source, Request(conditions, source.bars, source.form, source, start, harmony=source.harmony), end


def _with_sampled_form(composer: TrainedComposer, conditions: PieceConditions, rng: np.random.Generator) -> Request:
    bar, pickup = bar_steps(conditions.meter), conditions.pickup
    bars = pickup + np.arange(conditions.num_bars + 1) * bar
    if pickup:
        bars = np.concatenate([[0], bars])
    back, similarity = composer.forms.sample(-(-conditions.num_bars // PHRASE_BARS), rng)
    return Request(conditions, bars, Form(pickup, PHRASE_BARS * bar, back, similarity))


def _with_harmony(
    composer: TrainedComposer, request: Request, rng: np.random.Generator, likelihood: np.ndarray | None = None
) -> Request:
    """Samples the chords of a request, given the likelihood of something under each, as in `HarmonyModel.sample`."""
    beats = notes_lib.beats_of(request.piece(), request.last)
    harmony = composer.harmonies.sample(beats, rng, likelihood, composer.stage.config.ending_temperature)
    return dataclasses.replace(request, harmony=harmony)


def in_mode(composer: TrainedComposer, request: Request, minor: bool) -> Request:
    """Returns a request in a mode; chords of the other mode are drawn anew, with those before as the seed."""
    moved = dataclasses.replace(request, conditions=dataclasses.replace(request.conditions, minor=minor))
    if minor == request.conditions.minor or request.harmony is None:
        return moved
    melody = None if request.melody is None else notes_lib.sounding_melody(request.melody)
    likelihood = None if melody is None else composer.harmonies.melody_likelihood(melody)
    return _with_harmony(composer, moved, np.random.default_rng(request.harmony), likelihood)


def with_chords(request: Request, chords: Bars) -> Request:
    """Returns a request for a piece with given chords; its full bars take one after the other, again and again."""
    own = request.conditions
    first, beats = int(quantization.first_downbeat(request.bars)), np.arange(-(-request.num_steps // STEPS_PER_BEAT))
    bars = request.bars[request.bars >= first]
    bar = np.searchsorted(bars, beats * STEPS_PER_BEAT, side="right") - 1
    harmony = np.full(len(beats), UNKNOWN)
    for beat in np.flatnonzero((bar >= 0) & (bar < len(bars) - 1)):
        mine, (start, end) = chords[bar[beat] % len(chords)], bars[bar[beat] : bar[beat] + 2]
        chord = mine[(beat * STEPS_PER_BEAT - start) * len(mine) // (end - start)]
        harmony[beat] = 2 * ((chord.pitch_class - own.pitch_class) % 12) + chord.minor
    return dataclasses.replace(request, harmony=harmony)


def parse_chords(text: str) -> Bars:
    """Reads the chords of bars such as "C Am F,G C", of which the third has two. Raises UserError for anything else."""
    try:
        bars = tuple(tuple(key_lib.parse_key(name) for name in bar.split(",")) for bar in text.split())
    except ValueError as error:
        raise UserError(f'--chords: {error}; write them as "C Am F,G C", bars apart by spaces') from error
    if not bars:
        raise UserError("--chords is empty")
    return bars


def _require(harmony: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The likelihood of chords [>= B], where a mask [B] says so, and any others, float64 [B, NUM_CHORDS]."""
    found = np.ones((len(mask), NUM_CHORDS))
    found[mask] = np.eye(NUM_CHORDS)[harmony[: len(mask)][mask[: len(harmony)]]]
    return found


def in_style(composer: TrainedComposer, piece: Piece) -> TrainedComposer:
    """Returns a composer that knows one piece: requests take its style, instruments, drums and dynamics."""
    return dataclasses.replace(composer, conditions=[_read(composer, piece)[1]])


def continuation_request(
    composer: TrainedComposer, piece: Piece, prompt_bars: int, num_bars: int, rng: np.random.Generator
) -> Request:
    """Requests a piece that begins with the first full bars of another, and its pick-up.

    Raises UserError where the other has too few bars, or changes meter in them.
    """
    opening, conditions = _read(composer, piece)
    bars = opening.bars[opening.bars >= quantization.first_downbeat(opening.bars)]
    if prompt_bars >= len(bars):
        raise UserError(f"{piece.path} has only {quantity(len(bars) - 1, 'full bar')}; --prompt_bars={prompt_bars}")
    if prompt_bars >= num_bars:
        raise UserError(f"--bars={num_bars} leaves nothing to compose after --prompt_bars={prompt_bars}")
    if int(bars[prompt_bars] - bars[0]) != prompt_bars * bar_steps(conditions.meter):
        raise UserError(f"{piece.path} changes meter in its first {prompt_bars} bars; give fewer --prompt_bars")
    end = round(int(bars[prompt_bars]) * piece.score.ticks_per_beat / STEPS_PER_BEAT)
    tempo = round(piece.score.mean_tempo(0, end), 1)
    conditions = dataclasses.replace(conditions, beats_per_minute=tempo, pickup=int(bars[0]), num_bars=num_bars)
    request = dataclasses.replace(
        _with_sampled_form(composer, conditions, rng),
        opening=opening,
        opening_steps=int(bars[prompt_bars]),
        drums=drums_lib.read_drums(piece.score, opening, composer.drums),
    )
    is_given = np.arange(len(request.piece().harmony)) < request.opening_steps // STEPS_PER_BEAT
    return _with_harmony(composer, request, rng, _require(opening.harmony, is_given))


def variation_request(composer: TrainedComposer, piece: Piece, amount: float, rng: np.random.Generator) -> Request:
    """Requests a variation: every phrase repeats the original's, the less closely the larger the amount (0 to 1).

    The latents of the phrases move along the great circle from the original's to others drawn from the prior.
    """
    source, conditions = _read(composer, piece)
    if conditions.num_bars > MAX_BARS:
        raise UserError(f"{piece.path} has {conditions.num_bars:,} bars; a piece of {MAX_BARS:,} at most can be varied")
    latents = encode_phrases(composer, source)
    noise = rng.standard_normal(latents.shape)
    latents = np.cos(amount * np.pi / 2) * latents + np.sin(amount * np.pi / 2) * noise
    return _repeat(composer, piece, source, conditions, 1 - amount, latents, rng)


def interpolation_request(composer: TrainedComposer, start: Piece, end: Piece, share: float) -> Request:
    """Requests a piece between two others; `share` is 0 for the first and 1 for the second.

    It has the meter, length and instruments of the nearer one and repeats it the less closely the farther it is; style,
    tempo and latents of its phrases lie in between.
    """
    pieces = [_read(composer, piece) for piece in (start, end)]
    near = int(share > 0.5)
    source, conditions = pieces[near]
    latents = [encode_phrases(composer, one) for one, _ in pieces]
    # Phrases of the other piece at the same share of its length.
    rows = np.linspace(0, len(latents[1 - near]) - 1, len(latents[near])).round().astype(int)
    other = share if near == 0 else 1 - share
    mixed = (1 - other) * latents[near] + other * latents[1 - near][rows]
    style = (1 - other) * np.array(conditions.style) + other * np.array(pieces[1 - near][1].style)
    tempos = np.log([one.beats_per_minute for _, one in pieces])
    tempo = float(np.exp((1 - share) * tempos[0] + share * tempos[1]))
    conditions = dataclasses.replace(conditions, style=tuple(style.tolist()), beats_per_minute=tempo)
    rng = np.random.default_rng(0)
    return _repeat(composer, (start, end)[near], source, conditions, 1 - 2 * other, mixed, rng)


def _repeat(
    composer: TrainedComposer,
    piece: Piece,
    source: NotePiece,
    conditions: PieceConditions,
    similarity: float,
    latents: np.ndarray,
    rng: np.random.Generator,
) -> Request:
    form = Form(
        source.form.start,
        source.form.phrase,
        np.zeros_like(source.form.back),
        np.full(len(source.form.back), similarity),
    )
    request = Request(conditions, source.bars, form, latents=latents.astype(np.float32))
    is_copied = rng.random(len(source.harmony)) < composer.harmonies.copy_rate(similarity)
    request = _with_harmony(composer, request, rng, _require(source.harmony, is_copied))
    if similarity <= 0:
        return request
    return dataclasses.replace(request, source=source, drums=drums_lib.read_drums(piece.score, source, composer.drums))


def _read(composer: TrainedComposer, piece: Piece) -> tuple[NotePiece, PieceConditions]:
    """Returns a piece and its conditions. Raises UserError where it has no pitched notes, or bars are too long."""
    found = notes_lib.read_piece(piece.score)
    if not len(found.step):
        raise UserError(f"{piece.path} holds no pitched notes")
    conditions = conditions_lib.read_conditions(piece.score, found, composer.drums)
    if not bar_steps(conditions.meter):
        raise UserError(
            f"{piece.path}: bars of {conditions.meter[0]}/{conditions.meter[1]} are too long or not on the grid"
        )
    return found, conditions
