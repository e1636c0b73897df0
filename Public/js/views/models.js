// The models that jobs have made, and one model's page.
import * as api from "../api.js";
import { fill, h } from "../dom.js";
import * as format from "../format.js";
import { card, empty, failure } from "../parts.js";
import { poll } from "../poll.js";
import { factList, jsonPanel } from "./documents.js";

/** Shows the list, or the model `id`, in `main`; returns the function that ends it. */
export function show(main, { id, onHealth }) {
  const content = h("div", { class: "stack" });
  const problem = h("div", { hidden: true });
  const ask = id
    ? async (signal) => showOne(content, await api.model(id, signal))
    : async (signal) => showList(content, await api.models({ limit: 200 }, signal));
  const polling = poll(ask, id ? null : 5000, (health) => {
    onHealth(health);
    problem.hidden = health.state !== "lost";
    if (health.failure) fill(problem, failure(health.failure));
  });
  const path = [h("a", { href: "#/models" }, "Models"), " / ", format.shortID(id)];
  fill(main, h("div", { class: "stack" },
    h("div", {}, id && h("p", { class: "crumbs" }, path), h("h1", {}, id ? "Model" : "Models")),
    problem, content));
  return () => polling.stop();
}

const name = (model) => model.name || format.shortID(model.id);
const download = (model) =>
  h("a", { class: "button small", href: api.modelFile(model.id), download: "" }, "Download");

function showList(content, { data }) {
  if (data.length === 0) {
    fill(content, h("section", { class: "card" },
      empty("No models yet", "A finished training job leaves its model here.")));
    return;
  }
  const columns = ["Model", "Created", "Parameters", "Size", "Test accuracy", "Made by", ""];
  const head = h("thead", {}, h("tr", {}, columns.map((title, index) =>
    h("th", { class: index > 1 && index < 5 ? "number" : "" }, title))));
  const rows = data.map((model) => h("tr", { "data-model": model.id },
    h("td", { class: "wide" }, h("a", { href: `#/models/${model.id}` }, name(model))),
    h("td", { "data-label": "Created" }, format.ago(model.created_at)),
    h("td", { class: "number", "data-label": "Parameters" }, format.short(model.parameters)),
    h("td", { class: "number", "data-label": "Size" }, format.bytes(model.bytes)),
    h("td", { class: "number", "data-label": "Test accuracy" }, format.percent(accuracy(model))),
    h("td", { "data-label": "Made by" }, jobLink(model)), h("td", {}, download(model))));
  fill(content, h("section", { class: "card" },
    h("div", { class: "table-scroll" }, h("table", { class: "cards" }, head, h("tbody", {}, rows)))));
}

const accuracy = (model) => model.metrics?.test_accuracy ?? model.metrics?.val_accuracy;

function jobLink(model) {
  const job = model.lineage?.job ?? model.job_id ?? model.job;
  return typeof job === "string" ? h("a", { href: `#/jobs/${job}` }, format.shortID(job))
    : model.lineage?.imported ? "Imported" : "–";
}

function showOne(content, model) {
  const { architecture, ...facts } = model;
  delete facts.object;
  const spec = jsonPanel("Architecture");
  spec.update(architecture ?? null);
  fill(content,
    card(name(model), h("div", { class: "body" }, factList(facts)),
      h("span", { class: "row" }, jobLink(model), download(model))), spec.element);
}
