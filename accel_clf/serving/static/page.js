"use strict";
// Texts and labels are set as text, never as markup: what somebody has typed or trained on stays what it is.

const at = (id) => document.getElementById(id);
const MOST_BARS = 20;

function show(id, shown = true) {
  at(id).hidden = !shown;
}

function fail(why) {
  at("error").textContent = why;
  show("error");
}

// What the server answers, or an Error with what it says is wrong.
async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  if (response.ok) return response;
  let told = {};
  try {
    told = await response.json();
  } catch { /* something between us and the server has answered */ }
  const wait = response.headers.get("Retry-After");
  throw new Error((told.error || `The server answers ${response.status}`) + (wait ? ` (try again in ${wait} s)` : ""));
}

const asJSON = (body) => ({
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
});

// Runs what a form or button does, with its button off and its failure shown.
function doing(button, work) {
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
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function bar({ label, score }) {
  const item = element("li", "");
  const name = element("span", "name", label);
  name.title = label;
  const track = element("span", "track");
  const filled = element("div", "bar");
  filled.style.width = `${100 * score}%`;
  track.append(filled);
  item.append(name, track, element("span", "value", `${(100 * score).toFixed(1)}%`));
  return item;
}

async function label() {
  const began = performance.now();
  const response = await ask("predict", asJSON({ inputs: at("text").value }));
  const [scores] = await response.json();
  at("label").textContent = scores[0].label;
  at("score").textContent = `${(100 * scores[0].score).toFixed(1)}%`;
  at("scores").replaceChildren(...scores.slice(0, MOST_BARS).map(bar));
  at("time").textContent = `${Math.round(performance.now() - began)} ms`;
  show("cut", response.headers.has("X-Truncated"));
  show("answer");
  show("explain");
  show("words", false);
}

async function explain() {
  const found = await (await ask("explain", asJSON({ inputs: at("text").value }))).json();
  const most = Math.max(...found.parts.map((part) => Math.abs(part.weight)), 1e-9);
  at("for").textContent = found.label;
  at("parts").replaceChildren(...found.parts.map(({ text, weight }) => {
    const part = element("span", "", text);
    const colour = weight > 0 ? "--for" : "--against";
    part.style.backgroundColor = `rgba(var(${colour}), ${(0.6 * Math.abs(weight) / most).toFixed(3)})`;
    part.title = `${weight > 0 ? "+" : ""}${(100 * weight).toFixed(1)} points`;
    return part;
  }));
  show("words");
}

let result = null;

async function labelFile() {
  const [file] = at("file").files;
  if (!file) throw new Error("Choose a file first.");
  const form = new FormData();
  form.append("file", file);
  show("labelled");
  show("download", false);
  at("progress").removeAttribute("value");
  at("rows").textContent = "Uploading…";
  try {
    const response = await ask(`predict/file?text=${encodeURIComponent(at("column").value)}`, { method: "POST", body: form });
    const rows = Number(response.headers.get("X-Rows"));
    const ends = rows + (file.name.toLowerCase().endsWith(".jsonl") ? 0 : 1);
    at("progress").max = ends;
    const pieces = [];
    let lines = 0;
    for (const reader = response.body.getReader(); ;) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(value);
      for (const byte of value) lines += byte === 10;
      at("progress").value = Math.min(lines, ends);
      at("rows").textContent = `${Math.min(lines, rows)} of ${rows} rows`;
    }
    if (result) URL.revokeObjectURL(result);
    result = URL.createObjectURL(new Blob(pieces, { type: response.headers.get("Content-Type") }));
    at("download").href = result;
    const dot = file.name.lastIndexOf(".");
    const suffix = file.name.slice(dot).toLowerCase().replace(".txt", ".csv");
    at("download").download = `${file.name.slice(0, dot)}-labelled${suffix}`;
    at("progress").value = ends;
    at("rows").textContent = `${rows} rows labelled.`;
    show("download");
  } catch (error) {
    show("labelled", false);
    throw error;
  }
}

function choose() {
  const [file] = at("file").files;
  if (file) at("chosen").textContent = `${file.name}, ${Math.ceil(file.size / 1024)} KB`;
}

const submit = (form) => form.querySelector("button[type=submit]");
at("ask").addEventListener("submit", doing(submit(at("ask")), label));
at("explain").addEventListener("click", doing(at("explain"), explain));
at("upload").addEventListener("submit", doing(submit(at("upload")), labelFile));
at("file").addEventListener("change", choose);
at("text").addEventListener("input", () => { show("explain", false); show("words", false); });
at("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("ask").requestSubmit();
});
for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  at("drop").addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", over);
    if (name === "drop" && event.dataTransfer.files.length) {
      at("file").files = event.dataTransfer.files;
      choose();
    }
  });
}
