"use strict";
// The pieces of the corpus: each original above its reconstruction, ordered and filtered.

const FIRST_SHOWN = 13;
const MORE_SHOWN = 20;
const SCORE_WORDS = [
  ["note_f1_50ms", "note F1"],
  ["note_f1_instrument", "with instruments"],
  ["ceiling_note_f1_50ms", "ceiling"],
];

/** Makes the card of a piece. */
function pieceCard(piece) {
  const scores = make("dl", { class: "scores" });
  for (const [name, words] of SCORE_WORDS) {
    if (name in piece.scores)
      scores.append(make("div", {}, make("dt", {}, words), make("dd", {}, piece.scores[name].toFixed(3))));
  }
  const facts = [
    piece.held_out ? "held out" : "training",
    piece.meter,
    piece.key,
    piece.notes && quantity(piece.notes, "note"),
  ];
  const head = make(
    "div",
    { class: "card-head" },
    make("h3", {}, piece.name),
    make("span", { class: "quiet" }, facts.filter(Boolean).join(" · ")),
    scores,
  );
  const card = make("article", { class: "card" }, head);
  const blocks = [];
  if (piece.original) {
    const axis = axisOf([piece.original, piece.reconstruction]);
    const place = { sec: 0 };
    for (const which of ["original", "reconstruction"]) {
      const block = musicBlock({
        title: `${piece.name}, ${which}`,
        label: which,
        music: piece[which],
        axis,
        place,
        onplace: () => blocks.forEach((other) => other.roll.refresh()),
      });
      blocks.push(block);
      card.append(block.element);
    }
    card.append(trackLine(piece.tracks));
  } else {
    card.append(
      make(
        "p",
        { class: "missing" },
        "The music is not on this page: it is not in the run's folder, or the page would become too large.",
      ),
    );
  }
  return { element: card, blocks };
}

function startPieces() {
  const host = document.getElementById("pieces");
  if (!host) return;
  const order = document.getElementById("order");
  const find = document.getElementById("find");
  const more = document.getElementById("more");
  const found = document.getElementById("found");
  const heldOut = DATA.pieces.filter((piece) => piece.held_out);
  const choices = [
    ["held out", heldOut],
    ["training", DATA.pieces.filter((piece) => !piece.held_out)],
    ["all", DATA.pieces],
  ];
  let which = heldOut.length ? 0 : 2;
  let cards = [];
  let rows = [];

  function show(count) {
    for (const piece of rows.slice(cards.length, count)) {
      const card = pieceCard(piece);
      cards.push(card);
      host.append(card.element);
    }
    more.hidden = cards.length >= rows.length;
    found.textContent = `${cards.length} of ${quantity(rows.length, choices[which][0] === "all" ? "piece" : `${choices[which][0]} piece`)} shown`;
  }

  function refill() {
    cards.forEach((card) => card.blocks.forEach((block) => block.roll.remove()));
    cards = [];
    host.replaceChildren();
    const wanted = find.value.trim().toLowerCase();
    const score = (piece) => piece.scores.note_f1_50ms ?? 0;
    const compare = {
      worst: (a, b) => score(a) - score(b),
      best: (a, b) => score(b) - score(a),
      name: (a, b) => a.name.localeCompare(b.name),
    }[order.value];
    rows = choices[which][1].filter((piece) => piece.name.toLowerCase().includes(wanted));
    rows = rows.slice().sort((a, b) => b.held_out - a.held_out || compare(a, b));
    show(FIRST_SHOWN);
  }

  choices.forEach(([name, pieces], n) => {
    const radio = make("input", { type: "radio", name: "which", value: n });
    radio.checked = n === which;
    radio.disabled = !pieces.length;
    radio.addEventListener("change", () => {
      which = n;
      refill();
    });
    document.getElementById("which").append(make("label", {}, radio, ` ${name} (${pieces.length})`));
  });
  order.addEventListener("change", refill);
  find.addEventListener("input", refill);
  more.addEventListener("click", () => show(cards.length + MORE_SHOWN));
  refill();
}
