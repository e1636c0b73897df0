// The table of jobs: updates itself, filters by state and name.
import * as api from "../api.js";
import { fill, h, keyedList, setAttribute, setText } from "../dom.js";
import * as format from "../format.js";
import { badge, empty, failure, jobActions, progressBar } from "../parts.js";
import { poll } from "../poll.js";

const states = ["", "running", "queued", "paused", "succeeded", "failed", "cancelled"];
const columns = [
  ["Job", ""], ["State", ""], ["Progress", ""], ["Loss", "number"], ["Accuracy", "number"],
  ["Time", "number from-wide"], ["Energy", "number from-wide"], ["", ""],
];
const example = `curl -H "Authorization: Bearer $(cat vintner-data/token)" \\
  -H "Content-Type: application/json" ${location.origin}/v1/jobs -d '
{"type": "train", "name": "fashion-lenet", "dataset": "fashion-mnist",
 "model": {"preset": "lenet5_caffe"},
 "train": {"epochs": 5, "batch_size": 64,
           "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9}}}'`;

/** Shows the view in `main`; returns the function that ends it. */
export function show(main, { onHealth }) {
  const filter = { state: "", name: "", limit: 50 };
  const body = h("tbody");
  const head = h("thead", {}, h("tr", {}, columns.map(([name, style]) => h("th", { class: style }, name))));
  const table = h("section", { class: "card" },
    h("div", { class: "table-scroll" }, h("table", { class: "cards jobs" }, head, body)));
  const notice = h("div", { hidden: true });
  const nothing = h("section", { class: "card", hidden: true });
  const more = h("button", { class: "button", type: "button", hidden: true }, "Show more");
  const summary = h("p", { class: "sub" });

  const update = keyedList(body, (job) => job.id, (job) => jobRow(job, () => polling.now()));
  const polling = poll(async (signal) => {
    const answer = await api.listJobs(filter, signal);
    update(answer.data);
    table.hidden = answer.data.length === 0;
    more.hidden = !answer.has_more || filter.limit >= 1000;
    notice.hidden = true;
    showNothing(answer.data.length > 0);
    showSummary(answer);
  }, 1500, (health) => {
    onHealth(health);
    if (health.state === "lost") {
      notice.hidden = false;
      fill(notice, failure(health.failure));
    }
  });

  function showNothing(isAny) {
    nothing.hidden = isAny;
    if (isAny || nothing.dataset.filter === filter.state + filter.name) return;
    nothing.dataset.filter = filter.state + filter.name;
    if (filter.state || filter.name) fill(nothing, empty("No such job", "No job matches this filter."));
    else fill(nothing, empty("No jobs yet", "Post the first one:", h("pre", { class: "code" }, example)));
  }

  function showSummary(answer) {
    const running = answer.data.filter((job) => job.state === "running").length;
    const count = `${answer.data.length}${answer.has_more ? "+" : ""}`;
    setText(summary, `${count} ${count === "1" ? "job" : "jobs"}${running ? `, ${running} running` : ""}`);
  }

  more.addEventListener("click", () => {
    filter.limit = Math.min(1000, filter.limit + 100);
    polling.now();
  });
  fill(main, h("div", { class: "stack" },
    h("div", { class: "page-head" },
      h("div", {}, h("h1", {}, "Jobs"), summary), filters(filter, () => polling.now())),
    notice, table, nothing, h("div", {}, more)));
  return () => polling.stop();
}

function filters(filter, onChange) {
  const chips = states.map((state) => {
    const chip = h("button", { class: "chip", type: "button", "aria-pressed": state === "" }, state || "all");
    chip.addEventListener("click", () => {
      filter.state = state;
      for (const other of chips) setAttribute(other, "aria-pressed", other === chip);
      onChange();
    });
    return chip;
  });
  const search = h("input", {
    class: "field", type: "search", placeholder: "Name", "aria-label": "Filter by name",
  });
  let timer = 0;
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      filter.name = search.value.trim();
      onChange();
    }, 250);
  });
  return h("div", { class: "row" },
    h("div", { class: "chips", role: "group", "aria-label": "State" }, chips), search);
}

/** The value of a series in a job's summary: `pick` is `last`, `min` or `max`. */
function summarized(job, names, pick) {
  for (const name of names) {
    const value = job.summary?.[name]?.[pick];
    if (typeof value === "number") return value;
  }
  return null;
}

function jobRow(job, onChange) {
  const link = h("a", { href: `#/jobs/${job.id}` });
  const under = h("div", { class: "under" });
  const state = badge();
  const progress = progressBar();
  const cells = ["Loss", "Accuracy", "Time", "Energy"].map((label, index) =>
    h("td", { class: `number ${index > 1 ? "from-wide" : ""}`, "data-label": label }));
  const [loss, accuracy, time, energy] = cells;
  const buttons = jobActions(true, onChange);
  const element = h("tr", { "data-job": job.id },
    h("td", { class: "name" }, link, under), h("td", { class: "state" }, state.element),
    h("td", { class: "progress" }, progress.element), cells, h("td", { class: "act" }, buttons.element));
  let labels = null;
  return {
    element,
    update(next) {
      setText(link, next.name || format.shortID(next.id));
      const wanted = JSON.stringify([next.labels, next.type, format.ago(next.created_at)]);
      if (wanted !== labels) {
        labels = wanted;
        fill(under, h("span", {}, `${next.type} · ${format.ago(next.created_at)}`),
          Object.entries(next.labels ?? {}).map(([key, value]) =>
            h("span", { class: "label" }, `${key}=${value}`)));
      }
      state.update(next.state);
      progress.update(next);
      setText(loss, format.significant(summarized(next, ["train_loss", "val_loss"], "last")));
      const tested = next.result?.report?.test_accuracy;
      const validated = summarized(next, ["val_accuracy", "train_accuracy"], "last");
      setText(accuracy, format.percent(tested ?? validated));
      setAttribute(accuracy, "title", tested === undefined ? "latest validation accuracy" : "test accuracy");
      setText(time, format.duration(next.resources?.wall_seconds || null));
      setText(energy, format.joules(next.resources?.joules || null));
      buttons.update(next);
    },
  };
}
