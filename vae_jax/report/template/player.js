"use strict";
// Playback: one item at a time, its notes scheduled shortly ahead.

const LOOKAHEAD_SEC = 0.5;
const HIDDEN_LOOKAHEAD_SEC = 2.5; // Timers of a hidden page fire once a second.
const TICK_MS = 100;
const REDUCED_MOTION_MS = 250; // Between two positions of the cursor.
const reducedMotion = window.matchMedia("(prefers-reduced-motion: reduce)");

/**
 * The player. It plays an item: { title, music, place, refresh }. Items that share a `place`, { sec }, share their
 * position.
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
    this.#notify();
    this.#frame(item);
  }

  pause() {
    if (!this.isPlaying) return;
    this.item.place.sec = this.position();
    clearInterval(this.#timer);
    synth.silence(this.#bus, this.#sources);
    this.#sources = new Set();
    this.isPlaying = false;
    this.#notify();
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
      if (end < 0.03 || (start < 0 && notes.group[n] === DRUMS)) continue; // Ends before the position.
      const when = Math.max(this.#startedAt + Math.max(0, start), now);
      const sounding = synth.note(
        this.#bus,
        notes.group[n],
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
    this.#notify();
  }

  #frame(item) {
    if (!this.isPlaying || this.item !== item) return;
    item.place.sec = this.position();
    this.#notify();
    const again = () => this.#frame(item);
    if (reducedMotion.matches) setTimeout(again, REDUCED_MOTION_MS);
    else requestAnimationFrame(again);
  }

  #notify() {
    this.item.refresh();
    this.onchange();
  }
}

const player = new Player();

/** The bar at the foot of the page: the item that plays, the volume and the instrument groups. */
function startTransport() {
  const bar = document.getElementById("transport");
  const play = document.getElementById("transport-play");
  const title = document.getElementById("transport-title");
  const time = document.getElementById("transport-time");
  const volume = document.getElementById("volume");
  bar.hidden = false;
  document.body.classList.add("has-transport");
  title.textContent = "Nothing selected";
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
  DATA.groups.forEach((name, group) => {
    const button = make("button", { type: "button", class: "group", "aria-pressed": "true" });
    button.append(make("span", { class: `dot group-${group}` }), name);
    button.title = `Mute ${name}`;
    button.addEventListener("click", () => {
      const isMuted = !muted.delete(group);
      if (isMuted) muted.add(group);
      button.setAttribute("aria-pressed", String(!isMuted));
      button.title = `${isMuted ? "Unmute" : "Mute"} ${name}`;
      synth.setMuted(group, isMuted);
      redrawRolls();
    });
    document.getElementById("transport-groups").append(button);
  });
}

/** Shows the state of playback on a button. */
function setPlaying(button, isPlaying, title) {
  const label = `${isPlaying ? "Pause" : "Play"} ${title}`;
  if (button.getAttribute("aria-label") === label) return;
  button.setAttribute("aria-label", label);
  button.classList.toggle("is-playing", isPlaying);
}
