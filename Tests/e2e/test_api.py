"""A tour of the API with nothing but requests, as a client with `curl` would make it."""

import hashlib
import json
import struct
import time

from service import Service, lenet, mlp


def check_list(content):
    assert content["object"] == "list" and isinstance(content["data"], list), content
    assert isinstance(content["has_more"], bool), content


def check_problem(reply, status, code=None):
    assert reply.status == status, reply
    assert reply.headers["content-type"].startswith("application/problem+json"), reply.headers
    problem = reply.json
    assert problem["status"] == status and problem["title"] and problem["code"], problem
    assert code is None or problem["code"] == code, problem
    return problem


def test_nothing_but_health_is_open(binary, kept):
    with Service(binary) as service:
        assert service.get("/healthz", token=False).status == 200
        for path in ("/v1/jobs", "/v1/models", "/v1/system", "/v1/nothing", "/readyz", "/nothing/at/all"):
            check_problem(service.get(path, token=False), 401)
            check_problem(service.get(path, headers={"Authorization": "Bearer wrong"}), 401)
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert service.call(method, "/v1/jobs", {}, token=False).status == 401, method
        foreign = service.get("/v1/jobs", headers={"Host": "evil.example"})
        assert foreign.status in (400, 403, 421), foreign
        cross_site = service.post("/v1/jobs", mlp(), headers={"Sec-Fetch-Site": "cross-site"})
        assert cross_site.status == 403, cross_site


