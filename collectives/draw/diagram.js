// The messages of a round, as arrows between ranks that stand in a circle.
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const CENTRE = 320, RING = 268; // of the 640 units of the diagram
const LABELLED = 48; // messages of a round that are labelled at most
const nodeSize = Math.max(7, Math.min(22, (0.3 * 2 * Math.PI * RING) / data.n));

function svg(name, attributes, parent, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

function clear(element) {
  element.replaceChildren();
  return element;
}

function place(rank) {
  const angle = (2 * Math.PI * rank) / data.n - Math.PI / 2;
  return data.n === 1 ? [CENTRE, CENTRE] : [CENTRE + RING * Math.cos(angle), CENTRE + RING * Math.sin(angle)];
}

function drawRanks() {
  for (let rank = 0; rank < data.n; rank++) {
    const [x, y] = place(rank), group = svg("g", { class: "rank" }, $("ranks"));
    svg("circle", { cx: x, cy: y, r: nodeSize }, group);
    svg("text", { x, y, "font-size": Math.min(16, nodeSize * 1.05) }, group, rank);
  }
}

const towards = ([ax, ay], [bx, by], length) => {
  const way = Math.hypot(bx - ax, by - ay) || 1;
  return [ax + ((bx - ax) / way) * length, ay + ((by - ay) / way) * length];
};

// Start, control point and end of a message's curve: to the right of its way, so that one and its answer are
// beside each other; several between the same ranks fan out. Local work is a loop outside the circle.
function curveOf(m, turn) {
  const a = place(m.src), b = place(m.dst);
  if (m.src === m.dst) {
    const out = data.n === 1 ? [CENTRE, 0] : towards([CENTRE, CENTRE], a, RING + nodeSize * 2.6 + 8 * turn);
    const side = [(a[1] - CENTRE) / RING * nodeSize * 1.7, -(a[0] - CENTRE) / RING * nodeSize * 1.7];
    const [one, two] = [1, -1].map((s) => [out[0] + s * side[0], out[1] + s * side[1]]);
    return [towards(a, one, nodeSize), one, two, towards(a, two, nodeSize + 3)];
  }
  const bend = 0.1 + 0.08 * turn;
  const control = [(a[0] + b[0]) / 2 - (b[1] - a[1]) * bend, (a[1] + b[1]) / 2 + (b[0] - a[0]) * bend];
  return [towards(a, control, nodeSize), control, control, towards(b, control, nodeSize + 3)];
}

// A point of the cubic curve.
function along([a, b, c, d], t) {
  const s = 1 - t;
  return [0, 1].map((i) => s * s * s * a[i] + 3 * s * s * t * b[i] + 3 * s * t * t * c[i] + t * t * t * d[i]);
}

function labelText(m) {
  const from = spans(m.slots.map((s) => s[0])).join(","), to = spans(m.slots.map((s) => s[1])).join(",");
  const text = from === to ? to : `${from}→${to}`;
  return (m.folds ? "+" : "") + (text.length > 9 ? `${m.slots.length} slots` : text);
}

// The first place along the curve where the label touches no other and no rank; none if there is no such place.
function labelPlace(curve, text, taken) {
  const wide = 4.5 * text.length + 4, high = 9;
  for (const t of [0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74]) {
    const [x, y] = along(curve, t);
    if (x < wide || x > 640 - wide || y < high || y > 640 - high) continue;
    if (taken.every((o) => Math.abs(o.x - x) > o.wide + wide || Math.abs(o.y - y) > o.high + high)) {
      taken.push({ x, y, wide, high });
      return [x, y];
    }
  }
  return null;
}

function drawMessages(messages, wrong, tell) {
  const arrows = clear($("arrows")), labels = clear($("labels")), turns = new Map();
  const nodes = [...Array(data.n).keys()].map(place);
  const taken = nodes.map(([x, y]) => ({ x, y, wide: nodeSize, high: nodeSize }));
  messages.forEach((m, number) => {
    const key = `${m.src} ${m.dst}`, turn = turns.get(key) || 0;
    turns.set(key, turn + 1);
    const known = [m.src, m.dst].every((rank) => rank >= 0 && rank < data.n);
    if (!known) return; // the list tells it
    const curve = curveOf(m, turn), kind = m.folds ? "fold" : "copy";
    const d = `M${curve[0]}C${curve.slice(1).join(" ")}`;
    const hit = svg("path", { d, class: "hit" }, arrows);
    const [mark, head] = wrong.includes(number) ? [" wrong", "wrong"] : ["", kind];
    svg("path", { d, class: `arrow ${kind}${mark}`, "marker-end": `url(#head-${head})` }, arrows);
    tell(hit, () => messageText(m));
    if (messages.length > LABELLED) return;
    const text = labelText(m), at = labelPlace(curve, text, taken);
    if (at) svg("text", { x: at[0], y: at[1], class: kind }, labels, text);
  });
  $("diagram-text").textContent = messages.length ? `${counted(messages.length, "message")} between ranks` : "No messages";
}

function listMessages(messages, wrong) {
  const list = clear($("list"));
  messages.forEach((m, number) => {
    const item = document.createElement("li");
    item.textContent = messageText(m);
    if (wrong.includes(number)) {
      item.className = "wrong";
      item.textContent += " (here is the fault)";
    }
    list.append(item);
  });
  $("list-title").textContent = messages.length ? `${counted(messages.length, "message")} in words` : "No messages";
}

const counted = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
