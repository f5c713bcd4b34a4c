// What the swept fields do to a result: a heat map for two of them, slopes for each one.

const effects = data.effects;

function meanOf(values) {
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
}

// The values of all seeds of the arms that `test` accepts.
function valuesWhere(outcome, test) {
  return effects.arms.flatMap((fields, arm) => (fields && test(fields) ? outcome.values[arm] : []));
}

function heatMap(outcome, across, down) {
  const [columns, rows] = [effects.fields[across], effects.fields[down]];
  const cells = rows.values.map((_, y) => columns.values.map((_, x) => valuesWhere(outcome, (fields) => fields[across] === x && fields[down] === y)));
  const means = cells.flat().map(meanOf).filter((mean) => mean !== null);
  const [low, high] = [Math.min(...means), Math.max(...means)];
  const head = make("tr", {}, make("th", { scope: "col" }, `${rows.name} ↓  ${columns.name} →`), ...columns.values.map((value) => make("th", { scope: "col" }, value)));
  const body = cells.map((line, y) => make("tr", {}, make("th", { scope: "row" }, rows.values[y]), ...line.map((values) => {
    const mean = meanOf(values);
    if (mean === null) return make("td", { class: "none", title: "no run" }, "–");
    const share = high > low ? (mean - low) / (high - low) : 0.5;
    const spread = `${values.length} ${values.length === 1 ? "run" : "runs"}, ${number(Math.min(...values))} to ${number(Math.max(...values))}`;
    const cell = make("td", { title: spread, class: share > 0.55 ? "deep" : null }, number(mean));
    cell.style.setProperty("--share", `${Math.round(8 + 84 * share)}%`);
    return cell;
  })));
  const others = effects.fields.filter((_, place) => place !== across && place !== down).map((field) => field.name);
  const title = make("p", { class: "heat-title" }, `Mean of ${outcome.name} over seeds${others.length ? ` and over ${others.join(", ")}` : ""}`);
  return make("div", { class: "scroll" }, title, make("table", { class: "heat" }, make("thead", {}, head), make("tbody", {}, ...body)));
}

function ticks(low, high) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1e6; tick += step) found.push(Number(tick.toPrecision(12)));
  return found;
}

// Arms that differ in nothing but the field are joined; the heavy line is the mean of all that are joined throughout.
function slopes(outcome, place) {
  const field = effects.fields[place];
  const families = new Map();
  effects.arms.forEach((fields, arm) => {
    if (!fields || !outcome.values[arm].length) return;
    const key = JSON.stringify(fields.filter((_, other) => other !== place));
    families.set(key, [...(families.get(key) ?? []), { x: fields[place], values: outcome.values[arm] }]);
  });
  const every = [...families.values()].flat().flatMap((point) => point.values);
  if (!every.length) return make("p", { class: "empty" }, `no arm has ${outcome.name}`);
  const [width, height, left, right, top, bottom] = [340, 210, 52, 14, 12, 40];
  let [low, high] = [Math.min(...every), Math.max(...every)];
  const margin = (high - low || Math.abs(high) || 1) * 0.08;
  [low, high] = [low - margin, high + margin];
  const atX = (x) => left + ((x + 0.5) / field.values.length) * (width - left - right);
  const atY = (y) => top + ((high - y) / (high - low)) * (height - top - bottom);
  const picture = makeSvg("svg", { viewBox: `0 0 ${width} ${height}`, class: "slopes", role: "img", "aria-label": `${outcome.name} by ${field.name}` });
  for (const tick of ticks(low, high)) {
    picture.append(makeSvg("line", { x1: left, x2: width - right, y1: atY(tick), y2: atY(tick), class: "grid" }));
    picture.append(makeSvg("text", { x: left - 8, y: atY(tick) + 4, "text-anchor": "end" }, number(tick)));
  }
  const every2nd = Math.ceil(field.values.length / 6);
  field.values.forEach((value, x) => x % every2nd === 0 && picture.append(makeSvg("text", { x: atX(x), y: height - 22, "text-anchor": "middle" }, value.length > 12 ? `${value.slice(0, 11)}…` : value)));
  picture.append(makeSvg("text", { x: (left + width - right) / 2, y: height - 5, "text-anchor": "middle", class: "axis" }, field.name));
  const path = (points) => points.map(({ x, y }, i) => `${i ? "L" : "M"}${atX(x).toFixed(1)} ${atY(y).toFixed(1)}`).join("");
  const whole = [];
  for (const family of families.values()) {
    family.sort((one, other) => one.x - other.x);
    const line = family.map(({ x, values }) => ({ x, y: meanOf(values) }));
    picture.append(makeSvg("path", { d: path(line), class: "family" }));
    if (line.length === field.values.length) whole.push(line);
    for (const { x, values } of family) for (const value of values) picture.append(makeSvg("circle", { cx: atX(x).toFixed(1), cy: atY(value).toFixed(1), r: 2.5 }));
  }
  if (whole.length) picture.append(makeSvg("path", { class: "mean", d: path(field.values.map((_, x) => ({ x, y: meanOf(whole.map((line) => line[x].y)) }))) }));
  return make("figure", { class: "metric" }, make("figcaption", {}, `${outcome.name} by ${field.name}`), picture);
}

function buildEffects(section) {
  const chosen = { outcome: 0, across: 0, down: Math.min(1, effects.fields.length - 1) };
  const place = make("div");
  const draw = () => {
    const outcome = effects.outcomes[chosen.outcome];
    const two = effects.fields.length > 1 && chosen.across !== chosen.down;
    const lines = make("div", { class: "plots" }, ...effects.fields.map((_, field) => slopes(outcome, field)));
    place.replaceChildren(...(two ? [heatMap(outcome, chosen.across, chosen.down)] : []), lines);
  };
  const names = effects.fields.map((field) => field.name);
  const choose = (key) => (value) => ((chosen[key] = value), draw());
  const controls = make("div", { class: "controls" }, choice("Result", effects.outcomes.map((outcome) => outcome.name), choose("outcome")));
  if (names.length > 2) {
    const selects = ["across", "down"].map((key) => choice(key === "across" ? "Columns" : "Rows", names, choose(key)));
    selects.forEach((label, i) => (label.querySelector("select").value = [chosen.across, chosen.down][i]));
    controls.append(...selects);
  }
  section.append(controls, place);
  draw();
}
