#!/usr/bin/env python3
"""Trains the depthwise-separable net and its standard-convolution twin on Fashion-MNIST by the same recipe.

    Benchmarks/separable.py --vintner .build/release/vintner [--epochs 3] [--threads 2]

Prints one Markdown table: accuracy on the test split, parameters, multiply-accumulates of one image, time of one
step, processor time and energy of the whole job. Each row is a job run by `vintner run`.
"""
import argparse
import json
import subprocess
import tempfile

MODELS = {"separable5": "depthwise-separable", "standard5": "standard"}


def body(preset, precision, arguments):
    return {
        "type": "train", "name": f"{preset} {precision}", "dataset": "fashion-mnist", "seed": 0,
        "threads": arguments.threads, "model": {"preset": preset},
        "train": {
            "epochs": arguments.epochs, "batch_size": 64, "precision": precision,
            "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
            "lr_schedule": {"name": "cosine"},
        },
    }


def run(preset, precision, arguments):
    """The finished job."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(body(preset, precision, arguments), file)
        file.flush()
        done = subprocess.run(
            [arguments.vintner, "run", file.name, "--threads", str(arguments.threads), "--json"],
            stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout[done.stdout.index("{"):])


def step_milliseconds(preset, precision, arguments):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"preset": preset, "input": [1, 28, 28], "classes": 10}, file)
        file.flush()
        done = subprocess.run(
            [arguments.vintner, "bench-step", "--model", file.name, "--precision", precision, "--threads",
             str(arguments.threads), "--steps", "60", "--warmup", "10"],
            stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)["median_ms"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--vintner", required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    print("| Convolutions | Precision | Test accuracy | Parameters | MACs | Step, ms | CPU seconds | Joules |")
    print("|---|---|---|---|---|---|---|---|")
    for precision in ["fp32", "bf16"]:
        for preset, title in MODELS.items():
            report = run(preset, precision, arguments)["result"]["report"]
            step = step_milliseconds(preset, precision, arguments)
            print(f"| {title} | {precision} | {100 * report['test_accuracy']:.2f} % | {report['parameters']:,} | "
                  f"{report['macs_per_sample']:,} | {step:.1f} | {report['cpu_seconds']:.0f} | "
                  f"{report['joules']:.0f} ({report['energy_method']}) |", flush=True)


if __name__ == "__main__":
    main()
