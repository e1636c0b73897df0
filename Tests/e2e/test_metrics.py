"""What Prometheus reads: the text is well-formed, and its figures are those of what happened."""

import json
import pathlib
import re
import signal
import time

from service import Service, mlp

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf'({NAME})(\{{(?:[a-zA-Z_]\w*="(?:[^"\\]|\\[\\n"])*",?)*\}})? (\S+)')


def parsed(text):
    """{name: {labels: value}}; fails where the text breaks a rule of the format or of names and units."""
    kinds, values, current = {}, {}, None
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# "):
            _, word, name, rest = line.split(" ", 3)
            assert re.fullmatch(NAME, name) and rest, line
            if word == "HELP":
                assert name not in kinds, f"{name} comes twice"
                current, kinds[name] = name, None
            else:
                assert word == "TYPE" and name == current and rest in ("counter", "gauge", "histogram"), line
                kinds[name] = rest
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        name, labels, value = match.groups()
        family = re.sub("_(bucket|sum|count)$", "", name) if kinds[current] == "histogram" else name
        assert family == current, f"{line} stands under {current}"
        seen = values.setdefault(name, {})
        assert labels not in seen, f"{line} comes twice"
        seen[labels or ""] = float(value)
    for name, kind in kinds.items():
        assert (kind == "counter") == name.endswith("_total"), name
        assert not re.search("milliseconds|_ms$|_kb$|_mb$|percent", name), f"{name} is in no base unit"
        if kind == "histogram":
            buckets = values[f"{name}_bucket"]
            counts = list(buckets.values())
            assert counts == sorted(counts) and list(buckets)[-1] == '{le="+Inf"}', buckets
            assert counts[-1] == values[f"{name}_count"][""], name
    return values


def scrape(service):
    reply = service.get("/metrics")
    assert reply.status == 200 and reply.headers["content-type"].startswith("text/plain; version=0.0.4"), reply
    return parsed(reply.body.decode())


def test_figures_are_well_formed_and_true(binary, kept):
    with Service(binary) as service:
        first = scrape(service)
        assert abs(first["process_start_time_seconds"][""] - time.time()) < 60, first
        assert sum(first["vintner_jobs"].values()) == 0 and first["vintner_workers_busy"][""] == 0, first
        assert first["vintner_budget_threads_free"] == first["vintner_budget_threads"], first

        body = {**mlp(), "train": {"steps": 20}}
        done = service.wait(service.submit(body)["id"])
        assert done["state"] == "succeeded", done
        failing = {**body, "train": {"steps": 20, "optimizer": {"lr": 1000}}}
        service.wait(service.submit(failing)["id"])
        assert service.get("/v1/jobs/nothing").status in (400, 404)
        assert service.get("/v1/system", token=False).status == 401
        service.get(f"/v1/jobs/{done['id']}?wait=1")

        second = scrape(service)
        assert second["vintner_jobs"]['{state="succeeded"}'] >= 1, second["vintner_jobs"]
        assert sum(second["vintner_jobs"].values()) == 2, second["vintner_jobs"]
        attempts = second["vintner_attempts_total"]
        # What appears with 1 has not grown, to Prometheus.
        assert first["vintner_attempts_total"]['{type="prune",outcome="failed"}'] == 0, first
        assert attempts['{type="train",outcome="succeeded"}'] >= 1, attempts
        assert second["vintner_attempt_seconds_total"]['{type="train",outcome="succeeded"}'] > 0, second
        requests = second["vintner_http_requests_total"]
        assert requests['{method="POST",code="201"}'] == 2, requests
        assert requests['{method="GET",code="401"}'] == 1, requests
        grown = (name for name in first if name.endswith("_total") or name.endswith("_count"))
        for name in grown:
            for labels, value in first[name].items():
                assert second[name][labels] >= value, (name, labels)
        assert second["vintner_http_connections"][""] >= 1, second["vintner_http_connections"]
        assert second["process_cpu_seconds_total"][""] > first["process_cpu_seconds_total"][""]
        assert second["vintner_data_filesystem_free_bytes"][""] <= second["vintner_data_filesystem_bytes"][""]


