// A piece of a screen: HTML from Python, clicks and keys sent back; the browser alone copies code, enlarges a
// picture under the pointer, keeps players that play, and marks the shot that is playing.
const clips = new Map();  // name -> address of a received file; shared by all panels of this kind

function keep(name, data) {
  if (clips.has(name)) URL.revokeObjectURL(clips.get(name));
  clips.delete(name);
  clips.set(name, URL.createObjectURL(new Blob([data], { type: "video/mp4" })));
  while (clips.size > 12) {
    const oldest = clips.keys().next().value;
    URL.revokeObjectURL(clips.get(oldest));
    clips.delete(oldest);
  }
}

function copied(button) {
  const pre = button.parentElement.querySelector("pre"), range = document.createRange(), words = button.textContent;
  range.selectNodeContents(pre);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  button.textContent = document.execCommand("copy") ? "copied" : "selected: press Ctrl+C";
  setTimeout(() => { button.textContent = words; }, 1500);
}

/** The picture under the pointer, larger, beside it; returns what takes it away. */
function enlarge(root) {
  const large = document.createElement("img");
  large.className = "m2s-large";
  large.alt = "";
  const away = () => large.remove();
  root.addEventListener("mouseover", e => {
    const small = e.target.closest(".m2s-strip img, .m2s-card img");
    if (!small || e.target.closest("dialog")) return away();
    const box = small.getBoundingClientRect(), aspect = box.width / box.height;
    const width = Math.min(480, 2.2 * box.width), height = width / aspect;
    large.src = small.src;
    const left = Math.max(8, Math.min(box.left + box.width / 2 - width / 2, innerWidth - width - 8));
    const top = box.bottom + 8 + height < innerHeight ? box.bottom + 8 : Math.max(8, box.top - height - 8);
    large.style.cssText = `width:${width}px;height:${height}px;left:${left}px;top:${top}px`;
    document.body.append(large);
  });
  root.addEventListener("mouseleave", away);
  root.addEventListener("click", away);
  return away;
}

/** Marks the shot of a strip that a video shows, and keeps the videos of a pair in step. */
function watch(video) {
  const together = video.closest(".m2s-together");
  const others = () => together ? [...together.querySelectorAll("video[src]")].filter(v => v !== video) : [];
  video.addEventListener("play", () => others().forEach(v => v.paused && v.play().catch(() => {})));
  video.addEventListener("pause", () => video.isConnected && others().forEach(v => v.paused || v.pause()));
  video.addEventListener("timeupdate", () => {
    const strip = video.closest("[data-plays]")?.querySelectorAll(".m2s-shot") || [];
    const now = Number(video.dataset.from) + video.currentTime;
    strip.forEach((shot, k) => shot.toggleAttribute("data-now",
      Number(shot.dataset.at) <= now + .02 && !(strip[k + 1] && Number(strip[k + 1].dataset.at) <= now + .02)));
  });
}

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "m2s-panel";
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  el.append(root);
  const away = enlarge(root);
  const again = e => `[data-act="${CSS.escape(e.dataset.act || "")}"][data-value="${CSS.escape(e.dataset.value || "")}"]`;
  const fill = video => {
    const url = clips.get(video.dataset.clip);
    if (!url || video.getAttribute("src") === url) return;
    video.src = url;
    const pair = video.closest(".m2s-together");
    if (pair) pair.querySelectorAll("video[src]").forEach(v => { v.currentTime = 0; });
    video.play().catch(() => {});
  };
  const draw = () => {
    const focused = root.contains(document.activeElement) ? document.activeElement : null;
    const selector = focused && focused !== root && focused.dataset.act ? again(focused) : null;
    const playing = new Map([...root.querySelectorAll("video[src]")].map(v => [v.dataset.clip, [v, v.paused]]));
    away();
    root.innerHTML = model.get("html");
    for (const video of root.querySelectorAll("video[data-clip]")) {
      const [old, paused] = playing.get(video.dataset.clip) || [];
      if (!old) { watch(video); continue; }
      video.replaceWith(old);   // as it was: nothing begins again
      if (!paused) old.play().catch(() => {});
    }
    root.querySelectorAll("dialog").forEach(d => {
      d.addEventListener("cancel", e => { e.preventDefault(); model.send({ act: "view-close", value: "" }); });
      d.showModal();
    });
    const next = selector && root.querySelector(selector);
    if (next && !next.disabled) next.focus({ preventScroll: true });
    else if (selector && root.tabIndex === 0) root.focus({ preventScroll: true });
  };
  const about = () => {
    if (model.get("label")) { root.setAttribute("aria-label", model.get("label")); root.setAttribute("role", "group"); }
    if (model.get("focusable")) root.tabIndex = 0; else root.removeAttribute("tabindex");
  };
  const message = (msg, buffers) => {
    if (!msg.clip) return;
    keep(msg.clip, buffers[0]);
    root.querySelectorAll("video[data-clip]").forEach(v => { if (v.dataset.clip === msg.clip) fill(v); });
  };
  root.addEventListener("click", e => {
    const copy = e.target.closest("[data-copy]"), button = e.target.closest("button[data-act]");
    if (copy) copied(copy);
    else if (button && !button.disabled) model.send({ act: button.dataset.act, value: button.dataset.value || "" });
  });
  root.addEventListener("change", e => {
    const { act, value } = e.target.dataset;
    if (e.target.matches("input[data-act]")) model.send({ act, value: `${value}\t${e.target.value}` });
  });
  root.addEventListener("keydown", e => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, textarea, select, video")) return;
    e.stopPropagation();
    if (!model.get("key_names").includes(e.key)) return;
    if ((e.key === " " || e.key === "Enter") && e.target.closest("button, a")) return;
    e.preventDefault();
    model.send({ key: e.key, shift: e.shiftKey });
  });
  about();
  draw();
  const events = [["change:html", draw], ["change:label", about], ["change:focusable", about], ["msg:custom", message]];
  for (const [event, handle] of events) model.on(event, handle);
  return () => {
    away();
    for (const [event, handle] of events) model.off(event, handle);
  };
}
export default { render };