def wait_for_dataset(service, name, seconds=20):
    """The dataset as the list has it; system datasets appear once they were read through."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        datasets = service.get("/v1/datasets").json
        check_list(datasets)
        for dataset in datasets["data"]:
            if dataset["name"] == name:
                return dataset
        time.sleep(0.05)
    raise AssertionError(f"no dataset {name} after {seconds} s")


def test_the_machine_describes_itself(binary, kept):
    with Service(binary) as service:
        assert service.get("/readyz").status == 200
        system = service.get("/v1/system").json
        assert system["version"], system
        text = json.dumps(system)
        assert "core" in text and "memory" in text, text
        fashion = wait_for_dataset(service, "fashion-mnist")
        same = service.get(f"/v1/datasets/{fashion['id']}").json
        assert same["name"] == "fashion-mnist" and "10" in json.dumps(same), same
        looks = [(look["label"], look["image"].partition(",")[0]) for look in same["preview"]]
        assert looks[0] == ("Ankle boot", "data:image/png;base64") and len(looks) == 4, looks
        assert "preview" not in fashion, "a list has no images"
        check_problem(service.get("/v1/datasets/dst_none"), 404)


def test_a_job_runs_from_post_to_model(binary, kept):
    with Service(binary) as service:
        reply = service.post("/v1/jobs", mlp(epochs=2, labels={"commit": "abc123"}, name="tour"))
        assert reply.status == 201, reply
        job = reply.json
        assert job["id"].startswith("job_") and job["object"] == "job", job
        assert reply.headers["location"] == f"/v1/jobs/{job['id']}", reply.headers
        assert job["spec"]["train"]["epochs"] == 2 and "momentum" in json.dumps(job["spec"]), job["spec"]

        done = service.wait(job["id"])
        assert done["state"] == "succeeded" and done["error"] is None, done
        assert done["progress"]["fraction"] == 1 and done["progress"]["epoch"] == 2, done["progress"]
        report = done["result"]["report"]
        assert report["test_accuracy"] > 0.8 and report["energy_method"] in ("rapl", "model"), report
        assert done["resources"]["cpu_seconds"] > 0 and done["resources"]["peak_memory_bytes"] > 0, done
        assert [one["state"] for one in done["transitions"]] == ["queued", "running", "succeeded"], done
        assert done["summary"]["train_loss"]["min"] < 1, done["summary"]
        check_curves(service, job["id"])
        check_events(service, job["id"])
        check_verdict(service, job["id"])
        check_model(service, done)
        check_artifacts(service, done)
        check_lists(service, job["id"])


def check_curves(service, identifier):
    path = f"/v1/jobs/{identifier}/metrics"
    series = service.get(f"{path}?series=train_loss,val_accuracy&max_points=100").json["series"]
    assert set(series) == {"train_loss", "val_accuracy"}, series.keys()
    loss = series["train_loss"]
    assert 2 <= len(loss["steps"]) <= 100 and len(loss["steps"]) == len(loss["values"]) == len(loss["times"])
    assert loss["steps"] == sorted(loss["steps"]) and loss["values"][0] > loss["values"][-1], loss
    later = service.get(f"{path}?series=train_loss&since_step={loss['steps'][-2]}").json["series"]["train_loss"]
    assert all(step > loss["steps"][-2] for step in later["steps"]) and later["steps"], later
    table = service.get(f"{path}?series=train_loss&format=csv")
    assert table.headers["content-type"].startswith("text/csv"), table.headers
    assert len(table.body.decode().splitlines()) > 2, table
    check_problem(service.get(f"{path}?max_point=5"), 422)
    samples = service.get(f"/v1/jobs/{identifier}/resources").json["series"]
    for name in ("cpu_percent", "rss_bytes", "samples_per_second", "gflops", "data_wait_fraction", "watts"):
        assert samples[name]["values"], (name, samples.keys())


def steps_of(blocks):
    """The steps of each curve that a stream has sent."""
    steps = {}
    for block in blocks:
        if block.get("event") == "metric":
            data = json.loads(block["data"])
            steps.setdefault(data["series"], []).extend(data["steps"])
    return steps


def check_events(service, identifier):
    events = service.get(f"/v1/jobs/{identifier}/events?limit=1000").json
    check_list(events)
    ids = [event["id"] for event in events["data"]]
    assert len(ids) >= 3 and len(set(ids)) == len(ids) and ids == sorted(ids), ids
    rest = service.get(f"/v1/jobs/{identifier}/events?after={ids[0]}&limit=1000").json
    assert [event["id"] for event in rest["data"]] == ids[1:], rest
    stream = service.get(f"/v1/jobs/{identifier}/events",
                         headers={"Accept": "text/event-stream", "Last-Event-ID": ids[0]})
    assert stream.headers["content-type"].startswith("text/event-stream"), stream
    blocks = [dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
              for block in stream.body.decode().split("\n\n")]
    # Behind an id's dot stands how far each curve went; in front of it, the last event.
    sent = [block["id"].split(".")[0] for block in blocks if block.get("event") in ("state", "log")]
    assert sent == ids[1:], (sent, ids)
    # Who had an event gets every point; who comes for the first time, a past that can be drawn.
    fresh = service.get(f"/v1/jobs/{identifier}/events", headers={"Accept": "text/event-stream"})
    first = [dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
             for block in fresh.body.decode().split("\n\n")]
    for sent, points_max in ((blocks, 10_000), (first, 500)):
        curves = service.get(f"/v1/jobs/{identifier}/metrics?max_points={points_max}").json["series"]
        assert steps_of(sent) == {name: curve["steps"] for name, curve in curves.items()}, (points_max, curves.keys())
    assert len(steps_of(blocks)["train_loss"]) > 500, "nothing was thinned"
    last = [block["id"] for block in blocks if "id" in block][-1]
    over = service.get(f"/v1/jobs/{identifier}/events",
                       headers={"Accept": "text/event-stream", "Last-Event-ID": last})
    assert over.status == 204, over


def check_verdict(service, identifier):
    path = f"/v1/jobs/{identifier}/verdict"
    assert service.get(f"{path}?wait=5").status == 200
    assert b"<testsuite" in service.get(f"{path}?format=junit").body
    assert service.get(f"{path}?format=markdown").headers["content-type"].startswith("text/markdown")
    assert service.get(f"{path}?format=badge").status == 200
    check_problem(service.get(f"{path}?format=pdf"), 422)


def check_model(service, job):
    identifier = job["result"]["model_id"]
    model = service.get(f"/v1/models/{identifier}").json
    assert model["parameters"] == 784 * 64 + 64 + 64 * 10 + 10, model
    assert identifier in [one["id"] for one in service.get("/v1/models").json["data"]]
    weights = service.weights(job)
    [header_count] = struct.unpack("<Q", weights[:8])
    header = json.loads(weights[8:8 + header_count])
    header.pop("__metadata__", None)
    counts = [(one["data_offsets"][1] - one["data_offsets"][0]) // 4 for one in header.values()]
    assert sum(counts) == model["parameters"], header
    assert 400 <= service.get(f"/v1/models/{identifier}/download?format=pickle").status < 500
    check_problem(service.get("/v1/models/mdl_none"), 404)


def check_artifacts(service, job):
    """Each file in two parts, as `curl --continue-at` would get it, has the sum that the list tells."""
    content = service.get(f"/v1/jobs/{job['id']}/artifacts").json
    check_list(content)
    assert content["data"][0]["name"] == "model.safetensors", content
    assert {one["kind"] for one in content["data"]} == {"model", "checkpoint"}, content
    for one in content["data"]:
        half = one["bytes"] // 2
        first = service.get(one["href"], headers={"Range": f"bytes=0-{half - 1}"})
        rest = service.get(one["href"], headers={"Range": f"bytes={half}-", "If-Range": first.headers["etag"]})
        assert first.status == rest.status == 206 and len(first.body) == half, (first, rest)
        assert rest.headers["content-range"] == f"bytes {half}-{one['bytes'] - 1}/{one['bytes']}", rest.headers
        assert hashlib.sha256(first.body + rest.body).hexdigest() == one["sha256"], one
        last = service.get(one["href"], headers={"Range": "bytes=-1"})
        assert last.status == 206 and last.body == rest.body[-1:], last
        check_problem(service.get(one["href"], headers={"Range": f"bytes={one['bytes']}-"}), 416)
        assert service.get(one["href"], headers={"If-None-Match": first.headers["etag"]}).status == 304
    check_problem(service.get(f"/v1/jobs/{job['id']}/artifacts/..%2f..%2fvintner.db"), 400)


def check_lists(service, identifier):
    found, none = [identifier], []
    for query, expected in (("state=succeeded", found), ("state=failed", none), ("name=tour", found),
                            ("label.commit=abc123", found), ("label.commit=other", none), ("type=train", found)):
        jobs = service.get(f"/v1/jobs?{query}").json
        check_list(jobs)
        assert [job["id"] for job in jobs["data"]] == expected, (query, jobs)
    check_problem(service.get("/v1/jobs?stat=failed"), 422)
    check_problem(service.get("/v1/jobs?limit=0"), 422)
    check_problem(service.get("/v1/jobs/job_none"), 404)
    wrong_method = service.call("PUT", "/v1/jobs", {})
    check_problem(wrong_method, 405)
    assert "POST" in wrong_method.headers["allow"], wrong_method.headers
    check_problem(service.get("/v1/nothing"), 404)


def test_lists_are_paged_and_stable(binary, kept):
    with Service(binary, "--workers", "1") as service:
        ids = [service.submit(lenet(epochs=50, name=f"job {n}"))["id"] for n in range(5)]
        page = service.get("/v1/jobs?limit=2").json
        assert page["has_more"] and len(page["data"]) == 2, page
        service.submit(lenet(epochs=50, name="late"))
        seen = [job["id"] for job in page["data"]]
        while page["has_more"]:
            page = service.get(f"/v1/jobs?limit=2&after={page['next_cursor']}").json
            seen += [job["id"] for job in page["data"]]
        assert sorted(seen) == sorted(ids), (seen, ids)


def test_the_same_key_gives_the_same_job(binary, kept):
    with Service(binary, "--workers", "1") as service:
        key = {"Idempotency-Key": "build-17"}
        first = service.submit(lenet(epochs=50), headers=key)
        again = service.post("/v1/jobs", lenet(epochs=50), headers=key)
        assert again.status == 200 and again.json["id"] == first["id"], again
        assert again.headers["idempotency-replayed"] == "true", again.headers
        check_problem(service.post("/v1/jobs", lenet(epochs=51), headers=key), 409)
        service.kill()
        service.start()
        after = service.post("/v1/jobs", lenet(epochs=50), headers=key)
        assert after.status == 200 and after.json["id"] == first["id"], after


def test_jobs_can_be_steered(binary, kept):
    with Service(binary, "--workers", "1") as service:
        running = service.submit(lenet(epochs=200))["id"]
        queued = service.submit(lenet(epochs=200))["id"]
        service.wait(running, lambda job: job["state"] == "running")
        assert service.job(queued)["state"] == "queued"

        assert service.post(f"/v1/jobs/{queued}/pause").status in (200, 202)
        service.wait(queued, lambda job: job["state"] == "paused")
        assert service.post(f"/v1/jobs/{queued}/cancel").status in (200, 202)
        assert service.wait(queued)["state"] == "cancelled"
        problem = check_problem(service.post(f"/v1/jobs/{queued}/resume"), 409, "job_state_conflict")
        assert "cancelled" in problem["detail"], problem

        assert service.post(f"/v1/jobs/{running}/cancel").status in (200, 202)
        stopped = service.wait(running, seconds=20)
        assert stopped["state"] == "cancelled" and stopped["finished_at"], stopped
        verdict = service.get(f"/v1/jobs/{running}/verdict")
        assert verdict.status == 409, verdict


def test_a_job_needs_no_name(binary, kept):
    with Service(binary) as service:
        spec = mlp()
        del spec["name"]
        done = service.wait(service.submit(spec)["id"], seconds=60)
        assert done["state"] == "succeeded", done
        assert service.get(f"/v1/models/{done['result']['model_id']}").json["name"], "the model has no name"


def test_a_gate_decides_the_verdict(binary, kept):
    with Service(binary) as service:
        gate = [{"metric": "val_accuracy", "min": 0.999}]
        job = service.submit(mlp(gate=gate))["id"]
        running = service.get(f"/v1/jobs/{job}/verdict?wait=0")
        assert running.status in (202, 409), running
        verdict = service.get(f"/v1/jobs/{job}/verdict?wait=60")
        check_problem(verdict, 409, "gate_failed")
        assert "val_accuracy" in verdict.body.decode(), verdict


def test_a_loss_that_explodes_fails_the_job(binary, kept):
    with Service(binary) as service:
        # A squared error grows with the square of what is wrong: this rate doubles it at every step.
        spec = mlp(model={"preset": "linear"})
        spec["train"].update(loss="mse", optimizer={"name": "sgd", "lr": 1000, "momentum": 0.9})
        job = service.submit(spec)["id"]
        failed = service.wait(job)
        assert failed["state"] == "failed" and failed["attempt"] == 1, failed
        assert failed["error"]["code"] and "step" in failed["error"]["message"], failed["error"]
        check_problem(service.get(f"/v1/jobs/{job}/verdict"), 409, "job_failed")
