// The page's address: what Python shows is written after '#', what the visitor goes to is sent to Python. A
// drawing of the map that was made while it could not be seen takes the size of its place.
function render({ model }) {
  const here = () => location.hash.slice(1), tab = text => new URLSearchParams(text).get("tab");
  const fit = () => requestAnimationFrame(() => dispatchEvent(new Event("resize")));
  const visit = () => { if (here() !== model.get("value")) model.send({ visit: here() }); };
  const follow = () => {
    const value = model.get("value"), before = here();
    if (value && value !== before) history[before ? "pushState" : "replaceState"](null, "", "#" + value);
    if (tab(value) === "map" && tab(before) !== "map") fit();
  };
  addEventListener("popstate", visit);
  document.addEventListener("plotlywidget-after-render", fit);
  model.on("change:value", follow);
  if (here()) visit(); else follow();
  return () => {
    removeEventListener("popstate", visit);
    document.removeEventListener("plotlywidget-after-render", fit);
    model.off("change:value", follow);
  };
}
export default { render };
