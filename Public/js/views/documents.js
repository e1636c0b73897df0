// JSON as people read it: the specification as text, a report as a list of facts.
import { fill, h } from "../dom.js";
import * as format from "../format.js";
import { card, toast } from "../parts.js";

/** A panel with a JSON document, coloured, with a button that copies it. */
export function jsonPanel(title) {
  const code = h("pre", { class: "code", tabindex: 0 });
  const copy = h("button", { class: "button plain small", type: "button" }, "copy");
  let text = "";
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    toast("Copied.");
  });
  return {
    element: card(title, code, copy),
    update(value) {
      const next = written(value ?? null);
      if (next === text) return;
      text = next;
      fill(code, coloured(text));
    },
  };
}

/** JSON with two spaces of indentation; a list without objects stays on one line. */
function written(value) {
  return JSON.stringify(value, null, 2).replace(/\[\n +([^[\]{}]*?)\n +\]/g,
    (_, items) => `[${items.split(/,\n +/).join(", ")}]`);
}

/** The text's tokens as spans: keys, strings, numbers and literals. */
function coloured(text) {
  const token = /("(?:\\.|[^"\\])*")(\s*:)?|(-?\d[\d.eE+-]*)|\b(true|false|null)\b/g;
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(token)) {
    parts.push(text.slice(end, match.index));
    const [whole, string, colon, number] = match;
    if (string) parts.push(h("span", { class: colon ? "k" : "s" }, string), colon ?? "");
    else parts.push(h("span", { class: number ? "n" : "l" }, whole));
    end = match.index + whole.length;
  }
  return [...parts, text.slice(end)];
}

/** A finished job's report; hidden until there is one. */
export function reportPanel() {
  const facts = h("div", { class: "body" });
  const element = card("Report", facts);
  element.hidden = true;
  let shown = "";
  return {
    element,
    update(job) {
      const report = job.result?.report;
      element.hidden = !report;
      const text = JSON.stringify(report);
      if (!report || text === shown) return;
      shown = text;
      fill(facts, factList(report));
    },
  };
}

/** Any JSON value as a list of facts, objects within objects indented; what has rows is a table. */
export function factList(value) {
  const entries = Object.entries(value ?? {}).filter(([, one]) => one !== null);
  return h("dl", { class: "facts" }, entries.map(([name, one]) => {
    const table = isMatrix(one) ? matrixTable(one) : recordTable(one);
    if (table) return [h("dt", {}, format.words(name)), h("dd", { class: "nested" }, table)];
    if (one !== null && typeof one === "object" && !isPlainList(one)) {
      const items = Array.isArray(one) ? one : [one];
      return [h("dt", {}, format.words(name)), h("dd", {}, items.length === 0 ? "none" : ""),
        items.map((item) => h("dd", { class: "nested" }, factList(item)))];
    }
    return [h("dt", {}, format.words(name)), h("dd", {}, factText(name, one))];
  }));
}

/** Rows of equally many numbers, such as confusions: labels downwards, predictions across. */
const isMatrix = (value) => Array.isArray(value) && value.length > 1 && value.every((row) =>
  Array.isArray(row) && row.length === value[0].length && row.every((one) => typeof one === "number"));

function matrixTable(rows) {
  return h("div", { class: "table-scroll" }, h("table", { class: "figures" },
    h("thead", {}, h("tr", {}, h("th", {}, ""), rows[0].map((_, column) => h("th", {}, column)))),
    h("tbody", {}, rows.map((row, index) => h("tr", {}, h("th", {}, index),
      row.map((one, column) => h("td", { class: index === column ? "own" : null }, factText("", one))))))));
}

/** Objects of the same plain members, in a list or by name, as a table; null for anything else. */
function recordTable(value) {
  if (value === null || typeof value !== "object") return null;
  const records = Object.entries(value);
  const keys = Object.keys(records[0]?.[1] ?? {});
  const isRecord = (one) => one !== null && typeof one === "object" && !Array.isArray(one)
    && Object.keys(one).join() === keys.join()
    && Object.values(one).every((part) => typeof part !== "object");
  if (records.length < 2 || keys.length < 2 || !records.every(([, one]) => isRecord(one))) return null;
  const isNamed = !Array.isArray(value);
  const heads = keys.map((key) => h("th", {}, format.words(key)));
  return h("div", { class: "table-scroll" }, h("table", { class: "figures" },
    h("thead", {}, h("tr", {}, isNamed && h("th", {}, ""), heads)),
    h("tbody", {}, records.map(([name, one]) => h("tr", {}, isNamed && h("th", {}, name),
      keys.map((key) => h("td", {}, factText(key, one[key]))))))));
}

const isPlainList = (value) => Array.isArray(value) && value.every((one) => typeof one !== "object");

function factText(name, value) {
  if (Array.isArray(value)) return value.map((one) => factText("", one)).join(", ");
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  if (name.endsWith("_at")) return format.moment(value);
  if (name === "bytes" || name.endsWith("_bytes")) return format.bytes(value);
  if (name.endsWith("accuracy")) return format.percent(value);
  if (name.endsWith("joules")) return format.joules(value);
  if (name.endsWith("seconds")) return format.duration(value);
  return Number.isInteger(value) ? format.number(value) : format.significant(value);
}
