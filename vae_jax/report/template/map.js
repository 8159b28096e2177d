"use strict";
// The map of latents: a mark per piece, a square per grid point between them; a click or Enter plays it.

const MAP_HEIGHT = 520;
const NARROW_HEIGHT = 400; // On a phone the chosen music stays in view below.
const NARROW_WIDTH = 600;
const MAP_MARGIN = 34;
const HIT_PIXELS = 14;
const LINE_SAMPLES = 40;
// A category has a colour and a shape, for readers who cannot distinguish the colours.
const SHAPES = [
  "M-5 0A5 5 0 1 0 5 0A5 5 0 1 0 -5 0Z",
  "M-4.5 -4.5H4.5V4.5H-4.5Z",
  "M0 -6L5.5 4.5H-5.5Z",
  "M0 -6.5L5.5 0L0 6.5L-5.5 0Z",
  "M-5.5 -4.5H5.5L0 6Z",
  "M-1.8 -5.5H1.8V-1.8H5.5V1.8H1.8V5.5H-1.8V1.8H-5.5V-1.8H-1.8Z",
  "M-6 0L-3 -5.2H3L6 0L3 5.2H-3Z",
  "M-5.5 -3.2L-3.2 -5.5L0 -2.3L3.2 -5.5L5.5 -3.2L2.3 0L5.5 3.2L3.2 5.5L0 2.3L-3.2 5.5L-5.5 3.2L-2.3 0Z",
];
const SQUARE = "M-2.5 -2.5H2.5V2.5H-2.5Z";
const COLOURINGS = {
  cluster: (piece) => `cluster ${piece.cluster + 1}`,
  mode: (piece) => (piece.key ? piece.key.split(" ").pop() : "not stated"),
  meter: (piece) => piece.meter ?? "not stated",
};

class LatentMap {
  #spots = [];
  #chosen = null;
  #block = null;
  #shown = [];
  #lineState = null;

