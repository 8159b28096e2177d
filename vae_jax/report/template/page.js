"use strict";
// Fills the page: called last, with all other scripts loaded.

document.body.append(tip);
startTransport();
startPieces();
document.querySelectorAll("[data-music]").forEach((host) => fillMusicList(host, DATA[host.dataset.music]));
const interpolationList = document.getElementById("interpolation-list");
if (interpolationList) fillInterpolations(interpolationList);
startMap();
startListeningTest();
if (document.getElementById("charts")) fillCurves(document.getElementById("charts"));
if (document.getElementById("ceiling-chart")) fillCeiling(document.getElementById("ceiling-chart"));
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawRolls);
