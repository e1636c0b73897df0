// Signing in: by the token in a form, or by the one-time address `/#t=SECRET` that `vintner serve` prints.
import * as api from "../api.js";
import { fill, h, setText } from "../dom.js";

/** The secret in the address, taken out of it so that neither history nor a shoulder keeps it. */
export function takeSecret() {
  const secret = new URLSearchParams(location.hash.slice(1)).get("t");
  if (secret) history.replaceState(null, "", location.pathname);
  return secret;
}

/** Shows the form in `main`; `onDone` is called once the server has let us in. */
export function show(main, { onDone }) {
  const token = h("input", {
    class: "field", type: "password", name: "token", autocomplete: "current-password", spellcheck: "false",
    placeholder: "Token", "aria-label": "Token", required: true,
  });
  const wrong = h("div", { class: "wrong", role: "alert" });
  const button = h("button", { class: "button primary", type: "submit" }, "Sign in");
  const form = h("form", {}, token, button, wrong);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    setText(wrong, "");
    try {
      await api.signIn(token.value.trim());
      onDone();
    } catch (error) {
      setText(wrong, error.status === 401 ? "This is not the token." : error.message);
      token.select();
    } finally {
      button.disabled = false;
    }
  });
  fill(main, h("section", { class: "card sign-in" },
    h("img", { src: "/favicon.svg", alt: "", width: 44, height: 44 }), h("h1", {}, "Vintner"),
    h("p", {}, "The token lies in the file ", h("code", {}, "token"), " of the server's data folder."),
    form));
  token.focus();
  return () => {};
}
