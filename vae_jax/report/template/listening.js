"use strict";
// A blind listening test: pairs of a real and a composed excerpt, the answers kept in the browser, judged at the end.

const LETTERS = ["A", "B"];

/** What is kept of the test: { answers: for each pair 0, 1 or null; isShown }. */
function readAnswers(test) {
  const none = { answers: test.pairs.map(() => null), isShown: false };
  try {
    const kept = JSON.parse(localStorage.getItem(`listening ${test.id}`)) ?? none;
    const isWhole =
      Array.isArray(kept.answers) &&
      kept.answers.length === test.pairs.length &&
      kept.answers.every((answer) => [0, 1, null].includes(answer));
    const isShown = kept.isShown === true && isWhole && !kept.answers.includes(null);
    return isWhole ? { answers: kept.answers, isShown } : none;
  } catch {
    return none; // No storage, or something else in it.
  }
}

function keepAnswers(test, state) {
  try {
    localStorage.setItem(`listening ${test.id}`, JSON.stringify(state));
  } catch {
    // Without storage the answers last as long as the page.
  }
}

/** An excerpt: a play button and its position; neither notes nor names. */
function excerptRow(music, title) {
  const button = make("button", { type: "button", class: "play" });
  const slider = make("input", {
    type: "range",
    min: 0,
    max: music.sec,
    step: 0.1,
    value: 0,
    "aria-label": `Position in ${title}`,
  });
  const time = make("span", { class: "quiet" });
  const item = { title, music, place: { sec: 0 }, refresh };
  button.addEventListener("click", () => player.toggle(item));
  slider.addEventListener("input", () => player.seek(item, Number(slider.value)));

  function refresh() {
    setPlaying(button, player.isPlaying && player.item === item, title);
    slider.value = item.place.sec;
    const words = `${clock(item.place.sec)} of ${clock(music.sec)}`;
    if (time.textContent !== words) {
      time.textContent = words;
      slider.setAttribute("aria-valuetext", words);
    }
  }

  refresh();
  return make("div", { class: "excerpt" }, make("b", {}, title.slice(-1)), button, slider, time);
}

/** The card of a pair; `show` marks the truth where the result is shown. */
function pairCard(test, n, state, onanswer) {
  const pair = test.pairs[n];
  const title = `Pair ${n + 1}`;
  const question = make("fieldset", { class: "choice" }, make("legend", {}, "Composed by the model:"));
  const radios = LETTERS.map((letter, which) => {
    const radio = make("input", { type: "radio", name: `pair-${n}`, value: which });
    radio.addEventListener("change", () => onanswer(n, which));
    question.append(make("label", {}, radio, ` ${letter}`));
    return radio;
  });
  const truth = make("p", { class: "truth" });
  const rows = pair.music.map((music, which) => excerptRow(music, `${title}, ${LETTERS[which]}`));
  const element = make("article", { class: "card" }, make("h3", {}, title), ...rows, question, truth);

  function show() {
    radios.forEach((radio, which) => {
      radio.checked = state.answers[n] === which;
      radio.disabled = state.isShown;
    });
    truth.hidden = !state.isShown;
    if (!state.isShown) return truth.replaceChildren();
    const isRight = state.answers[n] === pair.composed;
    const words = LETTERS.map(
      (letter, which) => `${letter} is ${pair.names[which]}, ${which === pair.composed ? "composed" : "real"}`,
    );
    truth.replaceChildren(
      make("b", { class: isRight ? "right" : "wrong" }, isRight ? "Right." : "Wrong."),
      ` ${words.join("; ")}.`,
    );
  }

  return { element, show };
}

/** The sentences of the result. */
function resultWords(test, numRight) {
  const { interval, p_value: pValue } = test.results[numRight];
  const percent = (share) => `${Math.round(100 * share)}%`;
  const count = `${numRight} of ${test.pairs.length} right: ${percent(numRight / test.pairs.length)}`;
  const chance = `Guessing is right as often with a probability of ${pValue.toFixed(3)}.`;
  const verdict =
    pValue < 0.05
      ? "You tell composed from real excerpts."
      : "These answers do not show that you tell composed from real excerpts.";
  return `${count} (95% interval ${percent(interval[0])} to ${percent(interval[1])}; chance 50%). ${chance} ${verdict}`;
}

function startListeningTest() {
  const test = DATA.listening;
  if (!test) return;
  const [host, button, again, count, result] = ["pairs", "show", "again", "count", "result"].map((name) =>
    document.getElementById(`listening-${name}`),
  );
  const state = readAnswers(test);
  const cards = test.pairs.map((_, n) => pairCard(test, n, state, answer));
  host.append(...cards.map((card) => card.element));

  function answer(n, which) {
    state.answers[n] = which;
    update();
  }

  function update() {
    keepAnswers(test, state);
    cards.forEach((card) => card.show());
    const numAnswered = state.answers.filter((one) => one !== null).length;
    button.disabled = state.isShown || numAnswered < test.pairs.length;
    again.disabled = !numAnswered;
    count.textContent = `${numAnswered} of ${quantity(test.pairs.length, "pair")} answered`;
    const numRight = test.pairs.filter((pair, n) => pair.composed === state.answers[n]).length;
    result.textContent = state.isShown ? resultWords(test, numRight) : "";
  }

  button.addEventListener("click", () => {
    state.isShown = true;
    update();
  });
  again.addEventListener("click", () => {
    state.answers.fill(null);
    state.isShown = false;
    update();
  });
  update();
}
