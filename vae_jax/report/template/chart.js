"use strict";
// Line charts and scatters as SVG, with the values at the pointer as text.

const CHART_HEIGHT = 260;
const CHART_EDGES = { left: 56, right: 14, top: 12, bottom: 40 };

/** About five round numbers between two ends. */
function ticks(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const first = Math.ceil(low / step - 1e-9) * step;
  return Array.from({ length: Math.floor((high - first) / step + 1e-9) + 1 }, (_, n) => first + n * step);
}

function powersOfTen(low, high) {
  const first = Math.ceil(Math.log10(low)),
    last = Math.floor(Math.log10(high));
  const powers = Array.from({ length: Math.max(0, last - first + 1) }, (_, n) => 10 ** (first + n));
  return powers.length >= 2 ? powers : ticks(low, high).filter((value) => value > 0);
}

/** The mark of a series' points: circles for the first, triangles for the next. */
function markOf(n) {
  return SHAPES[n === 1 ? 2 : 0];
}

function number(value) {
  return Number(value.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 });
}

/**
 * Draws a chart.
 *
 * @param series list of { name, points: [[x, y, label?]], kind: "line" | "dots" | "constant" }.
 * @param diagonal whether to draw the line on which both values are equal.
 * @param logarithmic whether the vertical axis is logarithmic; values of zero and below are left out.
 */
function chart(host, { title, x, y, series, logarithmic = false, diagonal = false }) {
  const figure = make("figure", { class: "chart" });
  const svg = make("svg", { role: "img", height: CHART_HEIGHT });
  const shown = series
    .map((one) => ({ ...one, points: one.points.filter((point) => !logarithmic || point[1] > 0) }))
    .filter((one) => one.points.length);
  if (!shown.length) return;
  const last = shown
    .filter((one) => one.kind === "line")
    .map((one) => `${one.name} ends at ${number(one.points.at(-1)[1])}`);
  svg.setAttribute("aria-label", `${title}: ${y} by ${x}. ${last.join("; ")}`);
  const key = make("p", { class: "key" });
  shown.forEach((one, n) => {
    const sign =
      one.kind === "dots"
        ? make(
            "svg",
            { viewBox: "-8 -8 16 16", width: 14, height: 14, "aria-hidden": "true" },
            make("path", { class: `dot-${n}`, d: markOf(n) }),
          )
        : make("span", { class: `stroke stroke-${n} ${one.kind}` });
    key.append(make("span", {}, sign, ` ${one.name}`));
  });
  figure.append(make("figcaption", {}, title), svg, key);
  host.append(figure);

  const points = shown.flatMap((one) => one.points);
  const forX = shown.filter((one) => one.kind !== "constant").flatMap((one) => one.points);
  const [xLow, xHigh] = ends(
    (forX.length ? forX : points).map((point) => point[0]),
    false,
  );
  const [yLow, yHigh] = ends(
    points.map((point) => point[1]),
    logarithmic,
  );
  const bend = logarithmic ? Math.log : (value) => value;
  let places = [];

  function draw() {
    const width = figure.clientWidth;
    if (!width) return;
    const { left, right, top, bottom } = CHART_EDGES;
    const atX = (value) => left + ((value - xLow) / (xHigh - xLow)) * (width - left - right);
    const atY = (value) =>
      CHART_HEIGHT -
      bottom -
      ((bend(value) - bend(yLow)) / (bend(yHigh) - bend(yLow))) * (CHART_HEIGHT - top - bottom);
    svg.setAttribute("width", width);
    svg.replaceChildren();
    for (const value of logarithmic ? powersOfTen(yLow, yHigh) : ticks(yLow, yHigh)) {
      svg.append(
        make("line", { class: "grid", x1: left, x2: width - right, y1: atY(value), y2: atY(value) }),
      );
      svg.append(make("text", { x: left - 6, y: atY(value) + 4, "text-anchor": "end" }, number(value)));
    }
    for (const value of ticks(xLow, xHigh)) {
      svg.append(
        make(
          "text",
          { x: atX(value), y: CHART_HEIGHT - bottom + 16, "text-anchor": "middle" },
          number(value),
        ),
      );
    }
    svg.append(
      make(
        "text",
        { x: (left + width - right) / 2, y: CHART_HEIGHT - 6, "text-anchor": "middle", class: "axis" },
        x,
      ),
    );
    svg.append(
      make(
        "text",
        {
          transform: `translate(13 ${(CHART_HEIGHT - bottom + top) / 2}) rotate(-90)`,
          "text-anchor": "middle",
          class: "axis",
        },
        y,
      ),
    );
    if (diagonal) {
      const low = Math.max(xLow, yLow),
        high = Math.min(xHigh, yHigh);
      if (high > low)
        svg.append(
          make("line", { class: "diagonal", x1: atX(low), y1: atY(low), x2: atX(high), y2: atY(high) }),
        );
    }
    places = [];
    shown.forEach((one, n) => drawSeries(one, n, atX, atY, width));
  }

  function drawSeries(one, n, atX, atY, width) {
    if (one.kind === "constant") {
      const at = atY(one.points[0][1]);
      svg.append(
        make("line", {
          class: `stroke-${n} constant`,
          x1: CHART_EDGES.left,
          x2: width - CHART_EDGES.right,
          y1: at,
          y2: at,
        }),
      );
      return;
    }
    const coordinates = one.points.map((point) => [atX(point[0]), atY(point[1])]);
    if (one.kind === "line")
      svg.append(
        make("polyline", {
          class: `stroke-${n}`,
          points: coordinates.map((pair) => pair.join(",")).join(" "),
        }),
      );
    coordinates.forEach(([cx, cy], index) => {
      const [px, py, label] = one.points[index];
      const values = label ?? `${x} ${number(px)}: ${number(py)}`;
      places.push({ x: cx, y: cy, text: `${one.name}, ${values}` });
      const small = one.kind === "dots" ? 0.8 : 0.5;
      if (one.kind === "dots" || one.points.length < 40) {
        svg.append(
          make("path", {
            class: `dot-${n}`,
            d: markOf(n),
            transform: `translate(${cx} ${cy}) scale(${small})`,
          }),
        );
      }
    });
  }

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const spot = nearest(places, event.clientX - box.left, event.clientY - box.top);
    if (spot && Math.hypot(spot.x - event.clientX + box.left, spot.y - event.clientY + box.top) < 24)
      showTip(spot.text, event);
    else hideTip();
  });
  svg.addEventListener("pointerleave", hideTip);
  onResize(figure, draw);
}

