"""What is left of an attempt that a client ended, and what another one makes of it."""

from service import Service, mlp


def blocks(reply):
    """The events of a stream that has ended, each as its fields."""
    return [dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            for block in reply.body.decode().split("\n\n")]


def steps(events, name="train_loss"):
    import json
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
