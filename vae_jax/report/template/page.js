"use strict";
// Everything in its place.

document.body.append(tip);
startTransport();
startPieces();
document.querySelectorAll("[data-music]").forEach((host) => fillMusicList(host, DATA[host.dataset.music]));
if (document.getElementById("ways")) fillInterpolations(document.getElementById("ways"));
startMap();
if (document.getElementById("charts")) fillCurves(document.getElementById("charts"));
if (document.getElementById("ceiling-chart")) fillCeiling(document.getElementById("ceiling-chart"));
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawRolls);
