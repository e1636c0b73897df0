// The only file that talks to the server.

/** What the server refused, with the `code`, `detail` and `errors` of its problem document. */
export class APIError extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `The server answered ${status}.`);
    this.status = status;
    this.code = problem.code || "";
    this.violations = problem.errors || [];
  }
}

/** No answer at all: the server is gone, or the network is. */
export class Unreachable extends Error {
  constructor() {
    super("The server does not answer.");
  }
}

let whenSignedOut = () => {};

/** Registers what to do when the server wants a sign-in. */
export function onSignedOut(action) {
  whenSignedOut = action;
}

async function request(method, path, { query, body, headers = {}, signal } = {}) {
  const address = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query || {})) {
    if (value !== undefined && value !== null && value !== "") address.searchParams.set(name, value);
  }
  const options = {
    method, signal, credentials: "same-origin", headers: { Accept: "application/json", ...headers },
  };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    throw error.name === "AbortError" ? error : new Unreachable();
  }
  const content = await response.json().catch(() => ({}));
  if (response.ok) return { status: response.status, content };
  if (response.status === 401 && path !== "/v1/session") whenSignedOut();
  throw new APIError(response.status, content);
}

const get = async (path, query, signal) => (await request("GET", path, { query, signal })).content;
const part = encodeURIComponent;

export const listJobs = (query, signal) => get("/v1/jobs", query, signal);
export const job = (id, signal) => get(`/v1/jobs/${part(id)}`, {}, signal);
export const metrics = (id, query, signal) => get(`/v1/jobs/${part(id)}/metrics`, query, signal);
export const resources = (id, query, signal) => get(`/v1/jobs/${part(id)}/resources`, query, signal);
export const events = (id, query, signal) => get(`/v1/jobs/${part(id)}/events`, query, signal);
export const models = (query, signal) => get("/v1/models", query, signal);
export const model = (id, signal) => get(`/v1/models/${part(id)}`, {}, signal);
export const datasets = (query, signal) => get("/v1/datasets", query, signal);
export const system = (signal) => get("/v1/system", {}, signal);
export const modelFile = (id) => `/v1/models/${part(id)}/download?format=safetensors`;

/** Asks a job to `cancel`, `pause` or `resume`; 200 when it has happened, 202 when it will. */
export const act = (id, action) => request("POST", `/v1/jobs/${part(id)}/${action}`, { body: {} });

/** Trades the token for a session cookie that scripts cannot read. */
export const signIn = (token) =>
  request("POST", "/v1/session", { body: {}, headers: { Authorization: `Bearer ${token}` } });

/** The same for the one-time secret of a sign-in address. */
export const redeem = (login) => request("POST", "/v1/session", { body: { login } });

/** Ends the session. */
export const signOut = () => request("DELETE", "/v1/session");

/**
 * Follows a job's events: `onEvent(event)` for each, `onState(isOpen)` as the stream comes and goes.
 * The browser reconnects by itself and says where it left off. Returns a function that ends it.
 */
export function follow(id, onEvent, onState) {
  const source = new EventSource(`/v1/jobs/${part(id)}/events`);
  const receive = (message) => {
    try {
      onEvent(JSON.parse(message.data), message.type, message.lastEventId);
    } catch {
      // A comment or a kind of event that this dashboard is too old for.
    }
  };
  const types = ["message", "state", "progress", "metric", "log"];
  for (const type of types) source.addEventListener(type, receive);
  source.onopen = () => onState(true);
  source.onerror = () => onState(false, source.readyState === EventSource.CLOSED);
  return () => source.close();
}
