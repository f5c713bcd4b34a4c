// Which arms are drawn, and in which colour. Everything that shows arms listens.

const MOST_COLOURS = 8;
const arms = data.arms;
const shownArms = new Set(data.shown);
const armListeners = [];

// Colours go to arms as they are chosen and stay with them; a ninth arm repeats a colour with dashes.
const slots = new Map();

function slot(arm) {
  if (!slots.has(arm)) {
    const taken = new Set([...shownArms].filter((one) => slots.has(one)).map((one) => slots.get(one)));
    let free = 0;
    while (taken.has(free)) free++;
    slots.set(arm, free);
  }
  return slots.get(arm);
}

function armColor(arm) {
  return color(`--series-${slot(arm) % MOST_COLOURS}`);
}

function armDash(arm) {
  return [[], [6, 4], [2, 3]][Math.floor(slot(arm) / MOST_COLOURS) % 3];
}

// Colour the marks of arms inside an element.
function paintSwatches(place = document) {
  for (const swatch of place.querySelectorAll("[data-swatch]")) {
    const arm = Number(swatch.dataset.swatch);
    swatch.style.setProperty("--swatch", shownArms.has(arm) ? armColor(arm) : "transparent");
    swatch.classList.toggle("dashed", shownArms.has(arm) && slot(arm) >= MOST_COLOURS);
  }
}

function armsChanged() {
  for (const arm of [...slots.keys()]) if (!shownArms.has(arm)) slots.delete(arm);
  for (const arm of shownArms) slot(arm);
  paintSwatches();
  for (const box of document.querySelectorAll("input[data-arm]")) box.checked = shownArms.has(Number(box.dataset.arm));
  for (const listener of armListeners) listener();
}

function showArms(list) {
  shownArms.clear();
  for (const arm of list) shownArms.add(arm);
  armsChanged();
}

function armPicker() {
  const list = make("div", { class: "arm-list", role: "group", "aria-label": "Arms that are drawn" });
  const rows = data.order.map((place) => {
    const box = make("input", { type: "checkbox", "data-arm": place });
    box.addEventListener("change", () => {
      if (box.checked) shownArms.add(place);
      else shownArms.delete(place);
      armsChanged();
    });
    const swatch = make("span", { class: "swatch", "data-swatch": place, "aria-hidden": "true" });
    return make("label", { class: "arm" }, box, swatch, make("span", {}, arms[place].label));
  });
  list.append(...rows);
  const picker = make("div", { class: "arm-picker" });
  if (arms.length > 12) {
    const filter = make("input", { type: "search", placeholder: "find arms", "aria-label": "Find arms by name" });
    const found = () => data.order.filter((place) => arms[place].label.includes(filter.value));
    filter.addEventListener("input", () => {
      const visible = new Set(found());
      rows.forEach((row, i) => (row.hidden = !visible.has(data.order[i])));
    });
    const some = make("button", { type: "button", onclick: () => showArms(found().slice(0, MOST_COLOURS)) }, `First ${MOST_COLOURS} found`);
    picker.append(make("div", { class: "controls" }, filter, some, make("button", { type: "button", onclick: () => showArms(data.shown) }, "Reset")));
  }
  picker.append(list);
  return picker;
}
