"use strict";
// What plays: one thing at a time, scheduled a little ahead, with everyone who shows it kept informed.

const LOOKAHEAD_SEC = 0.5;
const HIDDEN_LOOKAHEAD_SEC = 2.5; // A hidden page wakes once a second.
const TICK_MS = 100;
const CALM_MS = 250; // Between two places of the cursor for those who ask for less motion.
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

/**
 * The one player. What it plays is an item: { title, music, place, refresh }. Items that share a place, an object with
 * a `sec`, share their position, so that one can change over to another.
 */
class Player {
  #startedAt = 0;
  #from = 0;
  #next = 0;
  #bus = [];
  #sources = new Set();
  #timer = null;

  item = null;
  isPlaying = false;
  /** Called whenever the item or its state changes. */
  onchange = () => {};

  toggle(item) {
    if (this.isPlaying && this.item === item) this.pause();
    else this.play(item);
  }

  play(item, sec = item.place.sec) {
    const previous = this.item;
    this.pause();
    const context = synth.start();
    this.item = item;
    this.#from = sec >= item.music.sec - 0.05 ? 0 : sec;
    item.place.sec = this.#from;
    this.#startedAt = context.currentTime + 0.06;
    this.#next = 0;
    this.#bus = synth.bus();
    this.isPlaying = true;
    this.#timer = setInterval(() => this.#schedule(), TICK_MS);
    this.#schedule();
    previous?.refresh();
    this.#tell();
    this.#frame(item);
  }

  pause() {
    if (!this.isPlaying) return;
    this.item.place.sec = this.position();
    clearInterval(this.#timer);
    synth.silence(this.#bus, this.#sources);
    this.#sources = new Set();
    this.isPlaying = false;
    this.#tell();
  }

  seek(item, sec) {
    item.place.sec = Math.min(Math.max(0, sec), item.music.sec);
    if (this.isPlaying && this.item.place === item.place) this.play(item, item.place.sec);
    else item.refresh();
  }

  /** Seconds from the start of the item. */
  position() {
    const elapsed = synth.context.currentTime - this.#startedAt;
    return Math.min(this.#from + Math.max(0, elapsed), this.item.music.sec);
  }

  #schedule() {
    const notes = notesOf(this.item.music);
    const now = synth.context.currentTime;
    const until = now + (document.hidden ? HIDDEN_LOOKAHEAD_SEC : LOOKAHEAD_SEC);
    for (; this.#next < notes.count; this.#next++) {
      const n = this.#next;
      const start = notes.onset[n] / 1000 - this.#from;
      if (this.#startedAt + start > until) break;
      const end = start + notes.duration[n] / 1000;
      if (end < 0.03 || (start < 0 && notes.part[n] === DRUMS)) continue; // Over before the place sought.
      const when = Math.max(this.#startedAt + Math.max(0, start), now);
      const sounding = synth.note(
        this.#bus,
        notes.part[n],
        notes.pitch[n],
        notes.velocity[n],
        when,
        end - Math.max(0, start),
      );
      for (const source of sounding) {
        this.#sources.add(source);
        source.addEventListener("ended", () => this.#sources.delete(source));
      }
    }
    if (this.position() >= this.item.music.sec && this.#next >= notes.count) this.#end();
  }

  #end() {
    this.pause();
    this.item.place.sec = 0;
    this.#tell();
  }

  #frame(item) {
    if (!this.isPlaying || this.item !== item) return;
    item.place.sec = this.position();
    this.#tell();
    const again = () => this.#frame(item);
    if (calm.matches) setTimeout(again, CALM_MS);
    else requestAnimationFrame(again);
  }

  #tell() {
    this.item.refresh();
    this.onchange();
  }
}

const player = new Player();

/** The bar at the foot of the page: what plays, volume, and the parts that are heard. */
function startTransport() {
  const bar = document.getElementById("transport");
  const play = document.getElementById("transport-play");
  const title = document.getElementById("transport-title");
  const time = document.getElementById("transport-time");
  const volume = document.getElementById("volume");
  bar.hidden = false;
  document.body.classList.add("has-transport");
  title.textContent = "Nothing plays yet";
  play.disabled = true;
  play.addEventListener("click", () => player.toggle(player.item));
  player.onchange = () => {
    play.disabled = false;
    setPlaying(play, player.isPlaying, player.item.title);
    if (title.textContent !== player.item.title) title.textContent = title.title = player.item.title;
    time.textContent = `${clock(player.item.place.sec)} / ${clock(player.item.music.sec)}`;
  };
  const setVolume = () => synth.setLevel((volume.value / 100) ** 2);
  volume.addEventListener("input", setVolume);
  setVolume();
  DATA.parts.forEach((name, part) => {
    const button = make("button", { type: "button", class: "part", "aria-pressed": "true" });
    button.append(make("span", { class: `dot part-${part}` }), name);
    button.title = `Mute ${name}`;
    button.addEventListener("click", () => {
      const isMuted = !muted.delete(part);
      if (isMuted) muted.add(part);
      button.setAttribute("aria-pressed", String(!isMuted));
      button.title = `${isMuted ? "Hear" : "Mute"} ${name}`;
      synth.setMuted(part, isMuted);
      redrawRolls();
    });
    document.getElementById("transport-parts").append(button);
  });
}

/** Shows on a button whether what it plays is playing. */
function setPlaying(button, isPlaying, title) {
  const label = `${isPlaying ? "Pause" : "Play"} ${title}`;
  if (button.getAttribute("aria-label") === label) return;
  button.setAttribute("aria-label", label);
  button.classList.toggle("is-playing", isPlaying);
}
