"""What a job keeps for itself beside its checkpoints lives as long as they do, and no longer."""

import json
import os
import time

from service import Service
from test_backup import examine
from test_cli import OK
from test_torture import debug_build

OPTIMIZER = {"lr": 0.05, "momentum": 0.9}
PRUNE = {"type": "prune", "dataset": "fashion-mnist", "model": {"preset": "mlp", "hidden": [32]}, "seed": 3,
         "prune": {"target_sparsity": 0.5, "finetune": {"epochs": 6}},
         "train": {"steps": 200, "eval_every_steps": 400, "optimizer": OPTIMIZER, "checkpoint_every_seconds": 1}}
TEACHER = {"type": "train", "dataset": "fashion-mnist", "model": {"preset": "mlp", "hidden": [32]}, "seed": 4,
           "train": {"steps": 50, "optimizer": OPTIMIZER}}
TAUGHT = {"type": "distill", "dataset": "fashion-mnist", "model": {"preset": "mlp", "hidden": [16]}, "seed": 5,
          "train": {"steps": 1500, "eval_every_steps": 500, "optimizer": OPTIMIZER, "checkpoint_every_seconds": 1}}
DENSE, LEDGER = "dense.safetensors", "trainings.json"


def taught(service, steps=1500):
    """A distill job with two seeds, by a teacher that is trained first."""
    teacher = service.wait(service.submit(TEACHER)["id"])["result"]["model_id"]
    train = {**TAUGHT["train"], "steps": steps, "eval_every_steps": steps // 3}
    return {**TAUGHT, "train": train, "distill": {"teacher": {"id": teacher}, "seeds": 2}}


def files(service, job):
    """The names in a job's folder; none where there is no folder."""
    place = f"{service.data}/jobs/{job}"
    return sorted(os.listdir(place)) if os.path.exists(place) else None


def soon(condition, what):
    """Waits for what happens right behind an answer."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def stop_at(service, body, until, action="cancel"):
    """A job that was cancelled, or paused, once that was so."""
    job = service.submit(body)["id"]
    soon(lambda: until(service.job(job), files(service, job) or []), "the job was over before it could be stopped")
    service.post(f"/v1/jobs/{job}/{action}")
    service.wait(job, lambda one: one["state"] in ("cancelled", "paused"))
    return job


def retried(service, job, origin="checkpoint"):
    """The end of a job that is tried again."""
    reply = service.post(f"/v1/jobs/{job}/retry", {"from": origin})
    assert reply.status == 200, reply
    done = service.wait(job)
    assert done["state"] == "succeeded", done
    return done


def events(service, job):
    """The job's events, by type."""
    found = {}
    for one in service.get(f"/v1/jobs/{job}/events?limit=1000").json["data"]:
        found.setdefault(one["type"], []).append(one["message"])
    return found


def is_pruned(job, names):
    """Whether the pruned model is being trained."""
    return DENSE in names and 0.3 < (job["progress"]["fraction"] or 0) < 0.9


def is_second(job, names):
    """Whether the second of two trainings runs."""
    return LEDGER in names and 0.55 < (job["progress"]["fraction"] or 0) < 0.9


def test_killed_before_its_end_is_stored_a_job_ends_after_all(binary, kept):
    """Once a pruning, once a distillation with two seeds: what they keep is still needed by then."""
    debug = debug_build(binary)
    if not debug:
        return
    with Service(debug) as service:
        bodies = [PRUNE, taught(service)]
        for body, note in zip(bodies, (DENSE, LEDGER)):
            calm = service.wait(service.submit(body)["id"])
            assert calm["state"] == "succeeded", calm
            soon(lambda: note not in files(service, calm["id"]), "its notes outlive its success")
            service.terminate()
            service.environment["VINTNER_FAIL"] = "before_finish_commit:1"
            service.start()
            job = service.submit(body)["id"]
            service.process.wait(timeout=120)
            service.environment.clear()
            assert note in files(service, job), files(service, job)
            service.start()
            done = service.wait(job)
            assert done["state"] == "succeeded" and done["attempt"] == 2, done
            assert "resumed" in events(service, job), "it began anew"
            for key in ("model_sha256", "test_accuracy", "runs"):
                assert calm["result"]["report"].get(key) == done["result"]["report"].get(key), (key, calm, done)
            soon(lambda: note not in files(service, job), "its notes outlive its success")
            assert service.call("DELETE", f"/v1/jobs/{job}").status == 204 and files(service, job) is None
        service.terminate()
        code, _, out = examine(binary, service.data)
        assert code == OK, json.loads(out)


def test_a_cancelled_pruning_goes_on_where_it_was(binary, kept):
    """Also where the model as it was before is lost: then from before the pruning."""
    with Service(binary) as service:
        calm = service.wait(service.submit(PRUNE)["id"])["result"]["report"]
        job = stop_at(service, PRUNE, is_pruned)
        assert DENSE in files(service, job), files(service, job)
        service.terminate()
        code, _, out = examine(binary, service.data)
        assert code == OK, json.loads(out)
        service.start()
        done = retried(service, job)
        assert done["result"]["report"]["model_sha256"] == calm["model_sha256"], (done, calm)
        assert done["result"]["report"]["before"]["test_accuracy"] == calm["before"]["test_accuracy"], (done, calm)
        assert "resumed" in events(service, job) and "dense_lost" not in events(service, job), events(service, job)

        job = stop_at(service, PRUNE, is_pruned)
        os.remove(f"{service.data}/jobs/{job}/{DENSE}")
        done = retried(service, job)
        assert done["result"]["report"]["model_sha256"] == calm["model_sha256"], (done, calm)
        assert DENSE in events(service, job)["dense_lost"][0], events(service, job)


def test_a_pruning_that_lost_too_much_says_so_again(binary, kept):
    body = {**PRUNE, "prune": {"target_sparsity": 0.99, "max_per_layer": 0.995, "finetune": {"epochs": 0}},
            "gate": {"max_drop": 0.01, "on_fail": "fail"}}
    with Service(binary) as service:
        job = service.submit(body)["id"]
        for _ in range(2):
            done = service.wait(job)
            assert done["state"] == "failed" and done["error"]["code"] == "gate_failed", done
            assert service.post(f"/v1/jobs/{job}/retry").status == 200
        service.wait(job)


def test_a_cancelled_distillation_with_two_seeds_goes_on_in_the_second(binary, kept):
    with Service(binary) as service:
        body = taught(service, steps=15000)
        calm = service.wait(service.submit(body)["id"])["result"]["report"]
        job = stop_at(service, body, is_second)
        assert LEDGER in files(service, job), files(service, job)
        done = retried(service, job)
        report, told = done["result"]["report"], events(service, job)
        assert report["runs"] == calm["runs"] and report["model_sha256"] == calm["model_sha256"], (report, calm)
        assert all("Seed 5" in one for one in told["resumed"]), told["resumed"]
        assert sum("Seed 6" in one for one in told["training"]) == 1, "the first training was done twice"
        curves = service.get(f"/v1/jobs/{job}/metrics?max_points=10000").json["series"]
        assert curves["val_accuracy.seed1"]["steps"] == curves["val_accuracy"]["steps"] == [5000, 10000, 15000], curves

        # Without what was written down it begins anew, and says so.
        job = stop_at(service, body, is_second)
        os.remove(f"{service.data}/jobs/{job}/{LEDGER}")
        report = retried(service, job)["result"]["report"]
        assert report["runs"] == calm["runs"] and report["model_sha256"] == calm["model_sha256"], (report, calm)
        assert len(events(service, job)["trainings_lost"]) == 1, events(service, job)


def test_what_a_job_leaves_goes_with_it(binary, kept):
    """Checkpoints with a retry from scratch, everything with the job; also of one cancelled while it was paused."""
    with Service(binary) as service:
        job = stop_at(service, PRUNE, is_pruned)
        before = [name for name in files(service, job) if name != DENSE]
        assert before, "there is no checkpoint"
        assert service.post(f"/v1/jobs/{job}/retry", {"from": "scratch"}).status == 200
        assert not set(before) & set(files(service, job)), "old checkpoints are still there"
        service.wait(job, lambda one: is_pruned(one, files(service, job)))
        assert "resumed" not in events(service, job), "it did not begin anew"
        service.post(f"/v1/jobs/{job}/cancel")
        service.wait(job)
        assert service.call("DELETE", f"/v1/jobs/{job}").status == 204
        assert files(service, job) is None, files(service, job)

        job = stop_at(service, PRUNE, is_pruned, "pause")
        service.post(f"/v1/jobs/{job}/cancel")
        assert DENSE in files(service, job)
        for _ in range(2):
            service.terminate()
            code, _, out = examine(binary, service.data)
            assert code == OK, json.loads(out)
            service.start()
        assert service.call("DELETE", f"/v1/jobs/{job}").status == 204
        assert os.listdir(f"{service.data}/jobs") == [], os.listdir(f"{service.data}/jobs")


def test_old_jobs_leave_no_folder_behind(binary, kept):
    with Service(binary, "--keep-jobs", "0") as service:
        job = service.submit({**TEACHER, "train": {"steps": 20, "checkpoint_every_seconds": 1}})["id"]
        service.wait(job)
        service.terminate()
        service.start()
        soon(lambda: service.get(f"/v1/jobs/{job}").status == 404, "it is kept")
        soon(lambda: os.listdir(f"{service.data}/jobs") == [], os.listdir(f"{service.data}/jobs"))
