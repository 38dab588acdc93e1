// What the links of the topology carry: a map of it, and the busiest ones as a table.
const load = data.load;
const LISTED = 12; // links in the table
const wires = []; // {path, head, star} by link
let sums = []; // [k]: bytes of all links after k rounds
let mostInRound = 0; // seconds that any link is busy in any round

const busy = (bytes, link) => (bytes ? bytes / load.bandwidth[link] : 0);

function inRound(k) {
  const bytes = new Float64Array(load.ends.length), r = load.rounds[k - 1];
  if (r) r.links.forEach((link, i) => { bytes[link] = r.bytes[i]; });
  return bytes;
}

function buildLinks() {
  $("load").hidden = false;
  $("load-text").textContent = load.facts;
  sums = [inRound(0)];
  load.rounds.forEach((_, k) => sums.push(inRound(k + 1).map((bytes, link) => bytes + sums[k][link])));
  for (const r of load.rounds) mostInRound = Math.max(mostInRound, ...r.bytes.map((b, i) => busy(b, r.links[i])));
  const map = $("map");
  map.setAttribute("viewBox", `0 0 ${load.size.join(" ")}`);
  load.ends.forEach((ends, link) => {
    const [a, b] = ends.map((vertex) => load.vertices[vertex].at);
    wires.push(drawWire(link, a, load.bends[link], b));
  });
  load.vertices.forEach(drawVertex);
  const most = Math.max(...sums[sums.length - 1].map(busy));
  const used = [...load.ends.keys()].filter((link) => busyInAll(link) > 0).sort((a, b) => busyInAll(b) - busyInAll(a));
  used.slice(0, LISTED).forEach(addRow);
  const equal = used.filter((link) => busyInAll(link) > most * (1 - 1e-9)).length - 1;
  const rest = used.length - LISTED;
  $("load-rest").textContent = !used.length ? "No link carries anything."
    : `★ the bottleneck, busy for ${secondsText(most)} in all${equal ? `, as ${equal === 1 ? "is" : "are"} ${equal} more` : ""}.`
      + (rest > 0 ? ` ${counted(rest, "link")} with equal or less load not listed.` : "");
  if (!used.length) return;
  const [x, y] = wires[used[0]].star, size = Math.max(10, Math.min(20, 1.6 * load.radius));
  svg("text", { x, y, class: "star", "font-size": size }, $("vertices"), "★");
}

const busyInAll = (link) => busy(sums[sums.length - 1][link], link);

function drawWire(link, a, control, b) {
  const d = `M${a}Q${control} ${b}`, t = 0.6;
  const hit = svg("path", { d, class: "hit" }, $("wires")), path = svg("path", { d, class: "link" }, $("wires"));
  const point = (u) => [0, 1].map((i) => (1 - u) ** 2 * a[i] + 2 * u * (1 - u) * control[i] + u * u * b[i]);
  const at = point(t), star = point(1 - t);
  const way = [0, 1].map((i) => (1 - t) * (control[i] - a[i]) + t * (b[i] - control[i]));
  const size = Math.min(1, Math.hypot(b[0] - a[0], b[1] - a[1]) / 60).toFixed(2);
  const angle = (Math.atan2(way[1], way[0]) * 180) / Math.PI;
  const transform = `translate(${at}) rotate(${angle.toFixed(1)}) scale(${size})`;
  const head = svg("path", { d: "M-4 -4 6 0-4 4z", transform }, $("wires"));
  tell(hit, () => linkText(link));
  return { path, head, star };
}

function drawVertex({ at: [x, y], name, kind, rank }, vertex) {
  const group = svg("g", { class: kind === "switch" ? "vertex" : "rank" }, $("vertices"));
  if (kind !== "switch") {
    svg("circle", { cx: x, cy: y, r: rank === null ? load.radius / 2 : load.radius }, group);
    if (rank !== null) svg("text", { x, y, "font-size": Math.min(13, load.radius * 1.05) }, group, rank);
    return;
  }
  const room = Math.min(130, ...load.vertices.map((v, k) => {
    const [aside, above] = [Math.abs(v.at[0] - x), Math.abs(v.at[1] - y)], host = v.kind !== "switch";
    if (k === vertex || above > (host ? 9 + load.radius : 18)) return Infinity;
    return host ? 2 * (aside - load.radius) : aside;
  })) - 4;
  const size = Math.max(3, Math.min(11, (room - 6) / (0.6 * name.length))), wide = 0.6 * size * name.length + 6;
  svg("rect", { x: x - wide / 2, y: y - 9, width: wide, height: 18, rx: 4 }, group);
  svg("text", { x, y, "font-size": size.toFixed(1) }, group, name);
}

function addRow(link, number) {
  const row = $("load-table").tBodies[0].insertRow();
  row.dataset.link = link;
  header(row, (number ? "" : "★ ") + load.names[link], "row");
  for (let k = 0; k < 4; k++) row.insertCell();
  row.cells[4].textContent = secondsText(busyInAll(link));
}

function linkText(link) {
  const [round, total] = [inRound(step), sums[Math.min(step, sums.length - 1)]].map((bytes) => amountOn(bytes, link));
  return `${load.names[link]}\nin the round: ${round}\nso far: ${total}`;
}

function amountOn(bytes, link) {
  return bytes[link] ? `${bytesText(bytes[link])}, ${secondsText(busy(bytes[link], link))}` : "nothing";
}

// Dark and thick is busy, as in the pictures; measured against the most that any link has in any step.
function showLinks() {
  const whole = chosen("span") === "total", all = sums[sums.length - 1];
  const now = Math.min(step, sums.length - 1), here = inRound(step);
  const bytes = whole ? sums[now] : here;
  const most = whole ? Math.max(...all.map(busy)) : mostInRound;
  wires.forEach(({ path, head }, link) => {
    const share = busy(bytes[link], link) / (most || 1), { face } = share ? shade(share) : { face: "" };
    path.setAttribute("class", share ? "link used" : "link");
    path.style.stroke = head.style.fill = face;
    path.style.strokeWidth = share ? 1.2 + 2.6 * share : 1;
    head.style.display = share ? "" : "none";
  });
  for (const row of $("load-table").tBodies[0].rows) {
    const link = Number(row.dataset.link);
    [here, sums[now], all].forEach((carried, k) => { row.cells[k + 1].textContent = bytesText(carried[link]); });
  }
  const legend = clear($("load-legend"));
  legend.append(scaleEntry(`link busy${whole ? " so far" : " in the round"}:`, 0, secondsText(most), shade));
  const used = bytes.filter((b) => b > 0).length;
  $("map-text").textContent = `The topology; ${counted(used, "link")} carry something ${whole ? "so far" : "in this round"}`;
}

const shade = (share) => colour((1 - share) * 0.88);
