// Asking again and again, politely: the next question is armed by the last answer.

const backOffMax = 30_000;
const slowAnswer = 8_000;

/**
 * Runs `task(signal)` now and `everyMilliseconds` after each answer; each failure doubles the wait.
 *
 * Stops asking while the page is hidden and asks at once when it is shown again. `everyMilliseconds` may be
 * a function; null ends the polling after the first answer. `onHealth(health)` hears `{state, failure,
 * lastAnswer}` with the state `live`, `late` (no answer for a while) or `lost` (failing).
 */
export function poll(task, everyMilliseconds, onHealth = () => {}) {
  let timer = 0;
  let lateTimer = 0;
  let failures = 0;
  let lastAnswer = null;
  let running = null;
  let isStopped = false;

  const report = (state, failure = null) => onHealth({ state, failure, lastAnswer });

  async function ask() {
    clearTimeout(timer);
    if (isStopped || document.hidden || running) return;
    running = new AbortController();
    lateTimer = setTimeout(() => report("late"), slowAnswer);
    try {
      await task(running.signal);
      if (isStopped) return;
      failures = 0;
      lastAnswer = Date.now();
      report("live");
    } catch (error) {
      if (isStopped || error.name === "AbortError") return;
      failures += 1;
      report("lost", error);
    } finally {
      clearTimeout(lateTimer);
      running = null;
    }
    arm();
  }

  function arm() {
    const base = typeof everyMilliseconds === "function" ? everyMilliseconds() : everyMilliseconds;
    if (isStopped || (base === null && failures === 0)) return;
    timer = setTimeout(ask, Math.min((base ?? 1000) * 2 ** failures, Math.max(backOffMax, base ?? 0)));
  }

  const onVisible = () => {
    if (!document.hidden) ask();
  };
  document.addEventListener("visibilitychange", onVisible);
  ask();
  return {
    now: ask,
    stop() {
      isStopped = true;
      clearTimeout(timer);
      clearTimeout(lateTimer);
      running?.abort();
      document.removeEventListener("visibilitychange", onVisible);
    },
  };
}
