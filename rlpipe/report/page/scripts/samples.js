// Completions to read: one example, the arms beside each other. Model text is only ever text.

const LONG = 900;
const CALLS = /<tool_call>[^]*?(?:<\/tool_call>|$)|<calc>[^]*?(?:<\/calc>|$)/;
const RESULTS = /<tool_response>[^]*?(?:<\/tool_response>|$)|<result>[^]*?(?:<\/result>|$)/;
const MARKS = new RegExp(`(${CALLS.source})|(${RESULTS.source})|(<\\/?(?:think|answer)>)`, "g");

function marked(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(MARKS)) {
    if (match.index > end) parts.push(text.slice(end, match.index));
    const kind = match[1] ? "call" : match[2] ? "result" : "tag";
    parts.push(make("span", { class: kind }, match[0]));
    end = match.index + match[0].length;
  }
  parts.push(text.slice(end));
  return parts;
}

function completion(text) {
  const body = make("div", { class: "completion" });
  const brief = text.length > LONG || text.split("\n").length > 24;
  if (!brief) {
    body.append(...marked(text));
    return body;
  }
  const more = make("button", { type: "button", class: "more", "aria-expanded": "false" });
  const fold = (folded) => {
    body.replaceChildren(...marked(folded ? `${text.slice(0, LONG).split("\n").slice(0, 24).join("\n")} …` : text));
    more.textContent = folded ? `Show all ${text.length.toLocaleString("en")} characters` : "Show less";
    more.setAttribute("aria-expanded", String(!folded));
  };
  more.addEventListener("click", () => fold(more.getAttribute("aria-expanded") === "true"));
  fold(true);
  return make("div", {}, body, more);
}

function callList(calls) {
  if (!calls.length) return null;
  const items = calls.map(([what, result, failed]) => make("li", { class: failed ? "failed" : null }, make("code", {}, what), ` ${failed ? "✗" : "→"} `, make("code", {}, result)));
  return make("ul", { class: "calls", "aria-label": "Tool calls" }, ...items);
}

function facts(pairs) {
  return make("div", { class: "facts" }, ...pairs.map(([name, value]) => make("span", { class: "fact" }, `${name} `, make("b", {}, typeof value === "number" ? number(value) : String(value)))));
}

function cellOf(cell) {
  const title = [cell.arm === null ? null : arms[cell.arm].label, cell.about].filter(Boolean).join(" · ");
  const swatch = cell.arm === null ? null : make("span", { class: "swatch", "data-swatch": cell.arm, "aria-hidden": "true" });
  const texts = cell.texts.map((one) => make("div", { class: "text" }, facts(one.facts), completion(one.text), callList(one.calls)));
  return make("article", { class: "cell" }, make("h4", {}, swatch, title), ...texts);
}

function buildSamples(section) {
  const { sets } = data.samples;
  const chosen = { set: 0, example: 0 };
  const place = make("div", { class: "sample", "aria-live": "polite" });
  const picker = make("select", { "aria-label": "Example", onchange: () => go(Number(picker.value)) });
  const position = make("span", { class: "count" });
  const go = (example) => {
    const { examples } = sets[chosen.set];
    chosen.example = (example + examples.length) % examples.length;
    draw();
  };
  const fill = () => picker.replaceChildren(...sets[chosen.set].examples.map((example, i) => make("option", { value: i }, example.title)));
  const draw = () => {
    const { examples } = sets[chosen.set];
    const example = examples[chosen.example];
    picker.value = String(chosen.example);
    position.textContent = `${chosen.example + 1} of ${examples.length}`;
    const cells = example.cells.filter((cell) => cell.arm === null || shownArms.has(cell.arm));
    const hidden = example.cells.length - cells.length;
    place.replaceChildren(
      make("div", { class: "prompt" }, make("h4", {}, "Prompt"), completion(example.prompt)),
      example.reference ? make("div", { class: "prompt" }, make("h4", {}, "Reference"), completion(example.reference)) : "",
      make("div", { class: "cells" }, ...cells.map(cellOf)),
      hidden ? make("p", { class: "note" }, `${hidden} more ${hidden === 1 ? "text is" : "texts are"} of arms that are not chosen above.`) : "",
    );
    paintSwatches(place);
  };
  const step = (by, label, text) => make("button", { type: "button", "aria-label": label, onclick: () => go(chosen.example + by) }, text);
  const controls = make("div", { class: "controls" });
  if (sets.length > 1) controls.append(choice("From", sets.map((set) => set.title), (set) => ((chosen.set = set), (chosen.example = 0), fill(), draw())));
  controls.append(make("div", { class: "field" }, make("span", {}, "Example"), picker, step(-1, "Previous example", "←"), step(1, "Next example", "→"), position));
  section.append(controls, place);
  fill();
  draw();
  armListeners.push(draw);
}
