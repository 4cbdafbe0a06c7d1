"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const chart = data.chart;
  if (!chart || !chart.times.length) return;
  const byId = (id) => document.getElementById(id);
  const [svg, area, cursor, at, readout] = ["svg", "area", "cursor", "at", "readout"].map(byId);
  const labels = [...byId("x").children];
  const markers = [...area.querySelectorAll(".marker")];
  const full = chart.width;
  const least = full / 2000;
  let left = 0;
  let width = full;

  const xOf = (seconds) => ((seconds - chart.first) / chart.length) * full;
  const text = (seconds) => new Date(seconds * 1000).toISOString().replace("T", " ").slice(0, 16);

  function draw() {
    svg.setAttribute("viewBox", `${left} 0 ${width} ${chart.height}`);
    for (const marker of markers) {
      const share = (Number(marker.dataset.x) - left) / width;
      marker.hidden = share < 0 || share > 1;
      marker.style.left = `${share * 100}%`;
    }
    labels.forEach((label, n) => {
      const x = left + (width * n) / (labels.length - 1);
      label.textContent = text(chart.first + (x / full) * chart.length);
    });
  }

  function show(from, to) {
    width = Math.min(full, Math.max(least, to - from));
    left = Math.min(full - width, Math.max(0, from));
    draw();
  }

  function look(n) {
    const score = chart.scores[n];
    const x = xOf(chart.times[n]);
    at.value = n;
    at.setAttribute("aria-valuetext", text(chart.times[n]));
    cursor.setAttribute("d", `M${x} 0V${chart.height}`);
    cursor.setAttribute("visibility", "visible");
    const value = score === null ? "no data" : `score ${score}`;
    readout.textContent = `${text(chart.times[n])} UTC: ${value}`;
    if (x < left || x > left + width) show(x - width / 2, x + width / 2);
  }

  function nearest(seconds) {
    let low = 0;
    let high = chart.times.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (chart.times[middle] <= seconds) low = middle;
      else high = middle;
    }
    return seconds - chart.times[low] <= chart.times[high] - seconds ? low : high;
  }

  const moves = {
    in: () => show(left + width / 4, left + (3 * width) / 4),
    out: () => show(left - width / 2, left + (3 * width) / 2),
    earlier: () => show(left - width / 2, left + width / 2),
    later: () => show(left + width / 2, left + (3 * width) / 2),
    all: () => show(0, full),
  };

  area.addEventListener("pointermove", (event) => {
    const box = area.getBoundingClientRect();
    const x = left + ((event.clientX - box.left) / box.width) * width;
    look(nearest(chart.first + (x / full) * chart.length));
  });
  at.addEventListener("input", () => look(Number(at.value)));
  for (const button of document.querySelectorAll("button[data-zoom]")) {
    button.addEventListener("click", () => moves[button.dataset.zoom]());
  }
  for (const button of document.querySelectorAll("button[data-from]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const [from, to] = [Number(button.dataset.from), Number(button.dataset.to)].map(xOf);
      const room = Math.max(least, (to - from) / 4);
      show(from - room, to + room);
      look(nearest(Number(button.dataset.from)));
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      area.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
    });
  }
  at.max = chart.times.length - 1;
  byId("controls").hidden = false;
})();
