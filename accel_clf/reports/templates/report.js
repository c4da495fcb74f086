"use strict";
(() => {
  const element = document.getElementById("page-data");
  const data = element ? JSON.parse(element.textContent) : {};
  const at = (id) => document.getElementById(id);

  function made(name, text, attributes = {}) {
    const node = document.createElement(name);
    if (text !== undefined) node.textContent = text;
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  }

  // Names as Python's `shortened`, `isolated` and `spoken` write them.
  function short(name, longest = 32) {
    const letters = [...name].map((letter) => (/[\p{C}\p{Z}]/u.test(letter) ? " " : letter));
    if (!letters.join("").trim()) return "(empty)";
    return (letters.length > longest ? [...letters.slice(0, longest - 1), "…"] : letters).join("");
  }
  const spoken = (name) => `\u2068${short(name)}\u2069`;
  function isolated(name, longest = 80) {
    const shown = short(name, longest);
    return made("bdi", shown, shown === name || !name.trim() ? {} : { title: name });
  }

  // The rows of a cell.
  const panel = at("cell");
  function open(cell, button) {
    const rows = (data.cells[cell] || []).map((index) => data.opened[index]);
    panel.replaceChildren();
    const head = made("div", undefined, { class: "row" });
    head.append(made("strong", button.getAttribute("aria-label")));
    const close = made("button", "Close", { type: "button", class: "small screen" });
    close.addEventListener("click", () => { panel.hidden = true; button.focus(); });
    head.append(close);
    panel.append(head);
    if (rows.length > 1) panel.append(made("p", `${rows.length} of them, the surest first`, { class: "note" }));
    if (!rows.length) panel.append(made("p", "A run keeps texts of its most frequent confusions only, and this is none of them.", { class: "note" }));
    const list = made("ol");
    for (const [row, label, predicted, score, ...texts] of rows) {
      const item = made("li");
      for (const [index, text] of texts.entries()) item.append(index ? "\n— " : "", made("bdi", text));
      const line = made("small", `row ${row}: label `);
      line.append(isolated(label), ", predicted ", isolated(predicted), score === null ? "" : `, score ${score}`);
      item.append(line);
      list.append(item);
    }
    panel.append(list);
    panel.hidden = false;
    panel.focus();
    panel.scrollIntoView({ block: "nearest" });
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-cell]");
    if (button && panel) open(button.dataset.cell, button);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && panel && !panel.hidden) panel.querySelector("button").click();
  });

  // The part of a large matrix that is asked for.
  const filter = at("matrix-filter");
  if (filter) {
    const first = at("matrix");
    const totals = data.labels.map(() => 0);
    const counts = new Map();
    for (const [label, predicted, rows] of data.confusion) {
      totals[label] += rows;
      counts.set(`${label},${predicted}`, rows);
    }
    function matrix(codes) {
      const table = made("table", undefined, { id: "matrix" });
      const head = made("tr");
      head.append(made("th", "label", { scope: "col" }));
      for (const code of codes) {
        const cell = made("th", undefined, { scope: "col", title: data.labels[code] });
        const span = made("span");
        span.append(isolated(data.labels[code], 24));
        cell.append(span);
        head.append(cell);
      }
      const thead = made("thead");
      thead.append(head);
      const body = made("tbody");
      for (const label of codes) {
        const line = made("tr");
        const name = made("th", undefined, { scope: "row", title: data.labels[label] });
        name.append(isolated(data.labels[label], 24));
        line.append(name);
        for (const predicted of codes) {
          const key = `${label},${predicted}`;
          const rows = counts.get(key) || 0;
          const cell = made("td", undefined, { class: label === predicted ? "right" : "wrong" });
          cell.style.setProperty("--share", (rows / (totals[label] || 1)).toFixed(3));
          cell.append(rows
            ? made("button", rows.toLocaleString("en"), { type: "button", "data-cell": key, "aria-label": `${rows} ${rows === 1 ? "row" : "rows"}: label ${spoken(data.labels[label])}, predicted ${spoken(data.labels[predicted])}` })
            : made("span", "0", { class: "none" }));
          line.append(cell);
        }
        body.append(line);
      }
      table.append(thead, body);
      return table;
    }
    filter.addEventListener("input", () => {
      const words = filter.value.trim().toLowerCase();
      const most = Number(filter.dataset.most);
      if (!words) {
        at("matrix").replaceWith(first);
        at("matrix-note").textContent = "";
        return;
      }
      const found = data.labels.map((name, code) => code).filter((code) => data.labels[code].toLowerCase().includes(words));
      at("matrix-note").textContent = found.length > most ? `${most} of ${found.length} labels` : `${found.length} labels`;
      at("matrix").replaceWith(matrix(found.slice(0, most)));
    });
  }

  // Search in tables.
  for (const input of document.querySelectorAll("input[data-search]")) {
    const rows = [...at(input.dataset.search).tBodies[0].rows];
    const status = document.querySelector(`[data-count="${input.dataset.search}"]`);
    const texts = rows.map((row) => [row.textContent, ...[...row.querySelectorAll("[title]")].map((of) => of.title)].join("\n").toLowerCase());
    input.addEventListener("input", () => {
      const words = input.value.trim().toLowerCase();
      let shown = 0;
      for (const [index, row] of rows.entries()) {
        row.hidden = !texts[index].includes(words);
        shown += row.hidden ? 0 : 1;
      }
      if (status) status.textContent = words ? `${shown} of ${rows.length}` : "";
    });
  }

  // The threshold.
  const slider = at("threshold");
  if (slider) {
    const select = at("threshold-label");
    const chart = at("chart-threshold");
    const path = (name) => chart.querySelector(`[id="chart-threshold-${name}"] path`);
    const [x0, y0, x1, y1] = path("frame").getAttribute("d").match(/-?[\d.]+/g).map(Number);
    const place = (x, y) => `${(x0 + x * (x1 - x0)).toFixed(2)} ${(y0 + y * (y1 - y0)).toFixed(2)}`;
    const share = (part, whole) => (whole ? part / whole : null);
    // Every hundredth, and the threshold in use.
    const stops = (of) => [...new Set([...Array.from({ length: 101 }, (_, t) => t / 100), of.cut])].sort((a, b) => a - b);
    const line = (thresholds, values) => values.map((y, index) => (y === null ? "" : place(thresholds[index], y)))
      .filter(Boolean).map((point, index) => (index ? "L" : "M") + point).join(" ");
    function draw() {
      const of = data.thresholds[select.value];
      const thresholds = stops(of);
      path("precision").setAttribute("d", line(thresholds, of.given.map((count, t) => share(of.right[t], count))));
      path("recall").setAttribute("d", line(thresholds, of.right.map((right) => share(right, of.positives))));
    }
    function show() {
      const of = data.thresholds[select.value];
      const t = Number(slider.value);
      const isAnswer = !data.several && select.value === "0";
      const [right, given] = [of.right[t], of.given[t]];
      const values = {
        precision: share(right, given), recall: share(right, of.positives), f1: share(2 * right, given + of.positives),
        right, wrong: given - right,
        missed: isAnswer ? of.total - given : of.positives - right,
        rest: isAnswer ? null : of.total - given - of.positives + right,
      };
      for (const node of document.querySelectorAll("#threshold-figures [data-of]")) {
        const value = values[node.dataset.of];
        const isCount = ["right", "wrong", "missed", "rest"].includes(node.dataset.of);
        node.textContent = value === null ? "–" : isCount ? value.toLocaleString("en") : value.toFixed(4);
      }
      document.querySelector("[data-name=missed]").textContent = isAnswer ? "without an answer" : "missed";
      const threshold = stops(of)[t];
      const text = threshold.toFixed(Math.round(100 * threshold) / 100 === threshold ? 2 : 4);
      at("threshold-value").textContent = text;
      slider.setAttribute("aria-valuetext", text);
      path("marker").setAttribute("d", `M${place(threshold, 0)} L${place(threshold, 1)}`);
    }
    function choose() {
      const of = data.thresholds[select.value];
      slider.max = stops(of).length - 1;
      slider.value = stops(of).indexOf(of.cut);
      draw();
      show();
    }
    select.addEventListener("change", choose);
    slider.addEventListener("input", show);
    choose();
  }

  // A page of a run that goes on.
  const seconds = Number(document.body.dataset.reload);
  if (seconds) setTimeout(() => location.reload(), 1000 * seconds);
})();
