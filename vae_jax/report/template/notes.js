"use strict";
// The page's data, notes unpacked from it, and MIDI files made of them. Text enters the page as text nodes only.

const DATA = JSON.parse(document.getElementById("data").textContent);
const DRUMS = DATA.groups.length - 1;
const PITCHES = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"];
const unpackedNotes = new WeakMap();

/** Makes an element; a child that is a string becomes text. */
function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "text", "line", "polyline", "circle"].includes(tag);
  const element = svg
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Unpacks notes: onset and duration in milliseconds, pitch, instrument group and velocity, each a typed array. */
function notesOf(music) {
  if (!unpackedNotes.has(music)) {
    const bytes = Uint8Array.from(atob(music.notes), (c) => c.charCodeAt(0));
    const count = bytes.length / 8;
    const sound = new Uint8Array(bytes.buffer, 7 * count, count);
    unpackedNotes.set(music, {
      count,
      onset: new Uint32Array(bytes.buffer, 0, count),
      duration: new Uint16Array(bytes.buffer, 4 * count, count),
      pitch: new Uint8Array(bytes.buffer, 6 * count, count),
      group: sound.map((value) => value >> 5),
      velocity: sound.map((value) => ((value & 31) << 2) + 2),
    });
  }
  return unpackedNotes.get(music);
}

/** Concatenates pieces; returns the music, already unpacked, and the start of each piece in seconds. */
function joined(pieces, gapSec) {
  const starts = [];
  const columns = { onset: [], duration: [], pitch: [], group: [], velocity: [] };
  let sec = 0;
  for (const music of pieces) {
    const notes = notesOf(music);
    starts.push(sec);
    for (let n = 0; n < notes.count; n++) {
      columns.onset.push(notes.onset[n] + Math.round(1000 * sec));
      for (const name of ["duration", "pitch", "group", "velocity"]) columns[name].push(notes[name][n]);
    }
    sec += music.sec + gapSec;
  }
  const music = { sec: Math.max(0, sec - gapSec), url: null };
  unpackedNotes.set(music, { count: columns.onset.length, ...columns });
  return { music, starts };
}

/** Calls a function in the frame after an element changes its size: drawing may change sizes again. */
function onResize(element, draw) {
  new ResizeObserver(() => requestAnimationFrame(draw)).observe(element);
}

function noteName(pitch) {
  return PITCHES[pitch % 12] + (Math.floor(pitch / 12) - 1);
}

function clock(sec) {
  const whole = Math.max(0, Math.floor(sec));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** A number with its noun: "1 piece", "1,200 pieces". */
function quantity(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** The URL of the MIDI file: beside the page, or made here with a track per instrument group and ticks of a millisecond. */
function midiUrl(music) {
  if (music.url) return music.url;
  music.blob ??= URL.createObjectURL(new Blob([midiBytes(notesOf(music))], { type: "audio/midi" }));
  return music.blob;
}

const PROGRAMS = [56, 57, 48, 43, 0, 19, 32, 0]; // General MIDI, from zero, in the order of the instrument groups.

function midiBytes(notes) {
  const chunk = (name, body) => {
    const size = body.length;
    return [...name]
      .map((c) => c.charCodeAt(0))
      .concat(
        [24, 16, 8, 0].map((shift) => (size >> shift) & 255),
        body,
      );
  };
  const variable = (value) => {
    const bytes = [value & 127];
    while ((value = Math.floor(value / 128)) > 0) bytes.unshift((value & 127) | 128);
    return bytes;
  };
  const tracks = DATA.groups.map((name, group) => {
    const channel = group === DRUMS ? 9 : group;
    const events = [];
    for (let n = 0; n < notes.count; n++) {
      if (notes.group[n] !== group) continue;
      events.push([notes.onset[n], 1, [0x90 | channel, notes.pitch[n], notes.velocity[n]]]);
      events.push([notes.onset[n] + notes.duration[n], 0, [0x80 | channel, notes.pitch[n], 0]]);
    }
    if (!events.length) return null;
    events.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    const text = [...name].map((c) => c.charCodeAt(0));
    const body = [0, 0xff, 3, text.length, ...text, 0, 0xc0 | channel, PROGRAMS[group]];
    let now = 0;
    for (const [time, , bytes] of events) {
      body.push(...variable(time - now), ...bytes);
      now = time;
    }
    return chunk("MTrk", body.concat([0, 0xff, 0x2f, 0]));
  });
  const present = tracks.filter((track) => track !== null);
  // 500 ticks per beat of half a second, the default tempo of MIDI.
  const header = chunk("MThd", [0, 1, 0, present.length, 500 >> 8, 500 & 255]);
  return Uint8Array.from(header.concat(...present));
}
