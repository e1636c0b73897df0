#!/usr/bin/env python3
"""What checkpoints cost: the same training with one each second, and with none on the way, in turns.

    Benchmarks/checkpoints.py --vintner .build/release/vintner [--rounds 3] [--only NAME ...]
        [--document docs/reliability.md]

The difference of the times of both, divided by how many checkpoints there were, is what one costs. The next comes half a
minute later, or as much later as keeps them at 3.5 % of the time (CheckpointPacing).
"""
import argparse
import pathlib
import statistics
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "Tests" / "e2e"), str(HERE.parent / "Tests" / "torture")]
from memory import datasets, upload  # noqa: E402
from service import Service  # noqa: E402
from table import write_into  # noqa: E402

# Seconds between checkpoints unless a job says otherwise, and the part of the time that they may take.
USUAL, SHARE = 30, 0.035
# Name: model, dataset, optimiser, batch, steps that take some seconds on one thread.
NETS = {
    "lenet5_caffe, SGD with momentum": (
        {"preset": "lenet5_caffe"}, "fashion-mnist", {"name": "sgd", "lr": 0.01, "momentum": 0.9}, 64, 3000),
    "resnet18, SGD with momentum": (
        {"preset": "resnet18"}, "colour", {"name": "sgd", "lr": 0.01, "momentum": 0.9}, 16, 20),
    "gpt of 6 layers of 384, AdamW": (
        {"preset": "gpt", "layers": 6, "heads": 6, "width": 384, "context": 64}, "words",
        {"name": "adamw", "lr": 0.001}, 8, 40),
    "gpt of 12 layers of 768, AdamW": (
        {"preset": "gpt", "layers": 12, "heads": 12, "width": 768, "context": 64}, "words",
        {"name": "adamw", "lr": 0.001}, 4, 10),
}


def body(name, every):
    model, dataset, optimizer, batch, steps = NETS[name]
    return {"type": "train", "name": name, "dataset": dataset, "model": model, "threads": 1, "train": {
        "steps": steps, "batch_size": batch, "checkpoint_every_seconds": every, "eval_every_steps": steps,
        "optimizer": optimizer}}


def run(service, name, every):
    """(seconds of the training, checkpoints on the way, bytes of one)"""
    job = service.wait(service.submit(body(name, every))["id"], seconds=600)
    if job["state"] != "succeeded":
        sys.exit(f"checkpoints: {name}: {job['error']}")
    events = service.get(f"/v1/jobs/{job['id']}/events?limit=500").json["data"]
    stored = [event for event in events if event["type"] == "checkpoint"]
    return job["resources"]["wall_seconds"], len(stored), max(event["data"]["bytes"] for event in stored)


def measure(service, name, rounds):
    """Seconds of one checkpoint by the median over the rounds, and its bytes."""
    found = []
    for _ in range(rounds):
        calm, few, _ = run(service, name, 3600)
        busy, many, size = run(service, name, 1)
        found.append((busy - calm) / max(1, many - few))
        print(f"{name}: {calm:.2f} s with {few} checkpoints, {busy:.2f} s with {many} of {size / 1e6:.1f} MB",
              file=sys.stderr, flush=True)
    return max(0, statistics.median(found)), size


def part(seconds, apart):
    return f"{100 * seconds / (apart + seconds):.1f} %"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--vintner", default=".build/release/vintner")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(NETS), default=list(NETS), metavar="NAME")
    parser.add_argument("--document", help="where to write the table")
    options = parser.parse_args()
    lines = ["| Training | A checkpoint | takes | one each 30 s would take | comes each | takes of the time |",
             "|---|---|---|---|---|---|"]
    with Service(options.vintner) as service:
        for name, (form, files) in datasets().items():
            upload(service, name, form, files)
        for name in options.only:
            seconds, size = measure(service, name, options.rounds)
            apart = max(USUAL, seconds * (1 / SHARE - 1))
            lines.append(f"| {name} | {size / 1e6:.1f} MB | {1000 * seconds:.0f} ms | {part(seconds, USUAL)} "
                         f"| {apart:.0f} s | {part(seconds, apart)} |")
    print("\n".join(lines))
    if options.document:
        write_into(options.document, "\n".join(lines), "checkpoints")


if __name__ == "__main__":
    main()