def test_dashboards_and_alerts_name_only_what_there_is(binary, kept):
    root = pathlib.Path(__file__).resolve().parents[2] / "packaging"
    dashboard = json.loads((root / "grafana/vintner.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    alerts = (root / "prometheus/alerts.yml").read_text()
    rules = re.findall(r"expr: (?:>-\n)?(.*?)\n(?=\s+(?:for|labels):)", alerts, re.S)
    assert len(expressions) > 20 and len(rules) == alerts.count("expr:"), (len(expressions), len(rules))
    with Service(binary) as service:
        service.wait(service.submit({**mlp(), "train": {"steps": 20}})["id"])
        text = service.get("/metrics").body.decode()
    kinds = dict(re.findall(rf"^# TYPE ({NAME}) (\w+)$", text, re.M))
    known = {f"{name}{end}": text for name, kind in kinds.items()
             for end in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))}
    # A server with a certificate has it (`transport.tls_is_spoken...`).
    known["vintner_tls_certificate_expiry_timestamp_seconds"] = ""
    for expression in expressions + rules:
        assert expression.count("(") == expression.count(")"), expression
        used = set(re.findall(r"\b(?:vintner|process)_\w+", expression))
        assert used and used <= set(known) or used == {"vintner"} or "up{" in expression, (expression, used - set(known))
        for name in used & set(known):
            for label in re.findall(rf"{name}\{{([^}}]*)\}}", expression):
                for key in re.findall(r"(\w+)[=!]~?\"", label):
                    if key != "instance":
                        assert re.search(rf"^{name}\{{[^}}]*\b{key}=", text, re.M), (expression, key)
        for key in {one for group in re.findall(r"by \(([^)]*)\)", expression) for one in group.split(", ")}:
            assert key == "instance" or any(re.search(rf"^{name}\{{[^}}]*\b{key}=", text, re.M) for name in used), key
    variables = {one["name"] for one in dashboard["templating"]["list"]}
    assert variables == {"datasource", "instance"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places), places


def test_the_level_of_the_log_changes_while_it_runs(binary, kept):
    with Service(binary, "--log-level", "error") as service:
        def lines(word):
            return [json.loads(line) for line in service.log.decode().splitlines()
                    if line.startswith("{") and word in line]

        assert service.get("/v1/system/log-level").json["level"] == "error"
        assert service.post("/v1/jobs", {"type": "nonsense"}).status == 422
        assert service.get("/v1/jobs?limit=3").status == 200
        changed = service.call("PUT", "/v1/system/log-level", {"level": "debug"})
        assert changed.status == 200 and changed.json == {"object": "log_level", "level": "debug"}, changed
        service.get("/v1/jobs?limit=7")
        deadline = time.monotonic() + 5
        while not (reads := [line for line in lines('"path":"/v1/jobs"') if line["method"] == "GET"]):
            assert time.monotonic() < deadline, service.log
            time.sleep(0.02)
        assert [line["level"] for line in reads] == ["debug"], "that of before is not there"
        assert [line["status"] for line in lines("request") if line["method"] == "POST"] == ["422"], "changes always are"
        service.process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + 5
        while service.get("/v1/system/log-level").json["level"] != "error":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert [line["to"] for line in lines("the level of the log was changed")] == ["error"]
        assert service.call("PUT", "/v1/system/log-level", {"level": "loud"}).status == 422


def test_old_jobs_go_and_their_models_stay(binary, kept):
    with Service(binary) as service:
        jobs = [service.wait(service.submit({**mlp(), "train": {"steps": 3}})["id"]) for _ in range(3)]
        assert service.terminate() == 0
        service.arguments = ("--keep-jobs", "1")
        service.start()
        deadline = time.monotonic() + 20
        while len(service.get("/v1/jobs").json["data"]) > 1:
            assert time.monotonic() < deadline, service.log
            time.sleep(0.05)
        assert service.job(jobs[2]["id"])["state"] == "succeeded"
        assert service.get(f"/v1/jobs/{jobs[0]['id']}").status == 404
        assert service.weights(jobs[0]) and len(service.get("/v1/models").json["data"]) == 3
        assert "old jobs were deleted" in service.log.decode(), service.log
