"""Evaluate jobs: what a stored model is worth, measured again."""

from service import Service

TRAIN = {"type": "train", "dataset": "fashion-mnist", "model": {"preset": "lenet5_caffe"},
         "train": {"steps": 60, "optimizer": {"lr": 0.02}}}


def test_a_model_is_measured_as_soon_as_its_job_has_made_it(binary, kept):
    with Service(binary) as service:
        train = service.submit(TRAIN)["id"]
        gate = [{"metric": "accuracy", "min": 0.3}, {"metric": "calibration_error", "max": 0.5}]
        evaluate = service.submit({"type": "evaluate", "dataset": "fashion-mnist", "model": {"job": train}, "gate": gate})
        assert evaluate["state"] == "queued", evaluate
        job = service.wait(evaluate["id"])
        assert job["state"] == "succeeded" and job["type"] == "evaluate", job
        report, trained = job["result"]["report"], service.wait(train)["result"]["report"]
        assert report["accuracy"] == trained["test_accuracy"] == report["test_accuracy"], (report, trained)
        assert abs(report["loss"] - trained["test_loss"]) < 1e-4 * trained["test_loss"], (report, trained)
        confusion, classes = report["confusion"], report["per_class"]
        assert [len(row) for row in confusion] == [10] * 10 and sum(map(sum, confusion)) == 10_000
        assert sum(confusion[i][i] for i in range(10)) == round(report["accuracy"] * 10_000)
        for label, entry in enumerate(classes):
            assert entry["support"] == sum(confusion[label]) == 1000, entry
            taken = sum(row[label] for row in confusion)
            precision = confusion[label][label] / taken if taken else 0
            assert abs(entry["precision"] - precision) < 1e-12, entry
            assert entry["recall"] == confusion[label][label] / 1000, entry
        assert classes[0]["name"] == "T-shirt/top", classes[0]
        assert 0 <= report["calibration_error"] <= 1
        latency = report["latency_ms"]
        assert 0 < latency["1"]["p50"] <= latency["1"]["p95"] and latency["1"]["p50"] < latency["64"]["p50"], latency
        assert report["threads"] == job["spec"]["threads"] and report["joules"] > 0, report

        verdict = service.get(f"/v1/jobs/{job['id']}/verdict")
        assert verdict.status == 200, verdict
        # A model that is not there yet cannot be had from a job that never makes one.
        refused = service.post("/v1/jobs", {"type": "evaluate", "dataset": "fashion-mnist", "model": {"job": job["id"]}})
        assert refused.status == 422 and refused.json["errors"][0]["pointer"] == "/model/job", refused
        # Once it has ended, the same job can be named again.
        again = service.wait(service.submit(
            {"type": "evaluate", "dataset": "fashion-mnist", "model": {"job": train}, "split": "train"})["id"])
        assert again["result"]["report"]["samples"] == 60_000, again
        # Of another split it is not known, and never taken for known.
        other = again["result"]["report"]
        assert other["test_accuracy"] is None and other["test_loss"] is None and other["accuracy"] > 0, other


def test_training_goes_on_from_another_jobs_model(binary, kept):
    with Service(binary) as service:
        first = service.submit(TRAIN)["id"]
        second = service.submit({**TRAIN, "model": {"job": first}, "train": {"steps": 5, "optimizer": {"lr": 0.001}}})
        job = service.wait(second["id"])
        assert job["state"] == "succeeded", job
        made = service.wait(first)["result"]
        lineage = service.get(f"/v1/models/{job['result']['model_id']}").json["lineage"]
        assert lineage["parent"] == made["model_id"], lineage
        # Five small steps from a trained model are no worse than that by much; from random weights they would be.
        assert job["result"]["report"]["test_accuracy"] > made["report"]["test_accuracy"] - 0.05, job
