// The parts that views are built from: badges, bars, tiles, notices, toasts and the confirmation dialog.
import * as api from "./api.js";
import { fill, h, setAttribute, setText } from "./dom.js";
import * as format from "./format.js";

/** A job's state as a coloured word; `update(state)` changes it. */
export function badge(state) {
  const element = h("span", { class: "badge" });
  const update = (next) => {
    setAttribute(element, "class", `badge ${next}`);
    setText(element, next);
  };
  if (state) update(state);
  return { element, update };
}

/** A job's progress: bar, epoch and what is left. */
export function progressBar(isTall = false) {
  const fillPart = h("i");
  const bar = h("div", { role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, fillPart);
  const where = h("span");
  const left = h("span");
  const element = h("div", {}, bar, h("div", { class: "bar-note" }, where, left));
  return {
    element,
    update(job) {
      const fraction = job.state === "succeeded" ? 1 : job.progress?.fraction ?? 0;
      setAttribute(bar, "class", `bar ${isTall ? "tall" : ""} ${job.state}`);
      setAttribute(bar, "aria-valuenow", Math.round(fraction * 100));
      setAttribute(bar, "aria-label", `${Math.round(fraction * 100)} % done`);
      fillPart.style.width = `${fraction * 100}%`;
      setText(where, whereIs(job, isTall));
      setText(left, whatIsLeft(job, fraction));
    },
  };
}

function whereIs(job, isLong) {
  const { epoch, epochs, step, steps } = job.progress ?? {};
  if (job.state === "queued" && !step) return waitingText(job);
  if (job.error && !isLong) return job.error.code;
  const parts = [];
  if (epochs) parts.push(`epoch ${format.number(Math.min(epoch ?? 0, epochs))}/${format.number(epochs)}`);
  if (steps && (isLong || !epochs)) parts.push(`step ${format.number(step)}/${format.number(steps)}`);
  const speed = job.progress?.samples_per_second;
  if (isLong && speed) parts.push(`${format.number(speed)} samples/s`);
  return parts.join(" · ");
}

function whatIsLeft(job, fraction) {
  const seconds = job.progress?.eta_seconds;
  if (job.state === "running" && typeof seconds === "number") return `${format.duration(seconds)} left`;
  return fraction > 0 ? format.percent(fraction, 0) : "";
}

function waitingText(job) {
  if (typeof job.queue_position === "number") return `number ${job.queue_position} in the queue`;
  return job.waiting_for ? reasonText(job.waiting_for) : "waiting";
}

/** The sentence in a reason, whether it is a string or `{code, message}`. */
export function reasonText(reason) {
  if (!reason) return "";
  return typeof reason === "string" ? reason : reason.message || reason.detail || reason.code || "";
}

/** A figure with its name; `update(value, extra)` changes it. */
export function tile(what) {
  const value = h("div", { class: "value" }, "–");
  const extra = h("div", { class: "extra" });
  return {
    element: h("div", { class: "tile" }, h("div", { class: "what" }, what), value, extra),
    update(text, more = "") {
      setText(value, text);
      setText(extra, more);
    },
  };
}

/** A titled panel. */
export function card(title, body, note = null) {
  const head = h("header", {}, h("h2", {}, title), note);
  return h("section", { class: "card" }, head, body);
}

/** What is shown where nothing is. */
export function empty(title, text, ...more) {
  return h("div", { class: "empty" }, h("h2", {}, title), h("p", {}, text), more);
}

/** What is shown when something could not be loaded. */
export function failure(error) {
  const text = error instanceof api.Unreachable ? "It is asked again by itself." : error.code || "";
  return h("div", { class: "notice bad", role: "alert" },
    h("b", {}, error.message), h("span", { class: "mono" }, text));
}

/** Says something for a few seconds at the corner of the page. */
export function toast(text, isBad = false) {
  const element = h("div", { class: isBad ? "toast bad" : "toast" }, text);
  document.getElementById("toasts").append(element);
  setTimeout(() => element.remove(), isBad ? 9000 : 4500);
}

/** Asks before something that cannot be taken back; resolves to whether it was confirmed. */
export function confirm(title, text, action) {
  const dialog = document.getElementById("dialog");
  return new Promise((resolve) => {
    const close = (answer) => dialog.close(answer);
    fill(
      dialog, h("h2", {}, title), h("p", {}, text),
      h("div", { class: "row" },
        h("button", { class: "button", onclick: () => close("no") }, "Keep it"),
        h("button", { class: "button danger", onclick: () => close("yes") }, action)));
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    dialog.showModal();
  });
}

/** What the server accepts in each state; the server has the last word. */
const actions = {
  queued: ["pause", "cancel"], running: ["pause", "cancel"],
  pausing: ["cancel"], paused: ["resume", "cancel"],
};
const accepted = {
  pause: "Pausing: the job stops at its next step and keeps a checkpoint.",
  cancel: "Cancelling: the job stops at its next step.",
  resume: "Resumed: the job is back in the queue.",
};
const done = { pause: "The job is paused.", cancel: "The job is cancelled.", resume: accepted.resume };

/** The buttons that fit a job's state; `onChange(job)` hears the server's reply. */
export function jobActions(isSmall, onChange) {
  const element = h("div", { class: "row" });
  let shown = "";
  let current = null;

  async function run(action, button) {
    const name = current.name || current.id;
    const question = `${name} stops for good. What it has learnt so far stays in its last checkpoint.`;
    if (action === "cancel" && !(await confirm("Cancel this job?", question, "Cancel the job"))) return;
    button.disabled = true;
    try {
      const { status, content } = await api.act(current.id, action);
      toast(status === 202 ? accepted[action] : done[action]);
      onChange(content?.object === "job" ? content : null);
    } catch (error) {
      toast(error.message, true);
      onChange(null);
    } finally {
      button.disabled = false;
    }
  }

  return {
    element,
    update(job) {
      current = job;
      const names = actions[job.state] ?? [];
      if (names.join() === shown) return;
      shown = names.join();
      fill(element, names.map((action) => {
        const style = `button ${isSmall ? "small" : ""} ${action === "cancel" ? "danger" : ""}`;
        const button = h("button", { class: style, type: "button" }, format.words(action));
        button.addEventListener("click", () => run(action, button));
        return button;
      }));
    },
  };
}
