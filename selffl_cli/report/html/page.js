"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const NS = "http://www.w3.org/2000/svg";
  const node = (name, attributes, text) => {
    const made = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  // Tables: a head's button sorts by its column, numbers by their first number.
  const key = (cell) => {
    const found = cell.textContent.replace(/,/g, "").replace("−", "-").match(/^\s*[-+]?\d*\.?\d+(e[-+]?\d+)?/i);
    return cell.className === "number" ? (found ? Number(found[0]) : -Infinity) : cell.textContent.trim().toLowerCase();
  };
  for (const table of document.querySelectorAll("table.sorts")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows].map((row) => [key(row.cells[column]), row]);
      rows.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    }));
  }

  const number = (value) => {
    const size = Math.abs(value);
    if (size >= 1e9) return `${+(value / 1e9).toPrecision(3)} G`;
    if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)} M`;
    if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)} k`;
    return String(+value.toPrecision(4));
  };
  const ticks = (low, high, count) => {
    const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].find((factor) => factor * power >= raw) * power, made = [];
    for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) made.push(+at.toPrecision(12));
    return made;
  };
  // A frame with ticks; returns the two scales.
  const frame = (svg, box, xs, ys, xName, yName) => {
    svg.replaceChildren();
    const x = (value) => box.left + (value - xs[0]) / (xs[1] - xs[0] || 1) * box.width;
    const y = (value) => box.top + box.height - (value - ys[0]) / (ys[1] - ys[0] || 1) * box.height;
    for (const at of ticks(ys[0], ys[1], 6)) {
      svg.append(node("line", { class: "grid", x1: box.left, x2: box.left + box.width, y1: y(at), y2: y(at) }));
      svg.append(node("text", { x: box.left - 8, y: y(at) + 4, "text-anchor": "end" }, number(at)));
    }
    for (const at of ticks(xs[0], xs[1], 7)) {
      svg.append(node("line", { class: "grid", x1: x(at), x2: x(at), y1: box.top, y2: box.top + box.height }));
      svg.append(node("text", { x: x(at), y: box.top + box.height + 18, "text-anchor": "middle" }, number(at)));
    }
    svg.append(node("text", { x: box.left + box.width / 2, y: box.top + box.height + 38, "text-anchor": "middle" }, xName));
    const turned = `translate(14 ${box.top + box.height / 2}) rotate(-90)`;
    svg.append(node("text", { transform: turned, "text-anchor": "middle" }, yName));
    return { x, y };
  };
  // Buttons that show and hide methods.
  const legend = (place, series, hidden, redraw) => {
    place.replaceChildren();
    for (const one of series) {
      const button = document.createElement("button"), swatch = document.createElement("span");
      button.type = "button";
      swatch.className = "swatch";
      swatch.style.borderColor = one.colour === "#000000" ? "currentColor" : one.colour;
      if (one.dash) swatch.style.borderTopStyle = "dashed";
      button.append(swatch, one.label);
      button.setAttribute("aria-pressed", String(!hidden.has(one.label)));
      button.addEventListener("click", () => {
        if (!hidden.delete(one.label)) hidden.add(one.label);
        button.setAttribute("aria-pressed", String(!hidden.has(one.label)));
        redraw();
      });
      place.append(button);
    }
  };
  const black = (one) => (one.colour === "#000000" ? "black" : "");

  const curves = JSON.parse($("curves").textContent), plot = $("plot"), hidden = new Set();
  const box = { left: 64, top: 14, width: 816, height: 350 };
  let range = null, scales = null, shown = [];
  const fill = (select, values) => {
    for (const [value, text] of values) select.append(new Option(text, value));
    select.addEventListener("change", () => { range = null; draw(); });
  };
  const distinct = (name) => [...new Set(curves.series.map((one) => one[name]))].map((value) => [value, value]);
  fill($("what"), distinct("what"));
  fill($("axis"), Object.entries(curves.axes));
  fill($("setting"), distinct("setting"));
  $("setting-label").hidden = distinct("setting").length < 2;

  const draw = () => {
    const axis = $("axis").value;
    shown = curves.series.filter((one) => one.what === $("what").value && one.setting === $("setting").value);
    legend($("legend"), shown, hidden, draw);
    shown = shown.filter((one) => !hidden.has(one.label));
    const points = shown.flatMap((one) => one.lines[axis]).filter((point) => point[0] !== null && point[1] !== null);
    const xs = range || (points.length ? [Math.min(...points.map((p) => p[0])), Math.max(...points.map((p) => p[0]))] : [0, 1]);
    const inside = points.filter((point) => point[0] >= xs[0] && point[0] <= xs[1]);
    const low = Math.min(...inside.map((p) => p[1])), high = Math.max(...inside.map((p) => p[1]));
    const pad = (high - low) * 0.06 || 1;
    scales = frame(plot, box, xs, inside.length ? [low - pad, high + pad] : [0, 1], curves.axes[axis], curves.unit);
    plot.append(node("clipPath", { id: "inside" }));
    plot.lastChild.append(node("rect", { x: box.left, y: box.top, width: box.width, height: box.height }));
    const group = node("g", { "clip-path": "url(#inside)" });
    for (const one of shown) {
      const line = one.lines[axis].filter((point) => point[0] !== null && point[1] !== null);
      const banded = line.filter((point) => point[2] !== null);
      const at = (value, side) => `${scales.x(value[0])},${scales.y(value[1] + side * (value[2] || 0))}`;
      if (banded.length > 1) {
        const around = [...banded.map((p) => at(p, 1)), ...banded.map((p) => at(p, -1)).reverse()];
        group.append(node("polygon", { points: around.join(" "), fill: one.colour, opacity: 0.13, class: black(one) }));
      }
      group.append(node("polyline", { points: line.map((p) => at(p, 0)).join(" "), fill: "none", stroke: one.colour,
        "stroke-width": 2.2, "stroke-dasharray": one.dash, class: black(one) }));
    }
    plot.append(group);
    numbers(axis);
  };
  const numbers = (axis) => {
    const table = document.createElement("table"), head = table.createTHead().insertRow();
    const cell = (row, text) => { row.insertCell().textContent = text; };
    [curves.axes[axis], "method", curves.unit, "95 % half-width"].forEach((text) => cell(head, text));
    const body = table.createTBody();
    for (const one of shown) for (const [x, mean, half] of one.lines[axis]) {
      const row = body.insertRow();
      [number(x ?? NaN), one.label, String(mean ?? "–"), half === null ? "withheld" : String(half)].forEach((text) => cell(row, text));
    }
    $("numbers").replaceChildren(table);
  };
  const value = (event) => {
    const bounds = plot.getBoundingClientRect();
    return (event.clientX - bounds.left) / bounds.width * 900;
  };
  const inverse = (pixel) => {
    const left = scales.x(0), unit = scales.x(1) - left;
    return (pixel - left) / unit;
  };
  let from = null, cursor = null;
  plot.addEventListener("pointerdown", (event) => { from = value(event); });
  plot.addEventListener("pointermove", (event) => {
    const pixel = Math.max(box.left, Math.min(box.left + box.width, value(event))), at = inverse(pixel);
    cursor?.remove();
    cursor = from === null
      ? node("line", { class: "cursor", x1: pixel, x2: pixel, y1: box.top, y2: box.top + box.height })
      : node("rect", { class: "zoom", x: Math.min(from, pixel), width: Math.abs(pixel - from), y: box.top, height: box.height });
    plot.append(cursor);
    const axis = $("axis").value;
    const near = shown.map((one) => {
      const line = one.lines[axis].filter((point) => point[0] !== null);
      const best = line.reduce((a, b) => (Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a), line[0]);
      return best ? `${one.label} ${best[1]}${best[2] === null ? "" : ` ± ${best[2]}`} (at ${number(best[0])})` : "";
    });
    $("hover").textContent = near.filter(Boolean).join("; ");
  });
  window.addEventListener("pointerup", (event) => {
    if (from !== null && Math.abs(value(event) - from) > 8) {
      range = [inverse(Math.min(from, value(event))), inverse(Math.max(from, value(event)))];
      draw();
    }
    from = null;
  });
  plot.addEventListener("dblclick", () => { range = null; draw(); });
  $("reset").addEventListener("click", () => { range = null; draw(); });
  if (curves.series.length) draw(); else $("chart").hidden = true;

  const clients = JSON.parse($("clients").textContent), place = $("client-plot"), away = new Set();
  const scatter = () => {
    const series = clients.series.filter((one) => !away.has(one.label)), all = series.flatMap((one) => one.points);
    if (!all.length) { place.replaceChildren(); return; }
    const span = (column) => [Math.min(...all.map((p) => p[column])), Math.max(...all.map((p) => p[column]))];
    const ys = span(1);
    const scale = frame(place, { left: 64, top: 14, width: 816, height: 290 }, span(0), [Math.min(ys[0], 0) - 2, Math.max(ys[1], 0) + 2],
      "training samples of the client", "gain (points)");
    for (const one of series) for (const [x, y] of one.points) {
      place.append(node("circle", { cx: scale.x(x), cy: scale.y(y), r: 3, fill: one.colour, opacity: 0.45, class: black(one) }));
    }
  };
  if (place && clients.series.length) { legend($("client-legend"), clients.series, away, scatter); scatter(); }
})();
