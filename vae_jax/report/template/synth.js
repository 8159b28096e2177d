"use strict";
// Synthesis: a timbre and an envelope per instrument group (music/audio.py), filtered noise for drums, and a limiter.

// By drum of General MIDI: kind of filter, its frequency in hertz, its decay in seconds.
const KICKS = [35, 36, 41, 43, 45, 47, 48, 50];
const RINGING = {
  42: 0.05,
  44: 0.05,
  46: 0.3,
  49: 0.9,
  51: 0.4,
  52: 0.9,
  53: 0.4,
  55: 0.6,
  57: 0.9,
  59: 0.4,
};

class Synth {
  #waves = [];
  #groupGains = [];

  /** The audio context; browsers allow it after the first user gesture only. */
  context = null;

  start() {
    if (!this.context) {
      const context = new AudioContext();
      const limiter = new DynamicsCompressorNode(context, {
        threshold: -14,
        ratio: 8,
        attack: 0.003,
        release: 0.2,
      });
      this.volume = new GainNode(context, { gain: this.level ?? 0.5 });
      limiter.connect(this.volume).connect(context.destination);
      this.#waves = DATA.timbres.map(({ harmonics }) => {
        const imaginary = Float32Array.from([0, ...harmonics]);
        return context.createPeriodicWave(new Float32Array(imaginary.length), imaginary);
      });
      this.#groupGains = DATA.groups.map((_, group) => {
        const gain = new GainNode(context, { gain: muted.has(group) ? 0 : 1 });
        gain.connect(limiter);
        return gain;
      });
      this.noise = context.createBuffer(1, context.sampleRate, context.sampleRate);
      const samples = this.noise.getChannelData(0);
      for (let n = 0; n < samples.length; n++) samples[n] = 2 * Math.random() - 1;
      this.context = context;
    }
    if (this.context.state !== "running") this.context.resume();
    return this.context;
  }

  setLevel(level) {
    this.level = level;
    this.volume?.gain.setTargetAtTime(level, this.context.currentTime, 0.02);
  }

  setMuted(group, isMuted) {
    this.#groupGains[group]?.gain.setTargetAtTime(isMuted ? 0 : 1, this.context.currentTime, 0.02);
  }

  /** The gain nodes of one playback, one per instrument group, so that it can be silenced as a whole. */
  bus() {
    return this.#groupGains.map((gain) => {
      const own = new GainNode(this.context, { gain: 1 });
      own.connect(gain);
      return own;
    });
  }

  silence(bus, sources) {
    const now = this.context.currentTime;
    for (const gain of bus) gain.gain.setTargetAtTime(0, now, 0.015);
    for (const source of sources) source.stop(now + 0.1);
    setTimeout(() => bus.forEach((gain) => gain.disconnect()), 200);
  }

  /** Schedules a note; returns its sources. */
  note(bus, group, pitch, velocity, when, duration) {
    const loudness = 0.16 * (velocity / 127) ** 1.3;
    return group === DRUMS
      ? this.#drum(bus[group], pitch, loudness, when)
      : this.#tone(bus[group], group, pitch, loudness, when, duration);
  }

  #tone(bus, group, pitch, loudness, when, duration) {
    const timbre = DATA.timbres[group];
    const source = new OscillatorNode(this.context, { frequency: 440 * 2 ** ((pitch - 69) / 12) });
    source.setPeriodicWave(this.#waves[group]);
    const envelope = new GainNode(this.context, { gain: 0 });
    const peak = loudness * timbre.gain;
    const end = when + Math.max(duration, timbre.attack);
    envelope.gain.setValueAtTime(0, when);
    envelope.gain.linearRampToValueAtTime(peak, when + timbre.attack);
    envelope.gain.setTargetAtTime(peak * timbre.sustain, when + timbre.attack, timbre.decay / 3);
    envelope.gain.setTargetAtTime(0, end, timbre.release / 3);
    source.connect(envelope).connect(bus);
    source.start(when);
    source.stop(end + 2 * timbre.release);
    source.onended = () => envelope.disconnect();
    return [source];
  }

  #drum(bus, pitch, loudness, when) {
    const ring = RINGING[pitch] ?? (KICKS.includes(pitch) ? 0.12 : 0.16);
    const isCymbal = pitch in RINGING;
    const isKick = KICKS.includes(pitch);
    const source = new AudioBufferSourceNode(this.context, { buffer: this.noise, loop: true });
    const filter = new BiquadFilterNode(this.context, {
      type: isCymbal ? "highpass" : isKick ? "lowpass" : "bandpass",
      frequency: isCymbal ? 6500 : isKick ? 90 + 4 * (pitch - 35) : 1700,
      Q: isKick ? 4 : 0.8,
    });
    const envelope = new GainNode(this.context, { gain: 0 });
    const peak = loudness * (isKick ? 6 : isCymbal ? 0.7 : 1.5);
    envelope.gain.setValueAtTime(peak, when);
    envelope.gain.setTargetAtTime(0, when, ring / 3);
    source.connect(filter).connect(envelope).connect(bus);
    source.start(when, Math.random() * 0.5);
    source.stop(when + 2 * ring);
    source.onended = () => envelope.disconnect();
    return [source];
  }
}

const muted = new Set();
const synth = new Synth();
