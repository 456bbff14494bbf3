// A slider with one handle or two, with a name and a value that a screen reader says as the page shows them.
// The model is that of an ipywidgets slider: numbers in `value`, or places among `_options_labels` in `index`.

const PARTS = /^(.*) \[(.*)\]$/; // "context [tokens]"
const ENDS = ["lowest", "highest"];

function render({ model, el }) {
  const options = () => model.get("_options_labels");
  const key = options() ? "index" : "value";
  const places = () => [model.get(key)].flat();
  const ends = () => (options() ? [0, options().length - 1, 1] : ["min", "max", "step"].map((name) => model.get(name)));

  function said(place) {
    if (options()) return options()[place];
    const digits = Number(/\.(\d+)f/.exec(model.get("readout_format"))?.[1] ?? 0);
    return place.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  }

  const name = document.createElement("span");
  const output = document.createElement("output");
  output.setAttribute("aria-hidden", "true"); // the handles say it
  const track = document.createElement("div");
  track.className = "course-track";
  const handles = places().map((_, i) => {
    const handle = document.createElement("input");
    handle.type = "range";
    handle.addEventListener("input", () => move(i, Number(handle.value)));
    handle.addEventListener("keydown", (event) => event.stopPropagation()); // or an arrow moves to another cell
    return handle;
  });
  track.append(...handles);
  el.classList.add("course-slider");
  el.dataset.lmSuppressShortcuts = "true";
  el.append(name, output, track);

  function move(i, place) {
    const now = places();
    now[i] = i === 0 ? Math.min(place, now[1] ?? place) : Math.max(place, now[0]);
    model.set(key, now.length === 1 ? now[0] : now);
    model.save_changes();
    show();
  }

  function show() {
    const [, words, unit] = PARTS.exec(model.get("description")) ?? [null, model.get("description"), ""];
    const [min, max, step] = ends();
    const [texts, after] = [places().map(said), unit && ` ${unit}`];
    name.textContent = words;
    output.textContent = texts.join(" to ") + after;
    handles.forEach((handle, i) => {
      Object.assign(handle, { min, max, step, disabled: model.get("disabled") });
      handle.value = places()[i];
      handle.style.zIndex = i === 0 && places()[i] > (min + max) / 2 ? 1 : 0; // so that two at the end come apart
      handle.setAttribute("aria-label", handles.length === 1 ? words : `${words}, ${ENDS[i]}`);
      handle.setAttribute("aria-valuetext", texts[i] + after);
    });
  }

  const watched = `change:${key} change:min change:max change:step change:disabled change:_options_labels`;
  model.on(watched, show);
  show();
  return () => model.off(watched, show);
}

export default { render };
