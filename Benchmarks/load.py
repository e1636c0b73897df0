#!/usr/bin/env python3
"""What the service stands while two trainings run, and how large a data folder it serves.

    Benchmarks/load.py [--vintner .build/release/vintner] [--seconds 10] [--jobs 10000] [--points 1000]

Needs wrk and a C compiler. Everything runs on one machine: the clients take from the same cores.
Prints a JSON object.
"""

import argparse
import asyncio
import bisect
import json
import os
import pathlib
import re
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "Tests" / "e2e"))
from service import Service  # noqa: E402

# A training that outlasts everything here, on one thread.
LONG = {"type": "train", "dataset": "fashion-mnist", "model": {"preset": "lenet5_caffe"}, "threads": 1,
        "train": {"epochs": 1000, "batch_size": 64, "optimizer": {"lr": 0.01}}}
# Small enough that admission is all there is to a submission.
SHORT = {"type": "train", "dataset": "fashion-mnist", "model": {"preset": "linear"}, "threads": 1,
         "train": {"steps": 1, "batch_size": 64, "optimizer": {"lr": 0.01}}}
# Windows of each kind, with quiet ones between, from which the median is taken.
PAIRS = 4
BARE = r"""
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static enum MHD_Result answer(void *c, struct MHD_Connection *connection, const char *u, const char *m, const char *v,
    const char *d, size_t *n, void **k) {
    static int is_known;
    static char body[3261];
    // An answer at the first call would close the connection.
    if (!*k) {
        *k = &is_known;
        return MHD_YES;
    }
    memset(body, 'x', sizeof body);
    struct MHD_Response *response = MHD_create_response_from_buffer(sizeof body, body, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result = MHD_queue_response(connection, 200, response);
    MHD_destroy_response(response);
    return result;
}
int main(void) {
    struct MHD_Daemon *daemon = MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD, 0, NULL, NULL, answer, NULL,
        MHD_OPTION_THREAD_POOL_SIZE, 4u, MHD_OPTION_CONNECTION_LIMIT, 2048u, MHD_OPTION_END);
    printf("%u\n", MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    fflush(stdout);
    pause();
}
"""


def wrk(url, seconds, token=None, connections=32, script=None, pause=None):
    """Requests a second, the 99th percentile in ms, and answers that were no success.

    With a pause each connection waits so many milliseconds before each request.
    """
    lua = tempfile.NamedTemporaryFile("w", suffix=".lua", delete=False)
    if pause:
        lua.write(f"function delay() return {pause} end\n")
    lua.write((script or "") + """
done = function(summary, latency, requests)
    local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
    io.write(string.format("RESULT %f %f %d\\n", summary.requests / (summary.duration / 1e6),
        latency:percentile(99) / 1000, bad))
end
""")
    lua.close()
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", lua.name]
    if token:
        command += ["-H", f"Authorization: Bearer {token}"]
    output = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    os.unlink(lua.name)
    rate, p99, bad = re.search(r"RESULT (\S+) (\S+) (\d+)", output).groups()
    return {"per_second": round(float(rate)), "p99_ms": round(float(p99), 2), "errors": int(bad)}


class Rates:
    """Steps a second of trainings in windows of time, from the times at which the steps' losses were noted."""

    def __init__(self, service, jobs):
        self.service, self.jobs, self.windows = service, jobs, []

    def during(self, name, body):
        """Names the time that `body` takes; returns what that returns."""
        begin = time.time()
        result = body()
        self.windows.append((name, begin, time.time()))
        return result

    def quiet(self, seconds):
        self.during(None, lambda: time.sleep(seconds))

    def relative(self):
        """For each name the median of its windows, each as a part of the quiet ones beside it."""
        time.sleep(3)
        link = sqlite3.connect(f"file:{self.service.data}/vintner.sqlite?mode=ro", uri=True)
        curves = [link.execute(
            "SELECT at / 1000.0, step FROM point JOIN series ON series.id = series_id "
            "WHERE job_id = ? AND name = 'train_loss' ORDER BY step", (job,)).fetchall() for job in self.jobs]
        link.close()
        rates = [sum(step_at(curve, end) - step_at(curve, begin) for curve in curves) / (end - begin)
                 for _, begin, end in self.windows]
        found = {}
        for index, (name, _, _) in enumerate(self.windows):
            if name:
                found.setdefault(name, []).append(2 * rates[index] / (rates[index - 1] + rates[index + 1]))
        quiet = statistics.median(rate for rate, window in zip(rates, self.windows) if not window[0])
        return {"steps_per_second": round(quiet, 1),
                **{name: round(statistics.median(parts), 3) for name, parts in found.items()}}


def step_at(curve, moment):
    """The step at a moment, between two that were noted."""
    after = min(max(1, bisect.bisect([at for at, _ in curve], moment)), len(curve) - 1)
    (before_at, before), (after_at, step) = curve[after - 1], curve[after]
    return before + (step - before) * (moment - before_at) / max(after_at - before_at, 1e-3)


