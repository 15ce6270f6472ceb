// A map of B with square cells, the films' keyframes along both axes, marks and a crosshair. Python sends the
// cells once for a film pair (16-bit levels between the least and largest score) and keyframes when asked.
const PAGE = `
<div class="m2s-map-head"><b class="m2s-name"></b>
  <button type="button" class="m2s-less" title="smaller cells" aria-label="smaller cells">−</button>
  <button type="button" class="m2s-more" title="larger cells" aria-label="larger cells">+</button>
  <span>farthest</span><canvas class="m2s-scale" width="256" height="1" aria-hidden="true"></canvas>
  <span>nearest</span></div>
<div class="m2s-scroll"><div class="m2s-sheet">
  <div class="m2s-corner"><span class="m2s-name-b"></span><span class="m2s-name-a"></span></div>
  <div class="m2s-axis m2s-across" aria-hidden="true"></div><div class="m2s-axis m2s-down" aria-hidden="true"></div>
  <div class="m2s-plot" tabindex="0" role="application" aria-roledescription="heat map"><canvas></canvas>
    <div class="m2s-marks"></div></div></div></div>
<div class="m2s-read"></div>
<div class="m2s-pointer" hidden><img alt=""><img alt=""><p></p></div>`;
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const LEAST = 4, MOST = 32, TALL = 480, EVERY = 40;  // pixels: of a cell, of the map, from keyframe to keyframe
const short = x => Number(x).toPrecision(3).replace(/\.?0+$/, "");

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "m2s-map";
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  root.innerHTML = PAGE;
  el.append(root);
  const part = name => root.querySelector(name);
  const scroll = part(".m2s-scroll"), plot = part(".m2s-plot"), canvas = plot.querySelector("canvas");
  const axes = { a: part(".m2s-down"), b: part(".m2s-across") }, pointer = part(".m2s-pointer");
  const hex = model.get("palette"), palette = new Uint8Array(256 * 3);
  for (let k = 0; k < palette.length; k++) palette[k] = parseInt(hex.substr(2 * k, 2), 16);
  let data = null;      // { rows, columns, low, high, levels, shares }
  let size = 0, chosenSize = 0;  // pixels of a cell, and those that somebody asked for
  let cell = model.get("cell"), sent = null, waiting = false, hover = null;
  const pictures = new Map();  // "a:12" -> address of the keyframe, "" while it is asked for or where there is none
  let missing = [];

  const value = level => data.low + (data.high - data.low) * level / 65535;
  const level = (i, j) => data.levels[i * data.columns + j];
  const inside = (i, j) => data && i >= 0 && j >= 0 && i < data.rows && j < data.columns;

  function receive(msg, buffers) {
    if (msg.done && waiting) {
      waiting = false;
      if (String(sent) !== String(cell)) tell();
    }
    if (msg.pictures) {
      msg.pictures.forEach((key, k) => {
        const bytes = buffers[k];
        if (bytes.byteLength) pictures.set(key, URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" })));
      });
      drawAxes();
      if (hover) point();
    }
    if (msg.shape) cells(msg, buffers[0]);
  }

  function forget() {
    for (const url of pictures.values()) if (url) URL.revokeObjectURL(url);
    pictures.clear();
  }

  function cells(msg, bytes) {
    const [rows, columns] = msg.shape;
    const levels = new Uint16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
    const shares = new Float32Array(65536);
    for (let k = 0; k < levels.length; k++) shares[levels[k]] += 1;
    let below = 0;
    for (let k = 0; k < 65536; k++) { const count = shares[k]; shares[k] = below / levels.length; below += count; }
    data = { rows, columns, low: msg.low, high: msg.high, levels, shares };
    if (msg.films) forget();
    cell = model.get("cell");
    paint();
    layout();
    reach();
  }

  function paint() {   // one pixel a cell, enlarged by the browser; coloured by rank, one scale for all encoders
    const colours = Uint8Array.from(data.shares, t => Math.round(255 * t));
    const fill = (image, count, colour) => {
      for (let k = 0; k < count; k++) {
        const c = 3 * colour(k);
        for (let p = 0; p < 3; p++) image.data[4 * k + p] = palette[c + p];
        image.data[4 * k + 3] = 255;
      }
      return image;
    };
    canvas.width = data.columns; canvas.height = data.rows;
    const cellsImage = new ImageData(data.columns, data.rows);
    canvas.getContext("2d").putImageData(fill(cellsImage, data.levels.length, k => colours[data.levels[k]]), 0, 0);
    part(".m2s-scale").getContext("2d").putImageData(fill(new ImageData(256, 1), 256, k => k), 0, 0);
  }

  function layout() {   // the size of a cell, and all that hangs on it
    if (!data || !root.clientWidth) return;
    const fits = Math.floor(Math.min((root.clientWidth - 120) / data.columns, (TALL - 64) / data.rows));
    size = Math.max(LEAST, Math.min(chosenSize || fits, MOST));
    plot.style.width = axes.b.style.width = size * data.columns + "px";
    plot.style.height = axes.a.style.height = size * data.rows + "px";
    overlay();
    drawAxes();
  }

  function picture(side, shot) {
    const key = side + ":" + shot;
    if (!pictures.has(key)) { pictures.set(key, ""); missing.push(key); }
    return pictures.get(key);
  }

  function ask() {
    if (missing.length) model.send({ pictures: missing });
    missing = [];
  }

  function drawAxes() {   // keyframes and times of what can be seen
    if (!size) return;
    for (const [side, from, length, count] of [
      ["a", scroll.scrollTop, scroll.clientHeight, data.rows], ["b", scroll.scrollLeft, scroll.clientWidth, data.columns]]) {
      const starts = model.get("starts_" + side), items = [], far = side === "a" ? "top" : "left";
      const aspect = model.get("aspects")[side === "a" ? 0 : 1];
      const wide = side === "a" ? Math.min(56, 36 * aspect) : Math.min(38, 36 * aspect);
      for (let k = Math.max(0, Math.floor(from / EVERY) - 1); k * EVERY < Math.min(from + length, size * count); k++) {
        const shot = Math.min(Math.round(k * EVERY / size), count - 1), url = picture(side, shot);
        const item = document.createElement("span");
        item.style[far] = k * EVERY + "px";
        if (side === "a" || k % 2 === 0) item.append(starts[shot] || "shot " + shot);
        if (url) item.append(Object.assign(new Image(wide, wide / aspect), { src: url, alt: "" }));
        items.push(item);
      }
      const lit = [...axes[side].querySelectorAll(".m2s-lit")];
      axes[side].replaceChildren(...items, ...lit);
    }
    ask();
  }

  function cross(kind, at) {   // both scenes on the axes, and the lines to their cell
    const n = model.get("shots"), box = (parent, suffix) => {
      let e = parent.querySelector(`.${kind}.${suffix}`);
      if (!e) { e = document.createElement("div"); e.className = kind + " " + suffix; parent.append(e); }
      e.hidden = !at;
      return e.style;
    };
    for (const [k, axis, far, length] of [[0, "a", "top", "height"], [1, "b", "left", "width"]]) {
      const lit = box(axes[axis], "m2s-lit"), line = box(plot, "m2s-line-" + axis);
      if (!at) continue;
      lit[far] = size * at[k] + "px"; lit[length] = size * n + "px";
      line[far] = size * (at[k] + 0.5) - 0.5 + "px";
    }
    const frame = box(plot, "m2s-frame");
    if (at) Object.assign(frame, { top: size * at[0] + "px", left: size * at[1] + "px", width: size + "px", height: size + "px" });
  }

  function overlay() {   // marks and the chosen cell: cheap, on every step
    if (!size) return;
    const marks = model.get("marks").map(([i, j, rank, both]) => {
      const e = document.createElement("span");
      e.style.cssText = `top:${size * (i + 0.5)}px;left:${size * (j + 0.5)}px`;
      e.className = both ? "m2s-both" : "";
      if (rank < 10) e.dataset.rank = "#" + rank;
      return e;
    });
    part(".m2s-marks").replaceChildren(...marks);
    cross("m2s-chosen", cell);
    words();
  }

  function reach() {   // the chosen cell is to be seen
    const [y, x] = [size * cell[0], size * cell[1]], w = scroll.clientWidth - 120, h = scroll.clientHeight - 80;
    if (y < scroll.scrollTop || y > scroll.scrollTop + h) scroll.scrollTop = y - h / 2;
    if (x < scroll.scrollLeft || x > scroll.scrollLeft + w) scroll.scrollLeft = x - w / 2;
  }

  function said([i, j]) {
    const share = data.shares[level(i, j)], percent = Math.floor(1000 * share) / 10;
    const [a, b] = [model.get("starts_a")[i] || "shot " + i, model.get("starts_b")[j] || "shot " + j];
    return `A ${a} × B ${b}: nearer than ${percent} %`;
  }

  function words() {
    if (!inside(...cell)) return;
    part(".m2s-read").textContent = "chosen: " + said(cell);
    part(".m2s-read").title = "score " + short(value(level(...cell)));
  }

  function point() {   // both scenes' keyframes beside the pointer
    pointer.hidden = !hover;
    cross("m2s-hover", hover && hover.at);
    if (!hover) return;
    pointer.querySelectorAll("img").forEach((image, k) => {
      const url = picture("ab"[k], hover.at[k]);
      image.hidden = !url;
      if (url) image.src = url;
      image.style.aspectRatio = model.get("aspects")[k];
    });
    ask();
    pointer.querySelector("p").textContent = said(hover.at);
    const left = Math.min(hover.x + 16, innerWidth - pointer.offsetWidth - 8);
    pointer.style.left = left + "px";
    pointer.style.top = (hover.y + 200 > innerHeight ? hover.y - pointer.offsetHeight - 16 : hover.y + 16) + "px";
  }

  function tell() { sent = cell; waiting = true; model.send({ cell }); }

  function choose(i, j) {   // drawn at once; Python hears of the last cell when it has dealt with the one before
    if (!inside(i, j)) return false;
    cell = [i, j];
    overlay();
    reach();
    if (!waiting) tell();
    return true;
  }

  const at = e => {
    const r = plot.getBoundingClientRect();
    return [Math.floor((e.clientY - r.top) / size), Math.floor((e.clientX - r.left) / size)];
  };
  plot.addEventListener("click", e => { if (data) { choose(...at(e)); plot.focus({ preventScroll: true }); } });
  plot.addEventListener("mousemove", e => {
    hover = data && inside(...at(e)) ? { at: at(e), x: e.clientX, y: e.clientY } : null;
    point();
  });
  plot.addEventListener("mouseleave", () => { hover = null; point(); });
  plot.addEventListener("keydown", e => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.key === "Tab") return;
    e.stopPropagation();
    const step = STEPS[e.key], far = e.shiftKey ? model.get("shots") : 1;
    if (!step && !model.get("key_names").includes(e.key)) return;
    e.preventDefault();
    if (!step || !choose(cell[0] + far * step[0], cell[1] + far * step[1]))   // at an edge Python says why not
      model.send({ key: e.key, shift: e.shiftKey });
  });
  scroll.addEventListener("scroll", drawAxes);
  for (const [name, by] of [[".m2s-less", 1 / 1.5], [".m2s-more", 1.5]])
    part(name).addEventListener("click", () => {
      chosenSize = Math.max(LEAST, Math.min(Math.round(size * by), MOST)); layout(); reach();
    });

  const follow = () => {
    if (waiting && sent && String(sent) !== String(cell)) return;
    cell = model.get("cell"); overlay(); if (size) reach();
  };
  const say = () => {
    part(".m2s-name").textContent = model.get("head");
    model.get("titles").forEach((title, i) => {
      const name = part(i ? ".m2s-name-b" : ".m2s-name-a");
      name.textContent = (i ? "B → " : "A ↓ ") + title;
      name.title = title;
    });
    plot.setAttribute("aria-label", model.get("label"));
  };
  const events = [["change:cell", follow], ["change:marks", overlay],
    ["change:head change:titles change:label", say], ["msg:custom", receive]];
  const all = on => { for (const [names, handle] of events) for (const name of names.split(" ")) model[on](name, handle); };
  all("on");
  const watch = new ResizeObserver(layout);
  watch.observe(root);
  say();
  part(".m2s-read").textContent = "waiting for the scores …";
  model.send({ need: "cells" });
  return () => { watch.disconnect(); forget(); all("off"); };
}
export default { render };
