// A heat map of B that draws marks, the chosen cell and its neighbourhood by itself; Python sends the cells
// once for a film pair and then only words. Cells are 16-bit levels between the least and largest score.
const PAGE = `
<div class="m2s-map-head"></div>
<div class="m2s-map-body">
  <figure class="m2s-map-main">
    <div class="m2s-axis m2s-name-b"></div>
    <div class="m2s-grid"><div></div><div class="m2s-ticks m2s-across" aria-hidden="true"></div>
      <div class="m2s-ticks m2s-down" aria-hidden="true"></div>
      <div class="m2s-plot" tabindex="0" role="application" aria-roledescription="heat map"
        ><canvas></canvas><canvas></canvas></div></div>
    <div class="m2s-axis m2s-name-a"></div>
    <div class="m2s-bar-row"><span class="m2s-low"></span><canvas width="256" height="1" aria-hidden="true"></canvas
      ><span class="m2s-high"></span><span class="m2s-what"></span></div>
  </figure>
  <div class="m2s-map-side"><div><div class="m2s-axis">neighbourhood of the chosen pair</div>
    <div class="m2s-zoom" role="img"><canvas></canvas></div><div class="m2s-read"></div></div>
    <div class="m2s-map-facts" aria-live="polite"></div></div>
</div>`;
const MARK = "#D55E00", STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const short = x => Number(x).toPrecision(3).replace(/\.?0+$/, "");

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "m2s-map";
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  root.innerHTML = PAGE;
  el.append(root);
  const part = name => root.querySelector(name);
  const plot = part(".m2s-plot"), [under, over] = plot.querySelectorAll("canvas");
  const zoomBox = part(".m2s-zoom"), zoom = zoomBox.querySelector("canvas"), read = part(".m2s-read");
  const hex = model.get("palette"), palette = new Uint8Array(256 * 3);
  for (let k = 0; k < palette.length; k++) palette[k] = parseInt(hex.substr(2 * k, 2), 16);
  let data = null;      // { rows, columns, low, high, levels, shares }
  let colours = null;   // colour number of each of the 65,536 levels
  let picture = null;   // the whole map, one pixel a cell
  let cell = model.get("cell"), sent = null, waiting = false, hover = null;

  const value = level => data.low + (data.high - data.low) * level / 65535;
  const level = (i, j) => data.levels[i * data.columns + j];
  const inside = (i, j) => data && i >= 0 && j >= 0 && i < data.rows && j < data.columns;

  function receive(msg, buffers) {
    if (msg.done && waiting) {
      waiting = false;
      if (String(sent) !== String(cell)) tell();
    }
    if (!msg.shape) return;
    const bytes = buffers[0], [rows, columns] = msg.shape;
    const levels = new Uint16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
    const shares = new Float32Array(65536);
    for (let k = 0; k < levels.length; k++) shares[levels[k]] += 1;
    let below = 0;
    for (let k = 0; k < 65536; k++) { const count = shares[k]; shares[k] = below / levels.length; below += count; }
    data = { rows, columns, low: msg.low, high: msg.high, levels, shares };
    cell = model.get("cell");
    paint();
  }

  function paint() {   // the cells in colour: on new cells and on another scale only
    if (!data) return;
    const share = model.get("colours") === "share", [low, high] = model.get("limits");
    colours = new Uint8Array(65536);
    for (let k = 0; k < 65536; k++) {
      const t = share ? data.shares[k] : (value(k) - low) / (high - low || 1);
      colours[k] = Math.max(0, Math.min(255, Math.round(255 * t)));
    }
    const image = new ImageData(data.columns, data.rows);
    for (let k = 0; k < data.levels.length; k++) {
      const c = 3 * colours[data.levels[k]];
      image.data[4 * k] = palette[c]; image.data[4 * k + 1] = palette[c + 1];
      image.data[4 * k + 2] = palette[c + 2]; image.data[4 * k + 3] = 255;
    }
    picture = document.createElement("canvas");
    picture.width = data.columns; picture.height = data.rows;
    picture.getContext("2d").putImageData(image, 0, 0);
    const bar = part(".m2s-bar-row canvas").getContext("2d"), strip = new ImageData(256, 1);
    for (let k = 0; k < 256; k++) {
      for (let c = 0; c < 3; c++) strip.data[4 * k + c] = palette[3 * k + c];
      strip.data[4 * k + 3] = 255;
    }
    bar.putImageData(strip, 0, 0);
    part(".m2s-low").textContent = share ? "0 %" : short(low);
    part(".m2s-high").textContent = share ? "100 %" : short(high);
    part(".m2s-what").textContent = share ? "of windows score lower" : "score";
    layout();
  }

  function layout() {   // sizes, ticks, and the lower canvas
    if (!picture) return;
    const width = plot.clientWidth;
    if (!width) return;
    const height = Math.round(Math.max(120, Math.min(300, width * data.rows / data.columns)));
    plot.style.height = height + "px";
    const ratio = window.devicePixelRatio || 1;
    for (const canvas of [under, over]) {
      canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    }
    const context = under.getContext("2d");
    context.imageSmoothingEnabled = under.width < data.columns || under.height < data.rows;
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, 0, 0, under.width, under.height);
    ticks(part(".m2s-across"), data.columns, "left", width, 44);
    ticks(part(".m2s-down"), data.rows, "top", height, 30);
    overlay();
  }

  function ticks(box, count, side, pixels, room) {
    const least = count / Math.max(1, Math.floor(pixels / room));
    const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find(s => s >= least) || 10000;
    box.replaceChildren();
    for (let k = 0; k < count; k += step) {
      const span = document.createElement("span");
      span.textContent = k;
      span.style[side] = 100 * (k + 0.5) / count + "%";
      box.append(span);
    }
  }

  function ring(context, x, y, radius, width) {
    for (const [colour, thick] of [["#fff", width + 2], [MARK, width]]) {
      context.beginPath(); context.arc(x, y, radius, 0, 7);
      context.lineWidth = thick; context.strokeStyle = colour; context.stroke();
    }
  }

  function label(context, text, x, y, size) {
    context.font = `bold ${size}px sans-serif`;
    context.lineWidth = size / 4; context.lineJoin = "round"; context.strokeStyle = "#000"; context.fillStyle = "#fff";
    context.textBaseline = "middle";
    context.strokeText(text, x, y); context.fillText(text, x, y);
  }

  function frame(context, x, y, w, h, ratio) {
    for (const [colour, thick] of [["#000", 4], ["#fff", 2]]) {
      context.lineWidth = thick * ratio; context.strokeStyle = colour; context.strokeRect(x, y, w, h);
    }
  }

  function overlay() {   // marks and the chosen cell, and the neighbourhood: cheap, on every step
    if (!picture) return;
    const context = over.getContext("2d"), ratio = window.devicePixelRatio || 1;
    const across = over.width / data.columns, down = over.height / data.rows;
    context.clearRect(0, 0, over.width, over.height);
    const [i, j] = cell, marks = model.get("marks");
    context.fillStyle = "rgba(255,255,255,.55)";
    context.fillRect(0, (i + 0.5) * down - ratio / 2, over.width, ratio);
    context.fillRect((j + 0.5) * across - ratio / 2, 0, ratio, over.height);
    for (const [r, c] of marks) ring(context, (c + 0.5) * across, (r + 0.5) * down, 4.5 * ratio, 2 * ratio);
    marks.slice(0, 9).forEach(([r, c, rank]) => {
      const right = (c + 0.5) * across + 20 * ratio < over.width;
      context.textAlign = right ? "left" : "right";
      label(context, "#" + rank, (c + 0.5) * across + (right ? 10 : -10) * ratio, (r + 0.5) * down, 11 * ratio);
    });
    const w = Math.max(across, 9 * ratio), h = Math.max(down, 9 * ratio);
    frame(context, (j + 0.5) * across - w / 2, (i + 0.5) * down - h / 2, w, h, ratio);
    drawZoom(ratio, marks);
    words();
  }

  function bounds() {   // rows and columns of the neighbourhood: one scene to each side
    const half = Math.max(4, Math.min(model.get("shots"), 20));
    return [cell[0] - half, cell[1] - half, 2 * half + 1];
  }

  function drawZoom(ratio, marks) {
    const side = Math.round(208 * ratio), [top, left, count] = bounds(), size = side / count;
    zoom.width = zoom.height = side;
    const context = zoom.getContext("2d");
    for (let r = 0; r < count; r++) for (let c = 0; c < count; c++) {
      const i = top + r, j = left + c;
      if (!inside(i, j)) continue;
      const k = 3 * colours[level(i, j)];
      context.fillStyle = `rgb(${palette[k]},${palette[k + 1]},${palette[k + 2]})`;
      context.fillRect(Math.floor(c * size), Math.floor(r * size), Math.ceil(size), Math.ceil(size));
    }
    for (const [i, j, rank] of marks) {
      const x = (j - left + 0.5) * size, y = (i - top + 0.5) * size;
      if (x < 0 || y < 0 || x > side || y > side) continue;
      ring(context, x, y, Math.max(0.45 * size, 5 * ratio), 2 * ratio);
      context.textAlign = x > side - 30 * ratio ? "right" : "left";
      label(context, "#" + rank, x + (context.textAlign === "left" ? 0.7 : -0.7) * size, y, 11 * ratio);
    }
    frame(context, (cell[1] - left) * size, (cell[0] - top) * size, size, size, ratio);
  }

  function words() {
    const [i, j] = hover || cell;
    if (!inside(i, j)) return;
    const a = model.get("starts_a")[i] || "", b = model.get("starts_b")[j] || "";
    const said = `A ${a || "shot " + i} × B ${b || "shot " + j}: ${short(value(level(i, j)))}`;
    read.textContent = (hover ? "under the pointer: " : "chosen: ") + said;
    zoomBox.setAttribute("aria-label", "neighbourhood of the chosen scene pair, " + said);
  }

  function tell() { sent = cell; waiting = true; model.send({ cell }); }

  function choose(i, j) {   // drawn at once; Python hears of the last cell when it has dealt with the one before
    if (!inside(i, j)) return false;
    cell = [i, j]; hover = null;
    overlay();
    if (!waiting) tell();
    return true;
  }

  const at = (event, box, top, left, rows, columns) => {
    const r = box.getBoundingClientRect();
    return [top + Math.floor((event.clientY - r.top) / r.height * rows),
      left + Math.floor((event.clientX - r.left) / r.width * columns)];
  };
  const onPlot = e => at(e, plot, 0, 0, data.rows, data.columns);
  const onZoom = e => { const [top, left, count] = bounds(); return at(e, zoom, top, left, count, count); };
  for (const [box, where] of [[plot, onPlot], [zoomBox, onZoom]]) {
    box.addEventListener("click", e => { if (data) { choose(...where(e)); plot.focus({ preventScroll: true }); } });
    box.addEventListener("mousemove", e => {
      if (!data) return;
      const found = where(e);
      hover = inside(...found) ? found : null;
      words();
    });
    box.addEventListener("mouseleave", () => { hover = null; if (data) words(); });
  }
  plot.addEventListener("keydown", e => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.key === "Tab") return;
    e.stopPropagation();
    const step = STEPS[e.key], far = e.shiftKey ? model.get("shots") : 1;
    if (!step && !model.get("key_names").includes(e.key)) return;
    e.preventDefault();
    if (!step || !choose(cell[0] + far * step[0], cell[1] + far * step[1]))   // at an edge Python says why not
      model.send({ key: e.key, shift: e.shiftKey });
  });

  const follow = () => { if (waiting && sent && String(sent) !== String(cell)) return; cell = model.get("cell"); overlay(); };
  const say = () => {
    part(".m2s-map-head").textContent = model.get("head");
    part(".m2s-name-b").textContent = "→ first shot of the scene in B: " + model.get("titles")[1];
    part(".m2s-name-a").textContent = "↓ first shot of the scene in A: " + model.get("titles")[0];
    part(".m2s-map-facts").innerHTML = model.get("facts");
    plot.setAttribute("aria-label", model.get("label"));
  };
  const heard = [["change:cell", follow], ["change:marks", overlay], ["change:colours change:limits", paint],
    ["change:head change:titles change:facts change:label", say], ["msg:custom", receive]];
  for (const [events, handler] of heard) for (const event of events.split(" ")) model.on(event, handler);
  const watch = new ResizeObserver(layout);
  watch.observe(plot);
  say();
  read.textContent = "waiting for the scores …";
  model.send({ need: "cells" });
  return () => {
    watch.disconnect();
    for (const [events, handler] of heard) for (const event of events.split(" ")) model.off(event, handler);
  };
}
export default { render };
