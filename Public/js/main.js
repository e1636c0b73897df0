// The frame: which view the address asks for, who is signed in, and how fresh what is shown is.
import * as api from "./api.js";
import { fill, h, setAttribute, setText } from "./dom.js";
import * as format from "./format.js";
import * as datasets from "./views/datasets.js";
import * as job from "./views/job.js";
import * as jobs from "./views/jobs.js";
import * as models from "./views/models.js";
import * as signin from "./views/signin.js";
import * as system from "./views/system.js";

const main = document.getElementById("main");
const pulse = document.getElementById("pulse");
const signOut = document.getElementById("sign-out");
const sections = [["jobs", "Jobs"], ["models", "Models"], ["datasets", "Datasets"], ["system", "System"]];
const views = { jobs, models, datasets, system };

let leave = () => {};
let isSigningIn = false;

function onHealth({ state, failure, lastAnswer }) {
  const since = lastAnswer ? ` since ${format.clock(lastAnswer / 1000)}` : "";
  const lost = failure?.status ? "Error" : "Offline";
  const text = { live: "Live", late: `Waiting${since}`, lost: lost + since };
  setAttribute(pulse, "class", `pulse ${state}`);
  fill(pulse, h("span", { class: "text" }, text[state] ?? ""));
  setAttribute(pulse, "title", failure?.message ?? "");
}

function showTabs(current) {
  fill(document.getElementById("tabs"), sections.map(([name, title]) =>
    h("a", { href: `#/${name}`, "aria-current": name === current ? "page" : null }, title)));
}

function route() {
  if (isSigningIn) return;
  const address = location.hash.replace(/^#\//, "").split("/").filter(Boolean);
  const [section = "jobs", id] = address.map(decodeURIComponent);
  const name = views[section] ? section : "jobs";
  leave();
  signOut.hidden = false;
  showTabs(name);
  document.title = `${name.charAt(0).toUpperCase()}${name.slice(1)} · Vintner`;
  onHealth({ state: "waiting", failure: null, lastAnswer: null });
  window.scrollTo(0, 0);
  const view = name === "jobs" && id ? job : views[name];
  leave = view.show(main, { id, onHealth });
}

function askForToken() {
  if (isSigningIn) return;
  isSigningIn = true;
  leave();
  signOut.hidden = true;
  fill(document.getElementById("tabs"));
  setAttribute(pulse, "class", "pulse");
  setText(pulse, "");
  leave = signin.show(main, {
    onDone() {
      isSigningIn = false;
      route();
    },
  });
}

async function start() {
  api.onSignedOut(askForToken);
  signOut.addEventListener("click", () => api.signOut().catch(() => {}).then(askForToken));
  const secret = signin.takeSecret();
  // A secret that was used before is no harm: the first request that needs a session asks for the token.
  if (secret) await api.redeem(secret).catch(() => {});
  window.addEventListener("hashchange", () => {
    if (new URLSearchParams(location.hash.slice(1)).has("t")) location.reload();
    else route();
  });
  route();
}

start();
