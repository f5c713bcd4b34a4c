// Tables sort by a click on a column's head; cells say by `data-value` what they are worth.

function worth(row, column) {
  const cell = row.cells[column];
  const value = cell.dataset.value ?? cell.textContent.trim();
  return value !== "" && Number.isFinite(Number(value)) ? Number(value) : value;
}

function before(one, other) {
  if (one === "" || other === "") return (one === "") - (other === "");
  if (typeof one === typeof other) return typeof one === "number" ? one - other : one.localeCompare(other, undefined, { numeric: true });
  return typeof one === "number" ? -1 : 1;
}

function sortBy(table, column, head) {
  const descending = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentElement.cells) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row) => [worth(row, column), row]);
  const sign = descending ? -1 : 1;
  // what is empty stays at the end either way
  keyed.sort(([one], [other]) => (one === "" || other === "" ? before(one, other) : sign * before(one, other)));
  body.append(...keyed.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = make("button", { type: "button", class: "sort", onclick: () => sortBy(table, column, head) });
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
  });
}
