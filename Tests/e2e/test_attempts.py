"""What is left of an attempt that a client ended, and what another one makes of it."""

import json
import xml.etree.ElementTree

from service import Service, mlp


def blocks(reply):
    """The events of a stream that has ended, each as its fields."""
    return [dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            for block in reply.body.decode().split("\n\n")]


def steps(events, name="train_loss"):
    found = []
    for event in events:
        if event.get("event") == "metric" and (data := json.loads(event["data"]))["series"] == name:
            found += data["steps"]
    return found


def started(service, step, **changes):
    """A job that has come beyond a step."""
    body = mlp(train={"steps": 12_000, "batch_size": 64, "optimizer": {"lr": 0.01}, "eval_every_steps": 12_000}, **changes)
    identifier = service.submit(body)["id"]
    service.wait(identifier, lambda job: (job["progress"]["step"] or 0) > step)
    return identifier


def test_a_cancelled_job_keeps_what_it_has_computed(binary, kept):
    with Service(binary) as service:
        for body in ({}, {"limits": {"max_seconds": 1}, "train": {"epochs": 1000, "batch_size": 64,
                                                                  "optimizer": {"lr": 0.01}}}):
            if body:
                identifier = service.submit(mlp(**body))["id"]
                job = service.wait(identifier)
                assert job["state"] == "failed" and job["error"]["code"] == "limit_exceeded", job
            else:
                identifier = started(service, 300)
                assert service.post(f"/v1/jobs/{identifier}/cancel").status in (200, 202)
                job = service.wait(identifier)
                assert job["state"] == "cancelled", job
            [checkpoint] = [one for one in service.get(f"/v1/jobs/{identifier}/checkpoints").json["data"]
                            if one["kind"] == "last"]
            assert checkpoint["step"] >= job["progress"]["step"] > 0, (checkpoint, job["progress"])
            if body:
                # Limits count over all attempts: another one could only end at its first step.
                assert service.post(f"/v1/jobs/{identifier}/retry").status == 409
                continue
            assert service.post(f"/v1/jobs/{identifier}/retry").status == 200
            service.wait(identifier)
            [resumed] = [one for one in service.get(f"/v1/jobs/{identifier}/events?limit=1000").json["data"]
                         if one["type"] == "resumed"]
            assert resumed["data"]["step"] == checkpoint["step"], (resumed, checkpoint)


def test_a_stream_misses_nothing_of_a_job_that_began_anew(binary, kept):
    with Service(binary) as service:
        identifier = started(service, 500)
        path = f"/v1/jobs/{identifier}/events"
        stream = {"Accept": "text/event-stream"}
        service.post(f"/v1/jobs/{identifier}/cancel")
        service.wait(identifier)
        first = blocks(service.get(path, headers=stream))
        [*_, last] = [event["id"] for event in first if "id" in event]
        seen = max(steps(first))
        assert seen > 400, seen
        # From the checkpoint: what the client has stays, and the rest comes, once.
        service.post(f"/v1/jobs/{identifier}/retry")
        service.wait(identifier, lambda job: (job["progress"]["step"] or 0) > seen + 200)
        service.post(f"/v1/jobs/{identifier}/cancel")
        service.wait(identifier)
        second = blocks(service.get(path, headers={**stream, "Last-Event-ID": last}))
        rest = steps(second)
        assert rest == list(range(rest[0], rest[-1] + 1)) and rest[0] <= seen + 1, (seen, rest[:3])
        [*_, last] = [event["id"] for event in second if "id" in event]
        # From scratch: all of it comes again.
        assert service.post(f"/v1/jobs/{identifier}/retry", {"from": "scratch"}).status == 200
        job = service.wait(identifier)
        assert job["state"] == "succeeded", job
        third = steps(blocks(service.get(path, headers={**stream, "Last-Event-ID": last})))
        assert third == list(range(1, 12_001)), (len(third), third[:3])


def test_changes_are_of_what_the_client_has_seen_and_texts_are_harmless(binary, kept):
    with Service(binary) as service:
        for name in ("a\u009b31mRED", "a\u0085"):
            reply = service.post("/v1/jobs", mlp(name=name))
            assert reply.status == 422 and reply.json["errors"][0]["pointer"] == "/name", reply
        strange = service.post("/v1/jobs", mlp(), headers={"Content-Type": "application/json; charset=utf-16"})
        assert strange.status == 415 and strange.json["code"] == "unsupported_charset", strange
        plain = service.post("/v1/jobs?dry_run=true", mlp(), headers={"Content-Type": 'application/json; charset="UTF-8"'})
        assert plain.status == 200, plain
        job = service.submit(mlp(name="not \ufffe XML", train={"steps": 3, "batch_size": 64, "optimizer": {"lr": 0.1}}))
        path = f"/v1/jobs/{job['id']}"
        service.wait(job["id"])
        xml.etree.ElementTree.fromstring(service.get(f"{path}/verdict?format=junit").body)
        etag = service.get(path).headers["etag"]
        assert service.call("PATCH", path, {}, headers={"If-Match": etag}).headers["etag"] == etag, "nothing changed"
        reply = service.call("PATCH", path, {"priority": 3}, headers={"If-Match": etag})
        assert reply.status == 200 and reply.headers["etag"] != etag, reply
        for method, body in (("PATCH", {"priority": 4}), ("DELETE", None)):
            for old in (etag, '"x"', "7"):
                refused = service.call(method, path, body, headers={"If-Match": old})
                assert refused.status == 412 and refused.json["code"] == "precondition_failed", refused
        assert service.get(path).json["priority"] == 3
        assert service.call("DELETE", path, headers={"If-Match": reply.headers["etag"]}).status == 204
        other = service.submit(mlp(train={"steps": 3, "batch_size": 64, "optimizer": {"lr": 0.1}}))["id"]
        assert service.call("PATCH", f"/v1/jobs/{other}", {"name": "b"}, headers={"If-Match": "*"}).status == 200


def test_a_job_names_another_twice_and_waits_once(binary, kept):
    with Service(binary) as service:
        first = started(service, 10)
        second = service.submit(mlp(depends_on=[first, first], train={"steps": 3, "batch_size": 64,
                                                                      "optimizer": {"lr": 0.1}}))
        assert service.wait(second["id"])["state"] == "succeeded"
