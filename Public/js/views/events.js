// A job's events, newest last: a live stream, or polling where the stream does not hold.
import * as api from "../api.js";
import { h } from "../dom.js";
import * as format from "../format.js";
import { poll } from "../poll.js";

const linesMax = 500;

/** The log; `start(id, isActive, onEvent)` follows a job, `stop` ends it. */
export function eventLog() {
  const list = h("ol", { class: "log", tabindex: 0, "aria-label": "Events" });
  const seen = new Set();
  let last = "";
  let unfollow = () => {};
  let polling = null;

  function add(event) {
    if (!event.id || seen.has(event.id) || !event.message) return false;
    seen.add(event.id);
    last = event.id;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 30;
    list.append(h("li", { class: event.level ?? "info" },
      h("time", { title: format.moment(event.at) }, format.clock(event.at)),
      h("span", { class: "text" }, event.message)));
    while (list.childElementCount > linesMax) list.firstElementChild.remove();
    if (atEnd) list.scrollTop = list.scrollHeight;
    return true;
  }

  async function ask(id, onEvent, signal) {
    let answer;
    do {
      answer = await api.events(id, { after: last, limit: 200 }, signal);
      for (const event of answer.data) if (add(event)) onEvent(event);
    } while (answer.has_more && answer.data.length > 0);
  }

  return {
    element: list,
    start(id, isActive, onEvent) {
      const fallBack = () => {
        unfollow();
        polling ??= poll((signal) => ask(id, onEvent, signal), () => (isActive() ? 2000 : 15_000));
      };
      let failures = 0;
      unfollow = api.follow(id, (event, type, streamID) => {
        failures = 0;
        const whole = { ...event, id: event.id ?? streamID, type: event.type ?? type };
        if (add(whole) || type === "state") onEvent(whole);
      }, (isOpen, isClosed) => {
        failures = isOpen ? 0 : failures + 1;
        if (isClosed || failures >= 3) fallBack();
      });
    },
    stop() {
      unfollow();
      polling?.stop();
    },
  };
}
