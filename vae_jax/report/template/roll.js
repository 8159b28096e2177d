"use strict";
// Piano rolls on canvases, drawn while in view: notes coloured by instrument group, drums below.

const ROLL_HEIGHT = 156;
const DRUM_LANE = 12;
const TIME_LANE = 14;
const GUTTER = 26; // Left of the music, for the names of pitches.
const MAX_PIXELS = 8192; // Wider canvases fail on some devices.
const rolls = new Set();
const rollOf = new WeakMap();
const rollsInView = new IntersectionObserver(
  (entries) => entries.forEach((entry) => rollOf.get(entry.target).setInView(entry.isIntersecting)),
  { rootMargin: "300px" },
);
const rollSizes = new ResizeObserver((entries) =>
  entries.forEach((entry) => rollOf.get(entry.target).draw()),
);

/** Redraws every roll, after a change of colours or of the muted groups. */
function redrawRolls() {
  rolls.forEach((roll) => roll.draw());
}

function colourOf(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

class Roll {
  #isInView = false;

  /**
   * @param item the player's item.
   * @param axis { sec, low, high }: the ends of both axes, which rolls to compare share.
   */
  constructor(item, axis) {
    this.item = item;
    this.axis = axis;
    this.canvas = make("canvas", { height: ROLL_HEIGHT });
    this.cursor = make("div", { class: "cursor" });
    this.element = make(
      "div",
      {
        class: "roll",
        role: "slider",
        tabindex: 0,
        "aria-label": `Position in ${item.title}`,
        "aria-valuemin": 0,
        "aria-valuemax": Math.round(item.music.sec),
      },
      this.canvas,
      this.cursor,
    );
    rollOf.set(this.element, this);
    rolls.add(this);
    rollsInView.observe(this.element);
    rollSizes.observe(this.element);
    this.element.addEventListener("click", (event) => player.seek(this.item, this.#at(event).sec));
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.element.addEventListener("pointermove", (event) => this.#point(event));
    this.element.addEventListener("pointerleave", hideTip);
    this.refresh();
  }

  /** Stops observing a roll that has left the page. */
  remove() {
    rolls.delete(this);
    rollsInView.unobserve(this.element);
    rollSizes.unobserve(this.element);
  }

  setInView(isInView) {
    this.#isInView = isInView;
    if (isInView) this.draw();
    else this.canvas.width = 0; // Frees its memory.
  }

  /** Shows the position of the player. */
  refresh() {
    const { place, music } = this.item;
    this.cursor.style.left = `calc(${GUTTER}px + (100% - ${GUTTER}px) * ${place.sec / this.axis.sec})`;
    this.element.classList.toggle("is-at-start", place.sec === 0);
    const now = String(Math.round(place.sec));
    if (this.element.getAttribute("aria-valuenow") === now) return;
    this.element.setAttribute("aria-valuenow", now);
    this.element.setAttribute("aria-valuetext", `${clock(place.sec)} of ${clock(music.sec)}`);
  }

  draw() {
    if (!this.#isInView || !this.element.clientWidth) return;
    const width = this.element.clientWidth;
    const scale = Math.min(window.devicePixelRatio || 1, MAX_PIXELS / width);
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(ROLL_HEIGHT * scale);
    const context = this.canvas.getContext("2d");
    context.scale(scale, scale);
    this.#drawGrid(context, width);
    const notes = notesOf(this.item.music);
    const colours = DATA.groups.map((_, group) => colourOf(`--group-${group}`));
    const perMs = (width - GUTTER) / this.axis.sec / 1000;
    const row = this.#rowHeight();
    for (let n = 0; n < notes.count; n++) {
      const group = notes.group[n];
      context.fillStyle = colours[group];
      context.globalAlpha = muted.has(group) ? 0.12 : 1;
      const x = GUTTER + notes.onset[n] * perMs;
      if (group === DRUMS) context.fillRect(x, ROLL_HEIGHT - 8, 1.5, 6);
      else
        context.fillRect(
          x,
          this.#y(notes.pitch[n]),
          Math.max(1.5, notes.duration[n] * perMs - 0.6),
          Math.max(1.6, row - 0.4),
        );
    }
    if (!notes.count) {
      context.globalAlpha = 1;
      context.fillStyle = colourOf("--quiet");
      context.font = "14px system-ui, sans-serif";
      context.fillText("no notes", 12, 24);
    }
  }

  #drawGrid(context, width) {
    context.font = "10px system-ui, sans-serif";
    context.lineWidth = 1;
    context.strokeStyle = colourOf("--line");
    context.fillStyle = colourOf("--quiet");
    context.beginPath();
    for (let pitch = Math.ceil(this.axis.low / 12) * 12; pitch <= this.axis.high; pitch += 12) {
      const y = Math.round(this.#y(pitch) + this.#rowHeight()) + 0.5;
      context.moveTo(GUTTER - 4, y);
      context.lineTo(width, y);
      context.fillText(noteName(pitch), 4, y + 1);
    }
    const step =
      [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 36000].find(
        (sec) => (sec / this.axis.sec) * width >= 64,
      ) ?? this.axis.sec;
    for (let sec = 0; sec < this.axis.sec; sec += step) {
      const x = Math.round(GUTTER + (sec / this.axis.sec) * (width - GUTTER)) + 0.5;
      context.moveTo(x, TIME_LANE - 2);
      context.lineTo(x, ROLL_HEIGHT);
      if (x + 24 < width) context.fillText(clock(sec), x - 2, 10);
    }
    context.stroke();
  }

  #rowHeight() {
    return (ROLL_HEIGHT - TIME_LANE - DRUM_LANE) / (this.axis.high - this.axis.low + 1);
  }

  #y(pitch) {
    return TIME_LANE + (this.axis.high - pitch) * this.#rowHeight();
  }

  #at(event) {
    const box = this.element.getBoundingClientRect();
    const share = (event.clientX - box.left - GUTTER) / (box.width - GUTTER);
    return { sec: Math.max(0, share) * this.axis.sec, y: event.clientY - box.top, box };
  }

  #key(event) {
    const { place, music } = this.item;
    const page = Math.max(10, music.sec / 10);
    const to = {
      ArrowLeft: place.sec - 2,
      ArrowDown: place.sec - 2,
      ArrowRight: place.sec + 2,
      ArrowUp: place.sec + 2,
      PageDown: place.sec - page,
      PageUp: place.sec + page,
      Home: 0,
      End: music.sec,
    }[event.key];
    if (to !== undefined) player.seek(this.item, to);
    else if (event.key === " " || event.key === "Enter") player.toggle(this.item);
    else return;
    event.preventDefault();
  }

  #point(event) {
    const { sec, y, box } = this.#at(event);
    const notes = notesOf(this.item.music);
    const reach = (2 * this.axis.sec) / box.width;
    for (let n = 0; n < notes.count && notes.onset[n] / 1000 < sec + reach; n++) {
      const isDrum = notes.group[n] === DRUMS;
      const top = isDrum ? ROLL_HEIGHT - 9 : this.#y(notes.pitch[n]) - 1;
      const bottom = isDrum ? ROLL_HEIGHT : top + Math.max(3, this.#rowHeight()) + 2;
      const end = (notes.onset[n] + (isDrum ? 0 : notes.duration[n])) / 1000;
      if (y < top || y > bottom || end < sec - reach) continue;
      const what = isDrum ? `drum ${notes.pitch[n]}` : noteName(notes.pitch[n]);
      showTip(`${DATA.groups[notes.group[n]]}, ${what}, ${(notes.onset[n] / 1000).toFixed(1)} s`, event);
      return;
    }
    hideTip();
  }
}

/** The ends of the axes that hold all of some music. */
function axisOf(pieces) {
  let low = 127,
    high = 0,
    sec = 1;
  for (const music of pieces) {
    const notes = notesOf(music);
    sec = Math.max(sec, music.sec);
    for (let n = 0; n < notes.count; n++) {
      if (notes.group[n] === DRUMS) continue;
      low = Math.min(low, notes.pitch[n]);
      high = Math.max(high, notes.pitch[n]);
    }
  }
  if (low > high) [low, high] = [48, 84];
  return { sec, low: Math.min(low - 1, high - 24), high: high + 1 };
}

const tip = make("div", { class: "tip", hidden: "" });

/** Shows a text beside the pointer, or beside an element. */
function showTip(text, at) {
  const box = at.clientX === undefined ? at.getBoundingClientRect() : null;
  const x = box ? box.right : at.clientX,
    y = box ? box.top : at.clientY;
  tip.textContent = text;
  tip.hidden = false;
  tip.style.left = `${Math.max(4, Math.min(x + 12, window.innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${Math.max(4, y - tip.offsetHeight - 8)}px`;
}

function hideTip() {
  tip.hidden = true;
}
window.addEventListener("scroll", hideTip, { passive: true });
