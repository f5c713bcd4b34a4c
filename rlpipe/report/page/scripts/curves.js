// The section of curves: its controls, and a plot for each metric in its group.

const FOLDED = ["Optimiser", "Speed", "Other"];

function metricFigure(metric) {
  const box = make("div", { class: "plot" });
  box.plot = new Plot(metric, box);
  box.addEventListener("pointerenter", () => (cursorOwner = box.plot));
  box.addEventListener("pointerleave", () => tip.remove());
  box.addEventListener("dblclick", () => setRange(null));
  watcher.observe(box);
  resized.observe(box);
  const broken = Object.entries(metric.broken).map(([arm, count]) => `${arms[arm].label}: ${count}`);
  const warning = broken.length ? make("p", { class: "warning" }, `logged but not a number (rows): ${broken.slice(0, 8).join(", ")}${broken.length > 8 ? ` and ${broken.length - 8} more arms` : ""}`) : null;
  return make("figure", { class: "metric", "data-metric": metric.name }, make("figcaption", {}, metric.name), box, warning);
}

function smoothingControl() {
  const output = make("output", { for: "smoothing" }, view.smoothing ? view.smoothing.toFixed(2) : "off");
  const slider = make("input", { type: "range", id: "smoothing", min: 0, max: 0.99, step: 0.01, value: view.smoothing });
  slider.addEventListener("input", () => {
    view.smoothing = Number(slider.value);
    output.textContent = view.smoothing ? view.smoothing.toFixed(2) : "off";
    redraw();
  });
  return make("label", { class: "field" }, make("span", {}, "Smoothing"), slider, output);
}

function toggle(label, id, value, onchange) {
  const box = make("input", { type: "checkbox", id, onchange: () => onchange(box.checked) });
  box.checked = value;
  return make("label", { class: "check" }, box, label);
}

function rangeControl() {
  const last = Math.max(0, ...data.curves.metrics.map((metric) => metric.steps[metric.steps.length - 1] ?? 0));
  const from = make("input", { type: "number", id: "from", min: 0, max: last, value: 0, "aria-label": "First step shown" });
  const to = make("input", { type: "number", id: "to", min: 0, max: last, value: last, "aria-label": "Last step shown" });
  const apply = () => Number(to.value) > Number(from.value) && setRange(Number(from.value), Number(to.value));
  from.addEventListener("change", apply);
  to.addEventListener("change", apply);
  const reset = make("button", { type: "button", id: "reset-zoom", onclick: () => setRange(null) }, "Reset zoom");
  document.addEventListener("range", () => {
    const [first, final] = view.range ?? [0, last];
    from.value = Math.round(first);
    to.value = Math.round(final);
    reset.disabled = view.range === null;
  });
  reset.disabled = true;
  return make("div", { class: "field" }, make("span", {}, "Steps"), from, "to", to, reset);
}

function buildCurves(section) {
  const controls = make("div", { class: "controls" },
    smoothingControl(),
    toggle("Bands", "bands", true, (on) => ((view.bands = on), redraw())),
    toggle("Logarithmic", "logarithm", false, (on) => ((view.logarithm = on), redraw())),
    rangeControl(),
  );
  section.append(make("div", { class: "sticky" }, controls, arms.length > 1 ? armPicker() : null));
  const folded = (metric) => FOLDED.includes(metric.group);
  section.append(make("div", { class: "plots" }, ...data.curves.metrics.filter((metric) => !folded(metric)).map(metricFigure)));
  for (const title of FOLDED) {
    const metrics = data.curves.metrics.filter((metric) => metric.group === title);
    if (!metrics.length) continue;
    const summary = make("summary", {}, make("h3", {}, title), make("span", { class: "count" }, String(metrics.length)));
    section.append(make("details", { class: "group" }, summary, make("div", { class: "plots" }, ...metrics.map(metricFigure))));
  }
}