def client_seconds():
    """Processor time of all commands that were run."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def answering_seconds(pid):
    """Processor time of all threads but those of trainings."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            text = (task / "stat").read_text()
        except FileNotFoundError:
            continue
        if "(worker-" not in text:
            fields = text.rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def resident(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 1024


class Held:
    """Long polls and event streams that stay open on a thread of their own; polls are asked anew."""

    def __init__(self, service, job, polls, streams):
        self.service, self.job, self.polls, self.streams = service, job, polls, streams
        self.errors, self.answers, self.events = 0, 0, 0

    async def one(self, head, is_stream):
        while not self.stopping:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.service.port)
                writer.write(head.encode())
                while data := await reader.read(65536):
                    if is_stream:
                        self.events += data.count(b"\nevent:") + data.startswith(b"event:")
                    elif data.startswith(b"HTTP/1.1 2"):
                        self.answers += 1
                    elif data.startswith(b"HTTP/1.1"):
                        self.errors += 1
                writer.close()
            except (OSError, asyncio.IncompleteReadError):
                self.errors += not self.stopping
                await asyncio.sleep(0.1)

    async def main(self):
        common = f"Host: 127.0.0.1:{self.service.port}\r\nAuthorization: Bearer {self.service.token}\r\n"
        poll = f"GET /v1/jobs/{self.job}?wait=25&since=9999999 HTTP/1.1\r\n{common}Connection: close\r\n\r\n"
        stream = f"GET /v1/jobs/{self.job}/events HTTP/1.1\r\n{common}Accept: text/event-stream\r\n\r\n"
        tasks = []
        for index in range(self.polls + self.streams):
            tasks.append(asyncio.create_task(self.one(poll if index < self.polls else stream, index >= self.polls)))
            if index % 50 == 0:
                await asyncio.sleep(0.01)
        self.ready.set()
        while not self.stopping:
            await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()

    def __enter__(self):
        import threading
        self.stopping, self.ready = False, threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.main()))
        self.thread.start()
        self.ready.wait(60)
        time.sleep(2)
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join()


class Bare:
    """A handler of libmicrohttpd that answers the same bytes to everybody."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        source = pathlib.Path(self.folder.name, "bare.c")
        source.write_text(BARE)
        subprocess.run(["cc", "-O2", str(source), "-lmicrohttpd", "-o", f"{self.folder.name}/bare"], check=True)
        self.process = subprocess.Popen([f"{self.folder.name}/bare"], stdout=subprocess.PIPE)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}/"
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


def busy(binary, seconds, more):
    """Under two trainings and with clients that wait."""
    found = {}
    with Service(binary, "--workers", "2", "--writes-per-second", "0",
                 "--max-queued", "1000000", *more) as service:
        jobs = [service.submit({**LONG, "seed": seed})["id"] for seed in (1, 2)]
        for job in jobs:
            service.wait(job, lambda one: (one["progress"]["step"] or 0) > 200)
        url, token = f"http://127.0.0.1:{service.port}", service.token
        post = f"""wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [[{json.dumps(SHORT)}]]
