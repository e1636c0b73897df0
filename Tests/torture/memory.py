#!/usr/bin/env python3
"""Holds the memory that jobs are said to need against what the server takes for them.

    Tests/torture/memory.py --binary .build/release/vintner [--only NAME ...] [--document docs/reliability.md]

Each configuration runs in a server of its own: the estimate of a dry run stands against the growth of the server's
resident memory from before the job to its peak (`VmHWM`). The estimate may be a quarter more than that and must not be
a quarter less; beside either stand a few MiB that a job of any size moves (`SLACK`). Exit code 0 only if all are within.
"""

import argparse
import os
import random
import re
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e")]

from load import Failed, upload  # noqa: E402
from service import Service  # noqa: E402
from table import write_into  # noqa: E402
from test_uploads import npy  # noqa: E402

MIB = 1 << 20
# How far an estimate may be off, as a part, and what counts beside that.
WITHIN, SLACK = 0.25, 8 * MIB
TRAIN_COUNT, TEST_COUNT = 512, 128


def train(model, batch, precision="fp32", optimizer="sgd", dataset="colour", **more):
    return {"type": "train", "dataset": dataset, "model": model, "train": {
        "steps": 4, "batch_size": batch, "precision": precision, "optimizer": {"name": optimizer, "lr": 0.001}, **more}}


def gpt(layers, width, context):
    return {"preset": "gpt", "layers": layers, "heads": 4, "width": width, "context": context}


CONFIGURATIONS = {
    "mlp, 64": train({"preset": "mlp", "hidden": [2000, 2000]}, 64),
    "mlp, AdamW, 256": train({"preset": "mlp", "hidden": [4000, 2000]}, 256, optimizer="adamw"),
    "lenet5_caffe, 64": train({"preset": "lenet5_caffe"}, 64),
    "lenet5_caffe, 512": train({"preset": "lenet5_caffe"}, 512),
    "resnet8, 128": train({"preset": "resnet8"}, 128),
    "resnet20, 128": train({"preset": "resnet20"}, 128),
    "resnet20, bf16, 128": train({"preset": "resnet20"}, 128, "bf16"),
    "resnet18, 32": train({"preset": "resnet18"}, 32),
    "resnet18, AdamW, bf16, 16": train({"preset": "resnet18"}, 16, "bf16", "adamw"),
    "mobilenet_v1, 32": train({"preset": "mobilenet_v1"}, 32),
    "ds_cnn, 64": train({"preset": "ds_cnn"}, 64),
    "separable5, 64": train({"preset": "separable5"}, 64),
    "separable5, bf16, 64": train({"preset": "separable5"}, 64, "bf16"),
    "standard5, 64": train({"preset": "standard5"}, 64),
    "vit_tiny, AdamW, 64": train({"preset": "vit_tiny"}, 64, optimizer="adamw"),
    "vit_tiny, AdamW, bf16, 16": train({"preset": "vit_tiny"}, 16, "bf16", "adamw"),
    "vit_tiny, averaged, 32": train({"preset": "vit_tiny"}, 32, ema_decay=0.99),
    "gpt, AdamW, 12": train({"preset": "gpt"}, 12, optimizer="adamw", dataset="words"),
    "gpt, AdamW, bf16, 32": train({"preset": "gpt"}, 32, "bf16", "adamw", dataset="words"),
    "resnet20 pruned, 64": {**train({"preset": "resnet20"}, 64), "type": "prune",
                            "prune": {"target_sparsity": 0.5, "finetune": {"epochs": 1}}},
}


def datasets(seed=3):
    """Colour images of 32x32, and a text; both small, so that evaluations are short."""
    draw = random.Random(seed)
    images = {}
    for split, count in (("train", TRAIN_COUNT), ("test", TEST_COUNT)):
        images[f"x_{split}.npy"] = npy((count, 32, 32, 3), draw.randbytes(count * 3072))
        images[f"y_{split}.npy"] = npy((count,), bytes(draw.randrange(10) for _ in range(count)))
    text = " ".join(draw.choice(["the", "grape", "is", "pressed", "and", "kept", "cool"]) for _ in range(20_000))
    return {"colour": ("npy", images), "words": ("text", {"words.txt": text.encode()})}


def high_water(service, reset=False):
    """The most that the server ever held, or since the last reset; in bytes."""
    if reset:
        with open(f"/proc/{service.process.pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    with open(f"/proc/{service.process.pid}/status", encoding="ascii") as file:
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1])


def measure(binary, data, body):
    """(estimate, growth) of one job in a server of its own, both in bytes."""
    with Service(binary, "--writes-per-second", "0", data=data) as service:
        dry = service.post("/v1/jobs?dry_run=true", body)
        if dry.status != 200:
            raise Failed(f"{body}: {dry}")
        service.terminate()
        service.start()
        time.sleep(0.3)
        before = high_water(service, reset=True)
        done = service.wait(service.submit(body)["id"], seconds=300)
        if done["state"] != "succeeded":
            raise Failed(f"{body}: {done['error']}")
        grown = high_water(service) - before
        service.terminate()
    return dry.json["estimate"]["peak_memory_bytes"], grown


def is_within(estimate, grown):
    """Whether an estimate is as near as it is promised to be."""
    return abs(estimate - grown) <= WITHIN * grown + SLACK


def measure_all(binary, names, say=print):
    """Estimate and growth by configuration."""
    found = {}
    with Service(binary) as service:
        for name, (form, files) in datasets().items():
            upload(service, name, form, files)
        service.terminate()
        for name in names:
            estimate, grown = found[name] = measure(binary, service.data, CONFIGURATIONS[name])
            say(f"{name}: {estimate / MIB:.1f} MiB said, {grown / MIB:.1f} taken ({estimate / grown:.2f})", flush=True)
    return found


def markdown(found):
    """The figures as a table."""
    lines = ["| Job, batch | Said, MiB | Taken, MiB | Said / taken |", "|---|---|---|---|"]
    for name, (estimate, grown) in found.items():
        lines.append(f"| {name} | {estimate / MIB:.1f} | {grown / MIB:.1f} | {estimate / grown:.2f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", default=".build/release/vintner")
    parser.add_argument("--only", nargs="*", choices=list(CONFIGURATIONS), metavar="NAME")
    parser.add_argument("--document", help="where to write the table")
    options = parser.parse_args()
    found = measure_all(os.path.abspath(options.binary), options.only or CONFIGURATIONS)
    if options.document:
        write_into(options.document, markdown(found), "memory")
    wrong = [name for name, (estimate, grown) in found.items() if not is_within(estimate, grown)]
    sys.exit(f"memory: beyond a quarter: {wrong}" if wrong else 0)


if __name__ == "__main__":
    main()
