// The machine: what it is, what is given to jobs, and which jobs hold it.
import * as api from "../api.js";
import { fill, h } from "../dom.js";
import * as format from "../format.js";
import { card, failure } from "../parts.js";
import { poll } from "../poll.js";
import { factList } from "./documents.js";

/** Shows the view in `main`; returns the function that ends it. */
export function show(main, { onHealth }) {
  const content = h("div", { class: "stack" });
  const problem = h("div", { hidden: true });
  const polling = poll(async (signal) => showSystem(content, await api.system(signal)), 2000, (health) => {
    onHealth(health);
    problem.hidden = health.state !== "lost";
    if (health.failure) fill(problem, failure(health.failure));
  });
  fill(main, h("div", { class: "stack" }, h("h1", {}, "System"), problem, content));
  return () => polling.stop();
}

/** Groups become panels; single values share the first one. */
function showSystem(content, system) {
  const isGroup = (value) => value !== null && typeof value === "object";
  const single = Object.fromEntries(Object.entries(system).filter(([, value]) => !isGroup(value)));
  delete single.object;
  const groups = Object.entries(system).filter(([, value]) => isGroup(value));
  const panels = groups.map(([name, value]) => {
    const facts = factList(Array.isArray(value) ? { [name]: value } : value);
    return card(format.words(name), h("div", { class: "body" }, facts));
  });
  fill(content, h("div", { class: "masonry" },
    card("Server", h("div", { class: "body" }, factList(single))), panels));
}
