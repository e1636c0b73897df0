"""bfloat16 on processors that have it, and on those that have to emulate it in one way or the other."""

import json
import os
import subprocess

from service import Service, lenet

SETS = {"by AVX-512": "AVX512_CORE", "widened to float32": "AVX2"}


def limited(binary, means):
    """A service whose oneDNN uses no newer instructions than a processor that emulates by these means has."""
    os.environ["ONEDNN_MAX_CPU_ISA"] = SETS[means]
    try:
        service = Service(binary)
        service.start()
    finally:
        del os.environ["ONEDNN_MAX_CPU_ISA"]
    return service


def short(precision):
    body = lenet(epochs=1)
    body["train"] = {"steps": 150, "batch_size": 64, "precision": precision,
                     "optimizer": {"name": "sgd", "lr": 0.02, "momentum": 0.9}}
    return body


def test_bf16_is_emulated_and_said_so(binary, kept):
    peak = subprocess.run([binary, "bench-peak"], capture_output=True, text=True, check=True)
    if json.loads(peak.stdout)["bf16"] != "native":
        print("      not run: this processor has no AVX512-BF16 to be switched off")
        return
    with Service(binary) as service:
        dry = service.post("/v1/jobs?dry_run=true", short("bf16")).json
        assert dry["estimate"]["precision_support"] == "native", dry["estimate"]
        assert "precision_emulation" not in dry["estimate"], dry["estimate"]
        done = service.wait(service.submit(short("bf16"))["id"])
        native = done["result"]["report"]
        assert not any(event["type"] == "precision_emulated" for event in events(service, done)), "not emulated"
    for means in SETS:
        service = limited(binary, means)
        with_stop(service, lambda: emulated(service, means, native))


def with_stop(service, body):
    try:
        body()
    except Exception as error:
        service.__exit__(error)
        raise
    service.__exit__(None)


def events(service, job):
    return service.get(f"/v1/jobs/{job['id']}/events").json["data"]


def emulated(service, means, native):
    dry = service.post("/v1/jobs?dry_run=true", short("bf16")).json
    assert dry["estimate"]["precision_support"] == "emulated", dry["estimate"]
    assert dry["estimate"]["precision_emulation"] == means, dry["estimate"]
    done = service.wait(service.submit(short("bf16"))["id"])
    said = [event for event in events(service, done) if event["type"] == "precision_emulated"]
    assert len(said) == 1 and means in said[0]["message"], said
    # Sums in another order, through 150 steps of a net with max-pooling: some tenths of a per cent.
    report = done["result"]["report"]
    assert abs(report["test_accuracy"] - native["test_accuracy"]) < 0.02, (report, native)
    assert abs(report["test_loss"] / native["test_loss"] - 1) < 0.05, (report, native)
