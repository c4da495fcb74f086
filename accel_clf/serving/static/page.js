"use strict";
// Texts and labels are set as text, never as markup, so that neither can inject HTML.

const byId = (id) => document.getElementById(id);
const MAX_BARS = 20;
const DEFAULT_THRESHOLD = 0.5;
const ABSTAIN = "abstain"; // in place of a label, of a server with --risk
// What is predicted: "single_label", "multi_label", "ordinal" or "regression"; and from which score labels are given.
const target = document.body.dataset.target;
const thresholds = JSON.parse(document.body.dataset.thresholds);
const pair = byId("pair"); // the box for the second text, where the model reads pairs
const inputs = () => pair ? { text: byId("text").value, text_pair: pair.value } : byId("text").value;
const percent = (score) => `${(100 * score).toFixed(1)}%`;

function show(id, visible = true) {
  byId(id).hidden = !visible;
}

function fail(message) {
  byId("error").textContent = message;
  show("error");
}

// Returns the server's response, or throws an Error with the server's message.
async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  if (response.ok) return response;
  let body = {};
  try {
    body = await response.json();
  } catch { /* a proxy's response, not the server's */ }
  const wait = response.headers.get("Retry-After");
  throw new Error((body.error || `The server answers ${response.status}`) + (wait ? ` (try again in ${wait} s)` : ""));
}

const asJSON = (body) => ({
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
});

// Wraps the handler of a form or button: disables the button meanwhile and shows an error.
function handler(button, work) {
  return async (event) => {
    event.preventDefault();
    show("error", false);
    button.disabled = true;
    try {
      await work();
    } catch (error) {
      fail(error.message);
    } finally {
      button.disabled = false;
    }
  };
}

function element(tag, className, text = "") {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
}

function bar({ label, score, predicted }) {
  const item = element("li", predicted ? "predicted" : "");
  // Of several labels each has its own words, which a click explains.
  const name = element(target === "multi_label" ? "button" : "span", "name", label);
  name.title = label;
  const track = element("span", "track");
  const filled = element("div", "bar");
  filled.style.width = `${100 * score}%`;
  track.append(filled);
  if (target === "multi_label") {
    const threshold = thresholds[label] ?? DEFAULT_THRESHOLD;
    const mark = element("span", "threshold");
    mark.style.left = `${100 * threshold}%`;
    track.append(mark);
    track.title = `given from ${percent(threshold)}`;
    name.type = "button";
    name.addEventListener("click", handler(name, () => explain(label)));
  }
  item.append(name, track, element("span", "value", percent(score)));
  return item;
}

// Returns what is predicted, and its score where it has one of its own.
function headline(scores) {
  if (target === "regression") return [scores[0].score.toPrecision(4), scores[0].label];
  if (scores[0].label === ABSTAIN && "set" in document.body.dataset) {
    return [ABSTAIN, `one of ${scores.slice(1).map((item) => item.label).join(", ")}`];
  }
  if (target !== "multi_label") return [scores[0].label, percent(scores[0].score)];
  const given = scores.filter((item) => item.predicted).map((item) => item.label);
  return [given.join(", ") || "no label", ""];
}

async function label() {
  const began = performance.now();
  const response = await ask("predict", asJSON({ inputs: inputs() }));
  const [scores] = await response.json();
  [byId("label").textContent, byId("score").textContent] = headline(scores);
  const shown = target === "regression" ? [] : scores.filter((item, place) => place < MAX_BARS || item.predicted);
  byId("scores").replaceChildren(...shown.map(bar));
  byId("time").textContent = `${Math.round(performance.now() - began)} ms`;
  show("cut", response.headers.has("X-Truncated"));
  show("answer");
  show("explain");
  show("words", false);
}

async function explain(label) {
  const explanation = await (await ask("explain", asJSON({ inputs: inputs(), label }))).json();
  const largest = Math.max(...explanation.parts.map((part) => Math.abs(part.weight)), 1e-9);
  byId("for").textContent = explanation.label;
  const marked = ({ text, weight }) => {
    const part = element("span", "", text);
    const colour = weight > 0 ? "--for" : "--against";
    part.style.backgroundColor = `rgba(var(${colour}), ${(0.6 * Math.abs(weight) / largest).toFixed(3)})`;
    const change = target === "regression" ? weight.toPrecision(2) : `${(100 * weight).toFixed(1)} points`;
    part.title = `${weight > 0 ? "+" : ""}${change}`;
    return part;
  };
  const ofSide = (name) => explanation.parts.filter(({ side = "text" }) => side === name).map(marked);
  byId("parts").replaceChildren(...ofSide("text"));
  if (pair) byId("pair-parts").replaceChildren(...ofSide("text_pair"));
  show("several", target === "multi_label");
  show("words");
}

let result = null;

async function labelFile() {
  const [file] = byId("file").files;
  if (!file) throw new Error("Choose a file first.");
  const form = new FormData();
  form.append("file", file);
  show("labelled");
  show("download", false);
  byId("progress").removeAttribute("value");
  byId("rows").textContent = "Uploading…";
  try {
    const columns = new URLSearchParams([...document.querySelectorAll(".column")].map((input) => ["text", input.value]));
    if (pair) columns.append("pair", byId("pair-column").value);
    const response = await ask(`predict/file?${columns}`, { method: "POST", body: form });
    const rows = Number(response.headers.get("X-Rows"));
    const totalLines = rows + (file.name.toLowerCase().endsWith(".jsonl") ? 0 : 1);
    byId("progress").max = totalLines;
    const pieces = [];
    let lines = 0;
    for (const reader = response.body.getReader(); ;) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(value);
      for (const byte of value) lines += byte === 10;
      byId("progress").value = Math.min(lines, totalLines);
      byId("rows").textContent = `${Math.min(lines, rows)} of ${rows} rows`;
    }
    if (result) URL.revokeObjectURL(result);
    result = URL.createObjectURL(new Blob(pieces, { type: response.headers.get("Content-Type") }));
    byId("download").href = result;
    const dot = file.name.lastIndexOf(".");
    const suffix = file.name.slice(dot).toLowerCase().replace(".txt", ".csv");
    byId("download").download = `${file.name.slice(0, dot)}-labelled${suffix}`;
    byId("progress").value = totalLines;
    byId("rows").textContent = `${rows} rows labelled.`;
    show("download");
  } catch (error) {
    show("labelled", false);
    throw error;
  }
}

function choose() {
  const [file] = byId("file").files;
  if (file) byId("chosen").textContent = `${file.name}, ${Math.ceil(file.size / 1024)} KB`;
}

const submit = (form) => form.querySelector("button[type=submit]");
byId("ask").addEventListener("submit", handler(submit(byId("ask")), label));
byId("explain").addEventListener("click", handler(byId("explain"), () => explain()));
byId("upload").addEventListener("submit", handler(submit(byId("upload")), labelFile));
byId("file").addEventListener("change", choose);
for (const box of [byId("text"), ...(pair ? [pair] : [])]) {
  box.addEventListener("input", () => { show("explain", false); show("words", false); });
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("ask").requestSubmit();
  });
}
for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  byId("drop").addEventListener(name, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", over);
    if (name === "drop" && event.dataTransfer.files.length) {
      byId("file").files = event.dataTransfer.files;
      choose();
    }
  });
}
