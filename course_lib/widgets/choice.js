// A row of buttons, one of them pressed. The model is that of ipywidgets' ToggleButtons.

function render({ model, el }) {
  const name = document.createElement("span");
  name.textContent = model.get("description");
  const buttons = model.get("_options_labels").map((label, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "jupyter-button";
    button.textContent = label;
    button.title = model.get("tooltips")?.[i] ?? "";
    button.addEventListener("click", () => {
      model.set("index", i);
      model.save_changes();
    });
    return button;
  });
  const row = document.createElement("div");
  row.append(...buttons);
  el.classList.add("course-choice");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", model.get("description"));
  el.append(name, row);

  function show() {
    buttons.forEach((button, i) => {
      const pressed = i === model.get("index");
      button.setAttribute("aria-pressed", pressed);
      button.classList.toggle("mod-active", pressed);
      button.disabled = model.get("disabled");
    });
  }

  model.on("change:index change:disabled", show);
  show();
  return () => model.off("change:index change:disabled", show);
}

export default { render };
