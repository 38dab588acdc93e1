"use strict";
// What the page shows, as data: contents of all cells after k rounds, and their exact expressions.
const data = JSON.parse(document.getElementById("data").textContent);
const EMPTY = 0, OTHER = 1, PARTIAL = 2, COMPLETE = 3;
const width = data.columns.length;
const snapshots = [data.start]; // [k][cell]: [expression, kind, amount]
const texts = new Map();
const TERMS = 256; // operands of an expression that are written out

function stateAfter(k) {
  while (snapshots.length <= k) {
    const next = snapshots[snapshots.length - 1].slice();
    for (const [cell, ...held] of data.rounds[snapshots.length - 1].changes) next[cell] = held;
    snapshots.push(next);
  }
  return snapshots[k];
}

function leafName(leaf) {
  if (leaf < 0) return "nothing yet";
  if (leaf >= data.inputs) return "its old contents";
  return `r${Math.floor(leaf / data.inSlots)}.${leaf % data.inSlots}`;
}

// As it was folded: a + b + c is (a + b) + c, and what is folded first on the right stands in brackets.
function expressionText(expression) {
  if (!texts.has(expression)) {
    const found = [], todo = [expression];
    let terms = 0;
    while (todo.length && terms < TERMS) {
      const e = todo.pop();
      if (typeof e === "string") found.push(e);
      else if (e < data.leaves) {
        found.push(leafName(e));
        terms++;
      }      else {
        const [left, right] = data.operands[e - data.leaves];
        todo.push(...(right < data.leaves ? [right] : [")", right, "("]), " + ", left);
      }
    }
    texts.set(expression, found.join("") + (todo.some((e) => typeof e !== "string") ? " + …" : todo.reverse().join("")));
  }
  return texts.get(expression);
}

function columnName(column) {
  const [buffer, slot] = data.columns[column];
  return `${buffer} slot ${slot}`;
}

function amountText([, kind, amount]) {
  if (kind === EMPTY) return "nothing yet";
  if (kind === COMPLETE) return amount ? "final, as promised" : "stays as it is, as promised";
  if (kind === OTHER) return "not what belongs here";
  if (data.most > 1) return `${amount} of ${data.most} contributions`;
  return "belongs here";
}

// Slot numbers as short text: 0–3, 6.
function spans(slots) {
  const runs = [];
  for (const slot of [...new Set(slots)].sort((a, b) => a - b)) {
    const run = runs[runs.length - 1];
    if (run && slot === run[1] + 1) run[1] = slot;
    else runs.push([slot, slot]);
  }
  return runs.map(([a, b]) => (a === b ? `${a}` : `${a}–${b}`));
}

function messageText(m) {
  const from = spans(m.slots.map((s) => s[0])).join(", "), to = spans(m.slots.map((s) => s[1])).join(", ");
  const slots = m.slots.length === 1 ? "slot" : "slots";
  const place = m.source === m.target && from === to ? `${m.target} ${slots} ${to}`
    : `${m.source} ${slots} ${from} into ${m.target} ${slots} ${to}`;
  const ends = m.src === m.dst ? `rank ${m.src}, on itself` : `rank ${m.src} → rank ${m.dst}`;
  return `${ends}: ${m.folds ? "folds" : "copies"} ${place}`;
}

function bytesText(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; bytes >= 1024 && unit < units.length - 1; unit++) bytes /= 1024;
  return `${bytes < 1000 ? +bytes.toPrecision(3) : Math.round(bytes)} ${units[unit]}`;
}

function secondsText(seconds) {
  const units = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]];
  const [unit, name] = units.find(([least]) => seconds >= 0.9995 * least) || units[3];
  return `${+(seconds / unit).toPrecision(3)} ${name}`;
}

// Viridis (Smith and van der Walt 2015): evenly perceived, with any colour vision.
const STOPS = ["440154", "472c7a", "3b518b", "2c718e", "21908d", "27ad81", "5cc863", "aadc32", "fde725"].map((hex) =>
  [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));

function colour(share) {
  const at = Math.min(Math.max(share, 0), 1) * (STOPS.length - 1), i = Math.min(Math.floor(at), STOPS.length - 2);
  const rgb = STOPS[i].map((a, c) => Math.round(a + (STOPS[i + 1][c] - a) * (at - i)));
  const dark = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] < 128;
  return { face: `rgb(${rgb.join(" ")})`, ink: dark ? "#fff" : "#000" };
}

function cellColour(kind, amount) {
  if (kind === OTHER || !amount || data.most === 1) return { face: "", ink: "" };
  return colour((Math.min(amount, data.most) - 1) / Math.max(data.most - 1, 1));
}
