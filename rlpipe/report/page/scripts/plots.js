// One metric of all shown arms, drawn by uPlot: mean, band over seeds, and the other arms as one grey range.

// Long logs open smoothed, with what was logged drawn pale behind; short ones as they are.
const isLong = Boolean(data.curves.metrics.some((metric) => metric.steps.length >= 60));
const view = { smoothing: isLong ? 0.6 : 0, bands: true, logarithm: false, range: null };
const plots = new Set();
const sync = uPlot.sync("steps");

// Steps are whole numbers, and so are their ticks.
const WHOLE = Array.from({ length: 27 }, (_, i) => [1, 2, 5][i % 3] * 10 ** Math.floor(i / 3));

// A flat curve stands in the middle of a narrow axis; zero is no reason for an axis to 100.
function heights(low, high) {
  if (low === null || high === null) return [0, 1];
  const margin = (high - low || Math.abs(high) || 1) * 0.08;
  return [low - margin, high + margin];
}

// As many digits as neighbouring ticks need to differ.
function tickText(tick, step) {
  let decimals = 0;
  while (decimals < 6 && Math.abs(step * 10 ** decimals - Math.round(step * 10 ** decimals)) > 1e-6) decimals++;
  return view.logarithm || decimals > 4 || Math.abs(tick) >= 1e5 ? number(tick) : tick.toFixed(decimals).replace("-", "−");
}

// With more arms than this, what lies behind the lines is drawn paler or not at all.
const CROWDED = 3;

class Plot {
  constructor(metric, box) {
    this.metric = metric;
    this.box = box;
    this.steps = Float64Array.from(metric.steps);
    this.drawn = null;
    this.stale = true;
    plots.add(this);
  }

  // Unchosen arms as their lowest and highest value at each step.
  others() {
    const rest = this.metric.arms.map((_, arm) => arm).filter((arm) => this.metric.arms[arm] && !shownArms.has(arm));
    if (!rest.length) return null;
    const low = new Float64Array(this.steps.length).fill(NaN);
    const high = new Float64Array(this.steps.length).fill(NaN);
    for (const arm of rest) {
      const mean = smoothed(vector(this.metric.arms[arm][0]), view.smoothing);
      for (let i = 0; i < mean.length; i++) {
        if (!(mean[i] >= low[i])) low[i] = Number.isNaN(mean[i]) ? low[i] : mean[i];
        if (!(mean[i] <= high[i])) high[i] = Number.isNaN(mean[i]) ? high[i] : mean[i];
      }
    }
    return [low, high];
  }

  content() {
    const columns = [this.steps];
    const series = [{}];
    const bands = [];
    const add = (values, style) => {
      columns.push(Array.from(values, (value) => (Number.isFinite(value) && !(view.logarithm && value <= 0) ? value : null)));
      series.push({ points: { show: false }, spanGaps: true, ...style });
    };
    const range = (low, high, fill) => {
      add(high, { stroke: "transparent", width: 0, arm: null });
      add(low, { stroke: "transparent", width: 0, arm: null });
      bands.push({ series: [series.length - 2, series.length - 1], fill });
    };
    const others = this.others();
    if (others) range(...others, color("--others"));
    const shown = [...shownArms].filter((arm) => this.metric.arms[arm]);
    for (const arm of shown) {
      const [, low, high] = this.metric.arms[arm];
      if (view.bands && low !== undefined) {
        range(smoothed(vector(low), view.smoothing), smoothed(vector(high), view.smoothing), armColor(arm) + (shown.length > CROWDED ? "14" : "26"));
      }
    }
    for (const arm of shown) {
      const mean = vector(this.metric.arms[arm][0]);
      const lonely = mean.length === 1 || mean.reduce((count, value) => count + Number.isFinite(value), 0) === 1;
      const line = { stroke: armColor(arm), dash: armDash(arm), points: { show: lonely, size: 7, fill: armColor(arm) } };
      if (view.smoothing && shown.length <= CROWDED) add(mean, { ...line, stroke: armColor(arm) + "40", width: 1, arm: null });
      add(smoothed(mean, view.smoothing), { ...line, width: 1.75, arm });
    }
    return { columns, series, bands };
  }