"""
        rates = Rates(service, jobs)
        rates.quiet(seconds)
        with Held(service, jobs[0], 1000, 200) as held:
            found["held"] = {"long_polls": held.polls, "streams": held.streams}
            rates.during("holding", lambda: time.sleep(seconds))
            rates.during(None, lambda: time.sleep(1))
            found["polls"] = rates.during("polling", lambda: wrk(f"{url}/v1/jobs/{jobs[0]}", seconds, token))
            rates.during(None, lambda: time.sleep(1))
            found["submissions"] = rates.during(
                "submitting", lambda: wrk(f"{url}/v1/jobs", 5, token, script=post))
            found["held"] |= {"answers": held.answers, "events": held.events, "errors": held.errors}
        rates.quiet(seconds)
        # As many as were aimed for, and no more, while nobody waits: what does that cost those who train? And
        # what do the same requests cost where nothing is done for them?
        with Bare() as bare:
            asked = {"paced_polls": lambda: wrk(f"{url}/v1/jobs/{jobs[0]}", 4, token, 64, None, 12),
                     "paced_submissions": lambda: wrk(f"{url}/v1/jobs", 4, token, 64, post, 60),
                     "paced_bare": lambda: wrk(bare.url, 4, None, 64, None, 12)}
            for name in list(asked) * PAIRS:
                server = bare.process.pid if name == "paced_bare" else service.process.pid
                used, client, start = answering_seconds(server), client_seconds(), time.monotonic()
                result = rates.during(name, asked[name])
                passed = time.monotonic() - start
                result |= {"answering_cores": round((answering_seconds(server) - used) / passed, 3),
                           "client_cores": round((client_seconds() - client) / passed, 3)}
                found.setdefault(name, []).append(result)
                rates.quiet(4)
        for name in asked:
            found[name] = {key: statistics.median(run[key] for run in found[name]) for key in found[name][0]}
        found["training"] = rates.relative()
        found["rss_mib"] = round(resident(service.process.pid))
    return found


def idle(binary, seconds):
    """Polls of an idle server against a handler of libmicrohttpd that answers as many bytes, by turns."""
    with Service(binary) as service, Bare() as bare:
        job = service.wait(service.submit(SHORT)["id"])["id"]
        ours, theirs = [], []
        for _ in range(3):
            ours.append(wrk(f"http://127.0.0.1:{service.port}/v1/jobs/{job}", seconds, service.token))
            theirs.append(wrk(bare.url, seconds))
    best = {name: max(runs, key=lambda run: run["per_second"]) for name, runs in (("vintner", ours), ("bare", theirs))}
    return {**best, "ratio": round(best["bare"]["per_second"] / best["vintner"]["per_second"], 2)}


def clone(database, count, points):
    """So many copies of the one job, with its series and as many points in all; one curve of a million."""
    link = sqlite3.connect(database)
    job, = link.execute("SELECT id FROM job").fetchone()
    columns = [name for _, name, *_, hidden in link.execute("PRAGMA table_xinfo(job)") if hidden == 0]
    others = ", ".join(name for name in columns if name != "id")
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
    with link:
        for number in range(count - 1):
            name, rest = "", number
            for _ in range(6):
                name, rest = alphabet[rest % 32] + name, rest // 32
            new = job[:-6] + name
            if new == job:
                continue
            link.execute(f"INSERT INTO job(id, {others}) SELECT ?, {others} FROM job WHERE id = ?", (new, job))
            link.execute("INSERT INTO series(job_id, name, count, last_step, last, min, min_step, max, max_step) "
                         "VALUES (?, 'train_loss', ?, ?, 1, 0, 0, 2, 1)", (new, points, points - 1))
        first, last = link.execute("SELECT min(id), max(id) FROM series WHERE name = 'train_loss' AND count = ?",
                                   (points,)).fetchone()
        link.execute("""WITH RECURSIVE step(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM step WHERE n + 1 < ?)
            INSERT OR IGNORE INTO point SELECT series.id, n, abs(random() % 1000) / 1000.0, 1700000000000 + n
            FROM series, step WHERE series.id BETWEEN ? AND ? AND series.count = ?""", (points, first, last, points))
        million = 1_000_000
        link.execute("INSERT INTO series(job_id, name, count, last_step, last, min, min_step, max, max_step) "
                     "VALUES (?, 'million', ?, ?, 1, 0, 0, 2, 1)", (job, million, million - 1))
        series, = link.execute("SELECT id FROM series WHERE name = 'million'").fetchone()
        link.execute("""WITH RECURSIVE step(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM step WHERE n + 1 < ?)
            INSERT INTO point SELECT ?, n, abs(random() % 1000) / 1000.0, 1700000000000 + n FROM step""",
                     (million, series))
    link.close()
    return job


def milliseconds(service, path, runs=15):
    taken = []
    for _ in range(runs):
        start = time.monotonic()
        reply = service.get(path)
        taken.append(1000 * (time.monotonic() - start))
        assert reply.status == 200, reply
    return {"p50_ms": round(statistics.median(taken), 1), "max_ms": round(max(taken), 1), "bytes": len(reply.body)}


def large(binary, jobs, points):
    with Service(binary) as service:
        service.wait(service.submit(SHORT)["id"])
        service.terminate()
        start = time.monotonic()
        job = clone(os.path.join(service.data, "vintner.sqlite"), jobs, points)
        print(f"load: {jobs} jobs, {jobs * points + 1_000_000} points in {time.monotonic() - start:.0f} s", file=sys.stderr)
        service.start()
        found = {"ready_seconds": round(service.ready_seconds, 3),
                 "database_mib": round(os.path.getsize(os.path.join(service.data, "vintner.sqlite")) / 2**20)}
        page = service.get("/v1/jobs?limit=50&sort=-created_at").json
        cursor = page["next_cursor"]
        for _ in range(20):
            cursor = service.get(f"/v1/jobs?limit=500&after={cursor}").json["next_cursor"] or cursor
        found["page"] = milliseconds(service, "/v1/jobs?limit=50")
        found["page_of_500"] = milliseconds(service, "/v1/jobs?limit=500")
        found["deep_page"] = milliseconds(service, f"/v1/jobs?limit=50&after={cursor}")
        found["filtered"] = milliseconds(service, "/v1/jobs?limit=50&state=succeeded&type=train")
        found["curve"] = milliseconds(service, f"/v1/jobs/{job}/metrics?series=million&max_points=500")
        found["rss_mib"] = round(resident(service.process.pid))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vintner", default=".build/release/vintner")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=1_000)
    parser.add_argument("--parts", nargs="*", default=["busy", "idle", "large"])
    parser.add_argument("--serve", default="", help="further options of vintner serve")
    options = parser.parse_args()
    found = {}
    if "busy" in options.parts:
        found["busy"] = busy(options.vintner, options.seconds, options.serve.split())
    if "idle" in options.parts:
        found["idle"] = idle(options.vintner, options.seconds)
    if "large" in options.parts:
        found["large"] = large(options.vintner, options.jobs, options.points)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