function ends(values, logarithmic) {
  const low = Math.min(...values),
    high = Math.max(...values);
  if (logarithmic) return [low / 1.2, high * 1.2];
  const margin = high > low ? 0.04 * (high - low) : Math.max(1, Math.abs(high)) * 0.1;
  return [low - margin, high + margin];
}

/** Learning curves, and rate against distortion by epoch. */
function fillCurves(host) {
  const subsets = [
    ["train", "training"],
    ["held_out", "held-out"],
  ];
  const line = (x, name) => (subset, label) => ({
    name: label,
    kind: "line",
    points: DATA.log
      .filter((row) => `${subset}_${name}` in row && (x === "epoch" || `${subset}_${x}` in row))
      .map((row) => [
        x === "epoch" ? row.epoch : row[`${subset}_${x}`],
        row[`${subset}_${name}`],
        x === "epoch"
          ? undefined
          : `epoch ${row.epoch}: ${number(row[`${subset}_${x}`])} nats, ${number(row[`${subset}_${name}`])}`,
      ]),
  });
  const both = (x, name) => subsets.map(([subset, label]) => line(x, name)(subset, label));
  const constants = Object.entries(DATA.constants).map(([name, value]) => ({
    name,
    kind: "constant",
    points: [[0, value]],
  }));
  chart(host, { title: "Loss", x: "epoch", y: "loss", series: [...both("epoch", "loss"), ...constants] });
  chart(host, {
    title: "Rate",
    x: "epoch",
    y: "KL (nats per example)",
    series: both("epoch", "kl_nats"),
    logarithmic: true,
  });
  chart(host, {
    title: "Rate against distortion, one dot per epoch",
    x: "rate: KL (nats per example)",
    y: "distortion",
    series: both("kl_nats", "distortion"),
  });
}

/** The ceiling of each piece against the score of its reconstruction. */
function fillCeiling(host) {
  const name = "note_f1_instrument";
  const dots = (isHeldOut) =>
    DATA.pieces
      .filter((piece) => piece.held_out === isHeldOut && name in piece.scores)
      .map((piece) => {
        const ceiling = piece.scores[`ceiling_${name}`],
          score = piece.scores[name];
        return [ceiling, score, `${piece.name}: ceiling ${ceiling.toFixed(3)}, model ${score.toFixed(3)}`];
      });
  chart(host, {
    title: "Each file: its ceiling and its reconstruction, with instruments",
    x: "ceiling",
    y: "model",
    diagonal: true,
    series: [
      { name: "training", kind: "dots", points: dots(false) },
      { name: "held-out", kind: "dots", points: dots(true) },
    ],
  });
}
