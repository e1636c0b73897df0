// One job: progress, figures, curves, resources, events, specification and result.
import * as api from "../api.js";
import { fill, h, keyedList, setText } from "../dom.js";
import * as format from "../format.js";
import { badge, card, failure, jobActions, progressBar, reasonText, tile } from "../parts.js";
import { poll } from "../poll.js";
import { curves } from "./curves.js";
import { eventLog } from "./events.js";
import { jsonPanel, reportPanel } from "./documents.js";

/** Shows the job `id` in `main`; returns the function that ends it. */
export function show(main, { id, onHealth }) {
  const parts = layout(main, id, () => polling.now());
  let job = null;
  const isActive = () => job !== null && !job.is_terminal && job.state !== "paused";

  const polling = poll(async (signal) => {
    const wasActive = isActive();
    job = await api.job(id, signal);
    parts.update(job);
    if (wasActive && !isActive()) parts.curves.refresh();
  }, () => (isActive() ? 1200 : job?.is_terminal ? 30_000 : 3000), (health) => {
    onHealth(health);
    parts.showFailure(health.state === "lost" ? health.failure : null);
  });
  parts.curves.start(id, isActive);
  parts.log.start(id, isActive, (event) => {
    if (event.type === "state") polling.now();
  });
  return () => {
    polling.stop();
    parts.curves.stop();
    parts.log.stop();
  };
}

function layout(main, id, onChange) {
  const title = h("h1", {}, format.shortID(id));
  const state = badge();
  const sub = h("p", { class: "sub" });
  const buttons = jobActions(false, onChange);
  const notices = h("div", { class: "stack", hidden: true });
  const problem = h("div", { hidden: true });
  const progress = progressBar(true);
  const tiles = figures();
  const charts = curves();
  const log = eventLog();
  const history = h("ol", { class: "timeline" });
  const details = h("dl", { class: "facts" });
  const report = reportPanel();
  const spec = jsonPanel("Specification");
  const rows = keyedList(history, (one) => `${one.at}${one.state}`, transitionRow);

  fill(main, h("div", { class: "stack" },
    h("div", { class: "page-head" },
      h("div", {}, h("p", { class: "crumbs" }, h("a", { href: "#/jobs" }, "Jobs"), " / ", format.shortID(id)),
        h("div", { class: "row" }, title, state.element), sub),
      buttons.element),
    problem, notices,
    h("section", { class: "card" }, h("div", { class: "body" }, progress.element)),
    h("section", { class: "card" }, tiles.element),
    charts.element, report.element,
    h("div", { class: "wide-narrow" },
      card("Events", log.element),
      h("div", { class: "stack" },
        card("History", h("div", { class: "body" }, history)),
        card("Details", h("div", { class: "body" }, details)))),
    spec.element));

  return {
    curves: charts, log,
    update(job) {
      setText(title, job.name || job.id);
      document.title = `${job.name || job.id} · ${job.state} · Vintner`;
      state.update(job.state);
      setText(sub, `${job.type} · created ${format.ago(job.created_at)} · ${job.id}`);
      buttons.update(job);
      showNotices(notices, job);
      progress.update(job);
      tiles.update(job);
      if (job.type === "evaluate" || job.type === "quantize") charts.hideTraining();
      rows(job.transitions ?? []);
      showDetails(details, job);
      report.update(job);
      spec.update(job.spec);
    },
    showFailure(error) {
      problem.hidden = !error;
      if (error) fill(problem, failure(error));
    },
  };
}

function transitionRow() {
  const name = badge();
  const when = h("span", { class: "when" });
  const why = h("div", {});
  return {
    element: h("li", {}, h("div", { class: "row" }, name.element, when), why),
    update(one) {
      name.update(one.state);
      setText(when, format.moment(one.at));
      setText(why, reasonText(one.reason));
    },
  };
}

function showNotices(notices, job) {
  const shown = [];
  if (job.error) {
    const where = [job.error.code, job.error.pointer].filter(Boolean).join(" at ");
    shown.push(h("div", { class: "notice bad" }, h("b", {}, job.error.message || "The job failed."),
      h("span", { class: "mono" }, where)));
  }
  const reason = job.error ? "" : reasonText(job.waiting_for) || reasonText(job.reason);
  if (reason) shown.push(h("div", { class: "notice hold" }, reason));
  const text = shown.map((one) => one.textContent).join();
  notices.hidden = shown.length === 0;
  if (notices.textContent !== text) fill(notices, shown);
}

function figures() {
  const all = [
    "Training loss", "Validation loss", "Validation accuracy", "Test accuracy", "Time", "CPU time",
    "Peak memory", "Energy",
  ].map(tile);
  const [train, validation, accuracy, test, time, cpu, memory, energy] = all;
  const best = (one, pick, text) => (typeof one?.[pick] === "number" ? `best ${text(one[pick])}` : "");
  return {
    element: h("div", { class: "tiles" }, all.map((one) => one.element)),
    update(job) {
      const used = job.resources ?? {};
      const measured = job.result?.report ?? {};
      const { train_loss: training, val_loss: validating, val_accuracy: share } = job.summary ?? {};
      train.update(format.significant(training?.last), best(training, "min", format.significant));
      validation.update(format.significant(validating?.last), best(validating, "min", format.significant));
      accuracy.update(format.percent(share?.last), best(share, "max", format.percent));
      const isTested = typeof measured.test_loss === "number";
      test.update(format.percent(measured.test_accuracy),
        isTested ? `loss ${format.significant(measured.test_loss)}` : "at the end");
      const attempt = job.attempt > 1 ? `attempt ${job.attempt}` : "";
      time.update(format.duration(used.wall_seconds || null), attempt);
      cpu.update(format.duration(used.cpu_seconds || null), coresText(used));
      memory.update(format.bytes(used.peak_memory_bytes || null));
      const method = used.energy_method ? `method: ${used.energy_method}` : "";
      energy.update(format.joules(used.joules || null), method);
    },
  };
}

function coresText({ cpu_seconds: cpu, wall_seconds: wall }) {
  return cpu > 0 && wall > 1 ? `${(cpu / wall).toFixed(2)} cores busy` : "";
}

function showDetails(details, job) {
  const model = job.result?.model_id;
  const pairs = [
    ["Dataset", job.spec?.dataset], ["Model", modelName(job.spec?.model)], ["Threads", job.spec?.threads],
    ["Seed", job.spec?.seed], ["Priority", job.priority],
    ["Attempt", `${job.attempt} of ${job.max_attempts}`],
    ["Started", format.moment(job.started_at)], ["Finished", format.moment(job.finished_at)],
    ["Result", model && h("span", {}, h("a", { href: `#/models/${model}` }, format.shortID(model)), " · ",
      h("a", { href: api.modelFile(model), download: "" }, "download weights"))],
  ];
  for (const [key, value] of Object.entries(job.labels ?? {})) pairs.push([key, value]);
  const plain = (value) => (value instanceof Node ? model : value);
  const wanted = JSON.stringify(pairs.map(([name, value]) => [name, plain(value)]));
  if (details.dataset.shown === wanted) return;
  details.dataset.shown = wanted;
  fill(details, pairs.filter(([, value]) => value !== undefined && value !== null && value !== "–")
    .map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function modelName(model) {
  if (!model) return null;
  if (model.preset) return model.preset;
  if (Array.isArray(model.layers)) return `${model.layers.length} layers`;
  return model.id ?? model.job ?? null;
}
