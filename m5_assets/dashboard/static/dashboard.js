/* Draw the charts from the JSON next to them and suggest item names. Everything else works without this script; the
   table below each chart has its data. */
"use strict";

const PHONE = 640;
const CONFIG = { responsive: true, scrollZoom: false, displayModeBar: false };

function draw(place) {
  const figure = JSON.parse(document.getElementById(place.dataset.figure).textContent);
  const narrow = window.innerWidth < PHONE;
  if (narrow) {
    figure.layout.font.size = 12;
    figure.layout.yaxis.title.text = "";
    Object.assign(figure.layout.legend, { y: -0.2, yanchor: "top", entrywidth: 140, font: { size: 12 } });
    figure.layout.xaxis.nticks = 4;
    figure.layout.dragmode = false; // a finger on the chart scrolls the page
    if (figure.layout.yaxis2) figure.layout.yaxis2.title.text = "";
  }
  place.replaceChildren();
  return Plotly.newPlot(place, figure.data, figure.layout, CONFIG);
}

function suggest(input, list) {
  let last = "";
  input.addEventListener("input", async () => {
    const typed = input.value.trim();
    if (typed.length < 2 || typed === last) return;
    last = typed;
    const answer = await fetch("/items.json?q=" + encodeURIComponent(typed));
    if (!answer.ok || typed !== last) return;
    list.replaceChildren(...(await answer.json()).map((name) => {
      const option = document.createElement("option");
      option.value = name;
      return option;
    }));
  });
}

document.addEventListener("DOMContentLoaded", async () => {
  const search = document.getElementById("q");
  if (search) suggest(search, document.getElementById("items"));
  const charts = [...document.querySelectorAll("[data-figure]")];
  if (charts.length && window.Plotly) await Promise.all(charts.map(draw));
  document.documentElement.dataset.drawn = String(charts.length);
});

for (const moment of ["beforeprint", "afterprint"]) {
  window.addEventListener(moment, () => {
    document.querySelectorAll("[data-figure]").forEach((place) => place.data && Plotly.Plots.resize(place));
  });
}