  constructor(host, chosen) {
    this.host = host;
    this.panel = chosen;
    this.colouring = "cluster";
    this.svg = make("svg", { role: "group", "aria-label": "Map of pieces" });
    host.append(this.svg);
    (DATA.grid?.cells ?? []).forEach((cell, n) =>
      this.#add("cell", cell.point, `between ${this.#near(cell)}`, { cell, n }),
    );
    DATA.pieces.forEach((piece, n) => this.#add("piece", piece.point, piece.name, { piece, n }));
    this.svg.addEventListener("click", (event) => this.#click(event));
    this.svg.addEventListener("pointermove", (event) => this.#hover(event));
    this.svg.addEventListener("pointerleave", hideTip);
    for (const kind of ["cell", "piece"])
      this.#spots.find((spot) => spot.kind === kind)?.mark.setAttribute("tabindex", 0);
    onResize(host, () => this.layout());
    this.recolour("cluster");
  }

  /** Colours the pieces by cluster, mode or meter, and updates the legend. */
  recolour(colouring) {
    this.colouring = colouring;
    const category = COLOURINGS[colouring];
    const counts = new Map();
    for (const piece of DATA.pieces) counts.set(category(piece), (counts.get(category(piece)) ?? 0) + 1);
    const byCount = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a) || a.localeCompare(b));
    // There are as many colours as shapes; the rarest categories share the last.
    const most = byCount.length > SHAPES.length ? SHAPES.length - 1 : byCount.length;
    const named = byCount.slice(0, most);
    if (colouring === "cluster") named.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const place = new Map(
      byCount.map((name) => [name, named.indexOf(name) < 0 ? SHAPES.length - 1 : named.indexOf(name)]),
    );
    for (const spot of this.#spots.filter((one) => one.kind === "piece")) {
      const n = place.get(category(spot.piece));
      spot.mark.setAttribute("d", SHAPES[n]);
      spot.mark.setAttribute("class", `spot piece fill-${n}${spot.piece.held_out ? " held-out" : ""}`);
      const facts = [
        spot.piece.held_out ? "held out" : "training",
        `cluster ${spot.piece.cluster + 1}`,
        spot.piece.meter,
        spot.piece.key,
      ];
      spot.mark.setAttribute("aria-label", `${spot.piece.name}: ${facts.filter(Boolean).join(", ")}`);
    }
    const key = document.getElementById("latent-map-key");
    const entries = named.map((name, n) => [name, n, counts.get(name)]);
    if (most < byCount.length)
      entries.push([
        "others",
        SHAPES.length - 1,
        byCount.slice(most).reduce((sum, name) => sum + counts.get(name), 0),
      ]);
    key.replaceChildren(
      ...entries.map(([name, n, count]) =>
        make(
          "span",
          {},
          make(
            "svg",
            { viewBox: "-8 -8 16 16", width: 16, height: 16, "aria-hidden": "true" },
            make("path", { d: SHAPES[n], class: `fill-${n}` }),
          ),
          ` ${name} (${count})`,
        ),
      ),
    );
    this.#markChosen();
  }

  /** Positions the marks for the current width, and adds the names that fit. */
  layout() {
    const width = this.host.clientWidth;
    if (!width) return;
    const height = width < NARROW_WIDTH ? NARROW_HEIGHT : MAP_HEIGHT;
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("height", height);
    const ends = [0, 1].map((axis) => {
      const values = this.#spots.map((spot) => spot.point[axis]);
      const low = Math.min(...values),
        high = Math.max(...values);
      return high > low ? [low, high] : [low - 1, high + 1];
    });
    for (const spot of this.#spots) {
      spot.x =
        MAP_MARGIN + ((spot.point[0] - ends[0][0]) / (ends[0][1] - ends[0][0])) * (width - 2 * MAP_MARGIN);
      spot.y =
        height -
        MAP_MARGIN -
        ((spot.point[1] - ends[1][0]) / (ends[1][1] - ends[1][0])) * (height - 2 * MAP_MARGIN);
      spot.mark.setAttribute("transform", `translate(${spot.x.toFixed(1)} ${spot.y.toFixed(1)})`);
    }
    this.#nameSome();
  }

  /** Plays the grid points along the straight line between two pieces. */
  playLine(start, end) {
    const [from, to] = [start, end].map((n) =>
      this.#spots.find((spot) => spot.kind === "piece" && spot.n === n),
    );
    const cells = this.#spots.filter((spot) => spot.kind === "cell");
    const path = [];
    for (let n = 0; n <= LINE_SAMPLES; n++) {
      const x = from.x + ((to.x - from.x) * n) / LINE_SAMPLES,
        y = from.y + ((to.y - from.y) * n) / LINE_SAMPLES;
      const cell = nearest(cells, x, y);
      if (path.at(-1) !== cell) path.push(cell);
    }
    const { music, starts } = joined(
      path.map((spot) => spot.cell.music),
      0.4,
    );
    const title = `the line from ${from.piece.name} to ${to.piece.name}`;
    this.#show(make("h3", {}, `From ${from.piece.name} to ${to.piece.name}`), [
      musicBlock({
        title,
        label: `${path.length} points of the grid`,
        music,
        onplace: (sec) =>
          this.#markLine(
            path,
            starts.findLastIndex((at) => at <= sec + 0.01),
          ),
      }),
    ]);
    player.play(this.#block.item, 0);
  }

  #add(kind, point, name, more) {
    const mark = make("path", {
      d: SQUARE,
      class: `spot ${kind}`,
      role: "button",
      tabindex: -1,
      "aria-label": name,
    });
    const spot = { kind, point, name, mark, x: 0, y: 0, ...more };
    mark.addEventListener("keydown", (event) => this.#key(event, spot));
    mark.addEventListener("focus", () => mark.matches(":focus-visible") && showTip(spot.name, mark));
    mark.addEventListener("blur", hideTip);
    this.#spots.push(spot);
    this.svg.append(mark);
  }

  #near(cell) {
    return cell.near.map(([n, weight]) => `${DATA.pieces[n].name} ${Math.round(100 * weight)}%`).join(", ");
  }

  #under(event) {
    const box = this.svg.getBoundingClientRect();
    const x = event.clientX - box.left,
      y = event.clientY - box.top;
    for (const kind of ["piece", "cell"]) {
      const spot = nearest(
        this.#spots.filter((one) => one.kind === kind),
        x,
        y,
      );
      if (spot && Math.hypot(spot.x - x, spot.y - y) <= HIT_PIXELS) return spot;
    }
    return null;
  }

  #hover(event) {
    const spot = this.#under(event);
    this.svg.classList.toggle("over", spot !== null);
    if (spot) showTip(spot.name, event);
    else hideTip();
  }

  #click(event) {
    const spot = this.#under(event);
    if (!spot) return;
    this.#focus(spot);
    this.#play(spot);
  }

  #key(event, spot) {
    const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
      event.key
    ];
    if (direction) this.#focus(this.#towards(spot, direction) ?? spot);
    else if (event.key === "Enter" || event.key === " ") this.#play(spot);
    else return;
    event.preventDefault();
  }

  /** The nearest mark of the same kind that lies more along a direction than across it. */
  #towards(spot, [dx, dy]) {
    let best = null,
      least = Infinity;
    for (const other of this.#spots) {
      if (other === spot || other.kind !== spot.kind) continue;
      const along = (other.x - spot.x) * dx + (other.y - spot.y) * dy;
      const across = Math.abs((other.x - spot.x) * dy) + Math.abs((other.y - spot.y) * dx);
      if (along > 0.5 && across <= along && along + 2 * across < least)
        [best, least] = [other, along + 2 * across];
    }
    return best;
  }

  #focus(spot) {
    for (const other of this.#spots)
      if (other.kind === spot.kind) other.mark.setAttribute("tabindex", other === spot ? 0 : -1);
    spot.mark.focus({ preventScroll: true });
  }

  #play(spot) {
    if (this.#chosen === spot && this.#block) {
      player.toggle(this.#block.item);
      return;
    }
    this.#chosen = spot;
    if (spot.kind === "piece") {
      const card = pieceCard(spot.piece);
      this.#show(null, card.blocks, card.element);
    } else {
      const title = `the point between ${spot.cell.near.map(([n]) => DATA.pieces[n].name).join(", ")}`;
      this.#show(make("h3", {}, "Between pieces"), [
        musicBlock({ title, label: this.#near(spot.cell), music: spot.cell.music }),
      ]);
    }
    this.#chosen = spot;
    this.#markChosen();
    if (this.#block) player.play(this.#block.item, 0);
    else player.pause();
  }

  /** Shows the chosen music below the map; the first block is played. */
  #show(heading, blocks, element = make("article", { class: "card" })) {
    this.#shown.forEach((block) => block.roll.remove());
    this.#shown = blocks;
    this.#block = blocks[0] ?? null;
    this.#chosen = null;
    this.#markLine([], -1);
    if (heading) element.append(heading, ...blocks.map((block) => block.element));
    this.panel.replaceChildren(element);
    this.#markChosen();
  }

  #markChosen() {
    for (const spot of this.#spots) spot.mark.classList.toggle("chosen", spot === this.#chosen);
    this.#nameSome();
  }

  #markLine(path, now) {
    const state = `${path.length} ${now}`;
    if (this.#lineState === state) return;
    this.#lineState = state;
    for (const spot of this.#spots) {
      if (spot.kind !== "cell") continue;
      spot.mark.classList.toggle("on-line", path.includes(spot));
      spot.mark.classList.toggle("now", path[now] === spot);
    }
  }

  /** Names pieces beside their marks where the name covers no other, and always the chosen one. */
  #nameSome() {
    const width = this.host.clientWidth;
    this.svg.querySelectorAll("text").forEach((text) => text.remove());
    const taken = this.#spots
      .filter((spot) => spot.kind === "piece")
      .map(({ x, y }) => [x - 6, y - 6, x + 6, y + 6]);
    const priority = (spot) => 2 * (spot === this.#chosen) + spot.piece.held_out;
    const byPriority = this.#spots
      .filter((spot) => spot.kind === "piece")
      .sort((a, b) => priority(b) - priority(a));
    for (const spot of byPriority) {
      const length = 2 + 6.7 * spot.name.length;
      for (const [start, x, anchor] of [
        [spot.x + 8, spot.x + 8, "start"],
        [spot.x - 8 - length, spot.x - 8, "end"],
      ]) {
        const box = [start, spot.y - 6, start + length, spot.y + 6];
        const isFree = taken.every(
          ([left, top, right, bottom]) => box[2] < left || box[0] > right || box[3] < top || box[1] > bottom,
        );
        if ((!isFree && spot !== this.#chosen) || box[0] < 0 || box[2] > width) continue;
        taken.push(box);
        this.svg.append(
          make(
            "text",
            {
              x,
              y: spot.y + 4,
              "text-anchor": anchor,
              class: spot === this.#chosen ? "chosen" : null,
              "aria-hidden": "true",
            },
            spot.name,
          ),
        );
        break;
      }
    }
  }
}

function nearest(spots, x, y) {
  let best = null,
    least = Infinity;
  for (const spot of spots) {
    const distance = Math.hypot(spot.x - x, spot.y - y);
    if (distance < least) [best, least] = [spot, distance];
  }
  return best;
}

function startMap() {
  const host = document.getElementById("latent-map");
  if (!host) return;
  const map = new LatentMap(host, document.getElementById("chosen"));
  Object.keys(COLOURINGS).forEach((name) => {
    const radio = make("input", { type: "radio", name: "colouring", value: name });
    radio.checked = name === "cluster";
    radio.addEventListener("change", () => map.recolour(name));
    document.getElementById("colour").append(make("label", {}, radio, ` ${name}`));
  });
  const form = document.getElementById("line");
  if (!form) return;
  const byName = DATA.pieces.map((piece, n) => [piece.name, n]).sort((a, b) => a[0].localeCompare(b[0]));
  for (const select of form.querySelectorAll("select")) {
    select.append(...byName.map(([name, n]) => make("option", { value: n }, name)));
  }
  // The initial line crosses the map, between held-out pieces where there are two.
  const heldOut = byName.filter(([, n]) => DATA.pieces[n].held_out);
  const across = (heldOut.length >= 2 ? heldOut : byName)
    .map(([, n]) => n)
    .sort((a, b) => DATA.pieces[a].point[0] - DATA.pieces[b].point[0]);
  form.elements.start.value = across[0];
  form.elements.end.value = across.at(-1);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    map.playLine(Number(form.elements.start.value), Number(form.elements.end.value));
  });
}
