// Which step is shown, and everything that changes it.
const steps = data.rounds.length;
let step = 0; // rounds done
let timer = null; // while playing

const chosen = (name) => document.querySelector(`input[name=${name}]:checked`).value;

function go(to) {
  step = Math.max(0, Math.min(steps, to));
  render();
}

function render() {
  const round = step ? data.rounds[step - 1] : { messages: [], changes: [] };
  const fault = data.fault && step === data.fault.step ? data.fault : null;
  const wrong = fault ? fault.messages : [];
  const before = chosen("when") === "before" && step > 0;
  drawMessages(round.messages, wrong, tell);
  listMessages(round.messages, wrong);
  const changed = new Set(before ? [] : round.changes.map(([cell]) => cell));
  showGrid(stateAfter(before ? step - 1 : step), changed, fault ? fault.cell : null);
  if (load) showLinks();
  showStatus(round, fault);
  $("slider").value = step;
  $("slider").setAttribute("aria-valuetext", stepText());
  for (const [id, off] of [["first", step === 0], ["back", step === 0], ["forward", step === steps], ["last", step === steps]]) {
    if (off && document.activeElement === $(id)) $("slider").focus(); // a button that goes dead loses the keys
    $(id).disabled = off;
  }
}

const stepText = () => (step ? `Round ${step - 1} (${step} of ${steps} done)` : `Start (0 of ${steps} rounds done)`);

function showStatus(round, fault) {
  const notes = step ? [round.messages.length ? counted(round.messages.length, "message") : "no messages"] : [];
  const timed = load && load.rounds[step - 1];
  if (timed) {
    const total = load.rounds.slice(0, step).reduce((sum, r) => sum + r.seconds, 0);
    notes.push(secondsText(timed.seconds), `${secondsText(total)} so far`);
  }
  const status = $("status");
  status.textContent = [stepText(), ...(notes.length ? [notes.join(", ")] : [])].join(": ");
  if (fault) {
    const text = document.createElement("strong");
    text.className = "wrong";
    text.textContent = ` ✗ ${fault.text}`;
    status.append(text);
  }
}

function play() {
  if (timer !== null) return pause();
  if (step === steps) go(0);
  timer = setInterval(() => {
    go(step + 1);
    if (step === steps) pause();
  }, 1000 / Number($("speed").value));
  playing(true);
}

function pause() {
  clearInterval(timer);
  timer = null;
  playing(false);
}

function playing(now) {
  $("play-text").textContent = now ? "Pause" : "Play";
  $("play-sign").textContent = now ? "❚❚" : "▶";
}

function byHand(to) {
  pause();
  go(to);
}

function keys(event) {
  if (event.key === "Escape") return hush();
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input, select, summary")) return;
  if (event.key === " " && event.target.closest("button")) return;
  const actions = {
    ArrowLeft: () => byHand(step - 1), ArrowRight: () => byHand(step + 1), " ": play,
    Home: () => byHand(0), End: () => byHand(steps),
  };
  if (!Object.hasOwn(actions, event.key)) return;
  event.preventDefault();
  actions[event.key]();
}

function start() {
  document.title = $("title").textContent = data.title;
  $("verdict").className = data.fault ? "wrong" : "proved";
  $("verdict").textContent = data.fault ? `✗ ${data.fault.text}` : `✓ ${data.verdict}`;
  $("to-fault").hidden = !data.fault;
  $("slider").max = steps;
  stateAfter(steps);
  drawRanks();
  buildGrid();
  cellLegend();
  if (load) buildLinks();
  fitGrid();
  const clicks = {
    first: () => byHand(0), back: () => byHand(step - 1), play, forward: () => byHand(step + 1),
    last: () => byHand(steps), "to-fault": () => byHand(data.fault.step),
  };
  for (const [id, action] of Object.entries(clicks)) $(id).addEventListener("click", action);
  $("slider").addEventListener("input", () => byHand(Number($("slider").value)));
  $("speed").addEventListener("change", () => { if (timer !== null) { pause(); play(); } });
  for (const input of document.querySelectorAll("input[type=radio]")) input.addEventListener("change", render);
  document.addEventListener("keydown", keys);
  document.addEventListener("scroll", hush, { capture: true, passive: true });
  addEventListener("resize", fitGrid);
  render();
}

start();
