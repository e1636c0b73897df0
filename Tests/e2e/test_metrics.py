"""What Prometheus reads: the text is well-formed, and its figures are those of what happened."""

import re
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
