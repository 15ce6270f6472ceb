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
  const say = ok => {
    button.textContent = ok ? "copied" : "selected: press Ctrl+C";
    setTimeout(() => { button.textContent = words; }, 1500);
  };
  if (navigator.clipboard) navigator.clipboard.writeText(pre.textContent).then(() => say(true), () => say(false));
  else say(document.execCommand("copy"));
}

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "m2s-panel";
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  el.append(root);
  const place = e => e && `[data-act="${CSS.escape(e.dataset.act || "")}"][data-value="${CSS.escape(e.dataset.value || "")}"]`;
  const fill = (video, play) => {
    const url = clips.get(video.dataset.clip);
    if (!url || video.getAttribute("src") === url) return;
    video.src = url;
    if (play) video.play().catch(() => {});
  };
  const draw = () => {
    const focused = root.contains(document.activeElement) ? document.activeElement : null;
    const again = focused && focused !== root && focused.dataset.act ? place(focused) : null;
    root.innerHTML = model.get("html");
    root.querySelectorAll("video[data-clip]").forEach(v => fill(v, false));
    const next = again && root.querySelector(again);
    if (next && !next.disabled) next.focus();
    else if (again && root.tabIndex === 0) root.focus();
  };
  const about = () => {
    if (model.get("label")) { root.setAttribute("aria-label", model.get("label")); root.setAttribute("role", "group"); }
    if (model.get("focusable")) root.tabIndex = 0; else root.removeAttribute("tabindex");
  };
  const message = (msg, buffers) => {
    if (!msg.clip) return;
    keep(msg.clip, buffers[0]);
    root.querySelectorAll("video[data-clip]").forEach(v => { if (v.dataset.clip === msg.clip) fill(v, msg.play); });
  };
  root.addEventListener("click", e => {
    const copy = e.target.closest("[data-copy]"), button = e.target.closest("[data-act]");
    if (copy) copied(copy);
    else if (button && !button.disabled) model.send({ act: button.dataset.act, value: button.dataset.value || "" });
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
  model.on("change:html", draw);
  model.on("change:label", about);
  model.on("change:focusable", about);
  model.on("msg:custom", message);
  return () => {
    model.off("change:html", draw);
    model.off("change:label", about);
    model.off("change:focusable", about);
    model.off("msg:custom", message);
  };
}
export default { render };