  draw() {
    if (!this.stale) return;
    this.stale = false;
    this.drawn?.destroy();
    this.drawn = null;
    const { columns, series, bands } = this.content();
    if (!this.steps.length || !columns.slice(1).some((column) => column.some((value) => value !== null))) {
      const why = !this.steps.length ? "no number was logged" : view.logarithm ? "nothing above 0 to show" : "not logged by the arms shown";
      this.box.replaceChildren(make("p", { class: "empty" }, why));
      return;
    }
    this.box.replaceChildren();
    this.drawn = new uPlot(this.options(series, bands), columns, this.box);
    this.box.classList.add("drawn");
    if (view.range) this.zoom();
  }

  options(series, bands) {
    const axis = { stroke: color("--muted"), font: `11px ${color("--sans")}`, ticks: { show: false }, grid: { stroke: color("--grid"), width: 1 } };
    return {
      width: this.box.clientWidth,
      height: this.box.clientHeight,
      legend: { show: false },
      padding: [10, 10, 0, 0],
      cursor: { y: false, sync: { key: sync.key, setSeries: false }, drag: { x: true, y: false, setScale: false }, points: { size: 7, show: (self, place) => self.series[place].arm !== null && self.series[place].arm !== undefined } },
      scales: { x: { time: false }, y: view.logarithm ? { distr: 3 } : { range: (_, low, high) => heights(low, high) } },
      axes: [
        { ...axis, grid: { show: false }, size: 26, gap: 4, space: 60, incrs: WHOLE },
        { ...axis, size: 52, gap: 6, values: (_, shown, place, space, step) => shown.map((tick) => (tick === null ? "" : tickText(tick, step))) },
      ],
      series,
      bands,
      hooks: { setSelect: [(self) => this.selected(self)], setCursor: [(self) => tell(this, self)] },
    };
  }

  selected(self) {
    if (self.select.width < 4 || cursorOwner !== this) return;
    const [from, to] = [self.select.left, self.select.left + self.select.width].map((at) => self.posToVal(at, "x"));
    self.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    setRange(from, to);
  }

  zoom() {
    const [from, to] = view.range ?? [this.steps[0], this.steps[this.steps.length - 1]];
    this.drawn?.setScale("x", { min: from, max: to > from ? to : from + 1 });
  }
}

// Only what can be seen is drawn: a page of many metrics opens at once.
const visible = new Set();
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) visible.add(target.plot);
      else visible.delete(target.plot);
    }
    drawVisible();
  },
  { rootMargin: "300px" },
);

const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const { plot } = target;
    if (plot.drawn && target.clientWidth && plot.drawn.width !== target.clientWidth) plot.drawn.setSize({ width: target.clientWidth, height: target.clientHeight });
  }
});

// One plot a frame, so that scrolling and sliders never wait for all of them.
let drawing = false;

function drawVisible() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const next = [...visible].find((plot) => plot.stale && plot.box.clientWidth);
    if (!next) return;
    next.draw();
    drawVisible();
  });
}

function redraw() {
  for (const plot of plots) plot.stale = true;
  drawVisible();
}

function setRange(from, to) {
  view.range = from === null ? null : [from, to];
  for (const plot of plots) plot.zoom();
  document.dispatchEvent(new Event("range"));
}

// The values under the cursor, in the plot that the pointer is over.
let cursorOwner = null;
const tip = make("div", { class: "tip", role: "status" });

function tell(plot, self) {
  if (cursorOwner !== plot) return;
  const { left, idx } = self.cursor;
  if (left < 0 || idx === null || idx === undefined) {
    tip.remove();
    return;
  }
  const rows = self.series
    .map((one, place) => ({ arm: one.arm, value: one.arm === null || one.arm === undefined ? null : self.data[place][idx] }))
    .filter((row) => row.value !== null && row.value !== undefined)
    .sort((one, other) => other.value - one.value);
  const lines = rows.map(({ arm, value }) => {
    const swatch = make("span", { class: "swatch" });
    swatch.style.setProperty("--swatch", armColor(arm));
    return make("div", {}, swatch, make("b", {}, number(value)), make("span", {}, arms[arm].label));
  });
  tip.replaceChildren(make("div", { class: "tip-step" }, `step ${Math.round(self.data[0][idx])}`), ...lines);
  if (tip.parentElement !== plot.box) plot.box.append(tip);
  const after = left < self.width / 2;
  tip.style.left = after ? `${left + 64}px` : "auto";
  tip.style.right = after ? "auto" : `${self.width - left - 40}px`;
}
