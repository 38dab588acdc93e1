// What every cell holds: a table of ranks x slots, in which one cell at a time can be read exactly.
const cells = []; // <td> by cell number
let shown = []; // what they hold: [expression, kind, amount]
let current = 0; // the cell that Tab leads to
let told = null; // the element that the note is about
const CELL = [10, 34], NUMBERED = 17; // smallest and largest side of a cell, and the least with a number in it

function buildGrid() {
  const table = $("table"), head = table.createTHead();
  const buffers = [...new Set(data.columns.map(([buffer]) => buffer))];
  if (buffers.length > 1) {
    const names = head.insertRow();
    header(names, "", "col");
    buffers.forEach((buffer, k) => {
      if (k) header(names, "", "col");
      header(names, buffer, "colgroup").colSpan = data.columns.filter(([b]) => b === buffer).length;
    });
  }
  const slots = head.insertRow();
  header(slots, "rank", "col");
  eachColumn((column) => header(slots, data.columns[column][1], "col"), () => header(slots, "", "col"));
  const body = table.createTBody();
  for (let rank = 0; rank < data.n; rank++) {
    const row = body.insertRow();
    header(row, rank, "row");
    eachColumn(() => addCell(row), () => { row.insertCell().className = "gap"; });
  }
  cells[0].tabIndex = 0;
  table.addEventListener("keydown", moveInGrid);
}

// Every column, and a gap before each buffer but the first.
function eachColumn(column, gap) {
  data.columns.forEach(([buffer], k) => {
    if (k && buffer !== data.columns[k - 1][0]) gap();
    column(k);
  });
}

function header(row, text, scope) {
  const th = document.createElement("th");
  th.textContent = text;
  th.scope = scope;
  row.append(th);
  return th;
}

function addCell(row) {
  const td = row.insertCell(), cell = cells.length;
  td.tabIndex = -1;
  td.setAttribute("role", "gridcell");
  td.dataset.cell = cell;
  cells.push(td);
  tell(td, () => cellText(cell));
  td.addEventListener("focus", () => {
    cells[current].tabIndex = -1;
    current = cell;
    td.tabIndex = 0;
  });
}

function fitGrid() {
  document.querySelector("main").classList.toggle("wide", width > 20);
  const buffers = new Set(data.columns.map(([buffer]) => buffer)).size;
  const room = ($("scroll").clientWidth - 45 - 12 * (buffers - 1)) / width - 2;
  const side = Math.max(CELL[0], Math.min(CELL[1], Math.floor(room)));
  $("table").style.setProperty("--cell", `${side}px`);
  $("table").classList.toggle("small", side < NUMBERED);
}

function showGrid(state, changed, fault) {
  shown = state;
  state.forEach(([expression, kind, amount], cell) => {
    const td = cells[cell], { face, ink } = cellColour(kind, amount);
    const classes = ["cell"];
    if (kind === OTHER) classes.push("other");
    if (kind === COMPLETE) classes.push("complete");
    if (data.most === 1 && amount && kind !== OTHER) classes.push("has");
    if (changed.has(cell)) classes.push("changed");
    if (cell === fault) classes.push("fault");
    td.className = classes.join(" ");
    td.style.backgroundColor = face;
    td.style.color = ink;
    td.style.setProperty("--face", face || "transparent");
    td.textContent = !amount ? "" : data.most > 1 ? amount : Math.floor(expression / data.inSlots);
  });
  if (told) retell();
}

function cellText(cell) {
  const held = shown[cell], column = cell % width, rank = Math.floor(cell / width);
  const notes = [amountText(held)];
  if (cells[cell].classList.contains("changed")) notes.push("changed in this round");
  if (cells[cell].classList.contains("fault")) notes.push("here is the fault");
  const exactly = held[1] === EMPTY && !held[2] ? leafName(held[0]) : expressionText(held[0]);
  return `rank ${rank}, ${columnName(column)} holds\n${exactly}\n${[...new Set(notes)].join("; ")}`;
}

function moveInGrid(event) {
  const column = current % width, row = current - column;
  const next = {
    ArrowLeft: row + Math.max(column - 1, 0), ArrowRight: row + Math.min(column + 1, width - 1),
    ArrowUp: Math.max(current - width, column), ArrowDown: Math.min(current + width, cells.length - width + column),
    Home: row, End: row + width - 1,
  }[event.key];
  if (next === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  event.stopPropagation();
  cells[next].focus();
}

// The note: beside what it is about, on hover and on focus.
function tell(element, text) {
  const show = () => {
    told = { element, text };
    retell();
  };
  const hide = () => told && told.element === element && hush();
  element.addEventListener("mouseenter", show);
  element.addEventListener("mouseleave", hide);
  element.addEventListener("focus", show);
  element.addEventListener("blur", hide);
}

function retell() {
  const tip = $("tip"), { element, text } = told;
  if (!element.isConnected) return hush();
  tip.textContent = text();
  tip.hidden = false;
  element.setAttribute("aria-describedby", "tip");
  const at = element.getBoundingClientRect(), box = tip.getBoundingClientRect();
  const below = at.bottom + 8, fits = below + box.height < innerHeight;
  tip.style.left = `${Math.max(8, Math.min(at.left, innerWidth - box.width - 8))}px`;
  tip.style.top = `${fits ? below : Math.max(8, at.top - box.height - 8)}px`;
}

function hush() {
  if (told) told.element.removeAttribute("aria-describedby");
  told = null;
  $("tip").hidden = true;
}

function cellLegend() {
  const kinds = new Set(snapshots.flatMap((state) => state.map((held) => held[1])));
  const legend = $("cell-legend");
  const entry = (classes, text, sample = "") => {
    const item = document.createElement("li"), box = document.createElement("span");
    box.className = `cell ${classes}`;
    box.textContent = sample;
    item.append(box, ` ${text}`);
    legend.append(item);
  };
  if (data.most > 1) legend.append(scaleEntry("contributions:", 1, data.most, colour));
  else entry("has", "belongs here; the number is the rank whose input it is", "0");
  if (kinds.has(COMPLETE)) entry("complete", "final, as promised");
  if (kinds.has(OTHER)) entry("other", "anything else, to be overwritten");
  if (kinds.has(EMPTY)) entry("", "nothing yet");
  entry("changed", "changed in the round");
  if (data.fault) entry("fault", "here is the fault");
}

// A scale of colours between two values.
function scaleEntry(text, low, high, shade) {
  const item = document.createElement("li");
  const scale = svg("svg", { viewBox: "0 0 60 10", class: "scale", "aria-hidden": "true" }, item);
  for (let k = 0; k < 30; k++) svg("rect", { x: 2 * k, y: 0, width: 2.2, height: 10, fill: shade(k / 29).face }, scale);
  item.prepend(`${text} ${low} `);
  item.append(` ${high}`);
  return item;
}
