// A job's curves: loss, accuracy, every other series, and what it takes from the machine.
import * as api from "../api.js";
import { lineChart, sparkChart } from "../charts.js";
import { fill, h, setAttribute } from "../dom.js";
import * as format from "../format.js";
import { card } from "../parts.js";
import { poll } from "../poll.js";

const resourceNames = [
  ["cpu_percent", "CPU", (value) => `${format.number(value)} %`],
  ["samples_per_second", "Samples per second", format.short],
  ["gflops", "GFLOP per second", format.short],
  ["mfu", "Share of measured peak", (value) => format.percent(value, 0)],
  ["rss_bytes", "Resident memory", format.bytes],
  ["watts", "Watts", format.axis],
  ["data_wait_fraction", "Waiting for data", (value) => format.percent(value, 1)],
  ["arena_bytes", "Planned memory", format.bytes],
];

/** The panel of curves; `start(id, isActive)` begins to fill it, `refresh` asks at once, `stop` ends it. */
export function curves() {
  const loss = lineChart({ y: format.significant, axis: format.axis });
  const accuracy = lineChart({ y: format.percent, axis: format.axisPercent });
  const others = sparks(h("div", { class: "charts" }), "step");
  const machine = sparks(h("div", { class: "charts" }), "time");
  const scale = h("button", { class: "button plain small", "aria-pressed": false }, "log scale");
  scale.addEventListener("click", () => {
    const isOn = scale.getAttribute("aria-pressed") !== "true";
    setAttribute(scale, "aria-pressed", isOn);
    scale.textContent = isOn ? "linear scale" : "log scale";
    loss.setLogarithmic(isOn);
  });
  const othersCard = card("Schedule", h("div", { class: "body" }, others.element));
  const machineCard = card("Resources", h("div", { class: "body" }, machine.element),
    h("span", { class: "note" }, "seconds since the first sample"));
  machineCard.hidden = true;
  let polls = [];

  function showMetrics(series) {
    const ending = (text) => Object.keys(series).filter((name) => name.endsWith(text)).sort(trainFirst);
    const range = [0, Math.max(1, ...Object.values(series).map((one) => one.steps.at(-1) ?? 0))];
    const lines = (names) => names.map((name) => ({
      label: format.words(name), xs: series[name].steps, values: series[name].values,
      isSmoothed: name === "train_loss" || name === "train_accuracy",
    }));
    loss.update(lines(ending("loss")), range);
    accuracy.update(lines(ending("accuracy")), range);
    const rest = Object.keys(series).filter((name) => !name.endsWith("loss") && !name.endsWith("accuracy"));
    others.update(rest.map((name) => [name, format.words(name), format.significant, series[name]]));
  }

  function showResources(series) {
    const known = resourceNames.filter(([name]) => series[name]?.values.length > 0);
    machineCard.hidden = known.length === 0;
    machine.update(known.map(([name, title, text]) => [name, title, text, series[name]]));
  }

  const training = h("div", { class: "trio" },
    card("Loss", h("div", { class: "body" }, loss.element), scale),
    card("Accuracy", h("div", { class: "body" }, accuracy.element),
      h("span", { class: "note" }, "drag to zoom")),
    othersCard);

  return {
    element: h("div", { class: "stack" }, training, machineCard),
    /** Leaves room for the machine alone, for jobs that do not train. */
    hideTraining() {
      training.hidden = true;
    },
    start(id, isActive) {
      const every = (milliseconds) => () => (isActive() ? milliseconds : 15_000);
      const ask = async (signal) =>
        showMetrics((await api.metrics(id, { max_points: 500 }, signal)).series ?? {});
      const sample = async (signal) =>
        showResources((await api.resources(id, { max_points: 240 }, signal)).series ?? {});
      polls = [poll(ask, every(2000)), poll(sample, every(3000))];
    },
    refresh() {
      for (const one of polls) one.now();
    },
    stop() {
      for (const one of polls) one.stop();
      for (const one of [loss, accuracy, others, machine]) one.destroy();
    },
  };
}

const trainFirst = (one, other) => Number(other.startsWith("train")) - Number(one.startsWith("train"))
  || one.localeCompare(other);

/** A grid of small charts, one per series, made when the series first appears. */
function sparks(element, axis) {
  const charts = new Map();
  return {
    element,
    update(series) {
      for (const [name, title, text, values] of series) {
        if (!charts.has(name)) {
          const x = axis === "time" ? (seconds) => format.duration(Math.round(seconds)) : format.short;
          charts.set(name, sparkChart(title, text, x));
          fill(element, [...charts.values()].map((chart) => chart.element));
        }
        const start = values.times?.[0] ?? 0;
        const xs = axis === "time" ? values.times.map((at) => at - start) : values.steps;
        charts.get(name).update({ xs, values: values.values });
      }
    },
    destroy() {
      for (const chart of charts.values()) chart.destroy();
    },
  };
}
