"use strict";
// Music as a heading, with its play button and file, above a piano roll.

/**
 * Makes a block of music.
 *
 * @param title the title in the player.
 * @param label the text above the roll.
 * @param place the position, { sec }; blocks that share it keep it when the other one is played.
 * @returns { element, item, roll, setMusic }
 */
function musicBlock({ title, label, music, axis = axisOf([music]), place = { sec: 0 }, onplace = () => {} }) {
  const button = make("button", { type: "button", class: "play" });
  const time = make("span", { class: "quiet" }, clock(music.sec));
  const link = make("a", { href: "#", download: `${title.replace(/[^\p{L}\p{N}]+/gu, "_")}.mid` }, "MIDI");
  const item = { title, music, place, refresh };
  const roll = new Roll(item, axis);
  link.setAttribute("aria-label", `${title} as a MIDI file`);
  // The file is made on demand.
  const giveFile = () => (link.href = midiUrl(item.music));
  if (music.url) giveFile();
  else for (const name of ["pointerenter", "focus", "click"]) link.addEventListener(name, giveFile);
  button.addEventListener("click", () => player.toggle(item));

  function refresh() {
    const isPlaying = player.isPlaying && player.item === item;
    setPlaying(button, isPlaying, title);
    element.classList.toggle("is-playing", isPlaying);
    roll.refresh();
    onplace(place.sec);
  }

  function setMusic(next) {
    const isPlaying = player.isPlaying && player.item === item;
    item.music = next;
    time.textContent = clock(next.sec);
    roll.draw();
    if (isPlaying) player.play(item, Math.min(place.sec, next.sec));
  }

  const heading = make(
    "div",
    { class: "music-head" },
    button,
    make("span", { class: "music-label" }, label),
    time,
    link,
  );
  const element = make("div", { class: "music" }, heading, roll.element);
  refresh();
  return { element, item, roll, setMusic };
}

/** Lists the tracks of a file with their instrument groups. */
function trackLine(tracks) {
  const line = make("p", { class: "tracks quiet" });
  tracks.forEach(({ name, group }) => {
    line.append(
      make(
        "span",
        { class: "track" },
        make("span", { class: `dot group-${group}` }),
        `${name} (${DATA.groups[group]})`,
      ),
      " ",
    );
  });
  return make(
    "details",
    {},
    make("summary", {}, quantity(tracks.length, "track")),
    line,
  );
}

/** Fills a list with samples or compositions. */
function fillMusicList(host, rows) {
  for (const row of rows) {
    const card = make("article", { class: "card" });
    if (row.unreadable) {
      card.append(make("h3", {}, row.name), make("p", { class: "missing" }, row.unreadable));
    } else {
      card.append(musicBlock({ title: row.name, label: row.name, music: row.music }).element);
      if (row.tracks.length) card.append(trackLine(row.tracks));
    }
    host.append(card);
  }
}

/** Fills the list of interpolations, each with a slider. */
function fillInterpolations(host) {
  for (const pair of DATA.interpolations) {
    const last = pair.steps.length - 1;
    const words = (n) =>
      n === 0
        ? `${pair.start}, decoded`
        : n === last
          ? `${pair.end}, decoded`
          : `${Math.round((100 * n) / last)}% of the way`;
    const title = `${pair.start} to ${pair.end}`;
    const block = musicBlock({
      title: `interpolation from ${title}`,
      label: words(0),
      music: pair.steps[0],
      axis: axisOf(pair.steps),
    });
    const slider = make("input", {
      type: "range",
      min: 0,
      max: last,
      step: 1,
      value: 0,
      "aria-label": `From ${title}`,
      "aria-valuetext": words(0),
    });
    slider.addEventListener("input", () => {
      const n = Number(slider.value);
      slider.setAttribute("aria-valuetext", words(n));
      block.element.querySelector(".music-label").textContent = words(n);
      block.setMusic(pair.steps[n]);
    });
    const row = make("div", { class: "interpolation" }, make("span", {}, pair.start), slider, make("span", {}, pair.end));
    host.append(make("article", { class: "card" }, row, block.element));
  }
}
