// The datasets that jobs can name.
import * as api from "../api.js";
import { fill, h } from "../dom.js";
import { card, empty, failure } from "../parts.js";
import { poll } from "../poll.js";
import { factList } from "./documents.js";

/** Shows the view in `main`; returns the function that ends it. */
export function show(main, { onHealth }) {
  const content = h("div", { class: "stack" });
  const problem = h("div", { hidden: true });
  let shown = "";
  const polling = poll(async (signal) => {
    const { data } = await api.datasets({ limit: 200 }, signal);
    if (JSON.stringify(data) === shown) return;
    shown = JSON.stringify(data);
    if (data.length > 0) fill(content, h("div", { class: "split" }, data.map(datasetCard)));
    else fill(content, h("section", { class: "card" }, nothing()));
  }, 10_000, (health) => {
    onHealth(health);
    problem.hidden = health.state !== "lost";
    if (health.failure) fill(problem, failure(health.failure));
  });
  fill(main, h("div", { class: "stack" }, h("h1", {}, "Datasets"), problem, content));
  return () => polling.stop();
}

function datasetCard(dataset) {
  const { name, ...facts } = dataset;
  delete facts.object;
  return card(name ?? dataset.id, h("div", { class: "body" }, factList(facts)));
}

function nothing() {
  const text = "Install Debian's package dataset-fashion-mnist, or send one to this server:";
  return empty("No datasets", text,
    h("pre", { class: "code" }, `vintner datasets upload NAME PATH --url ${location.origin}`));
}
