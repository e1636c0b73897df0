#!/usr/bin/env python3
"""Compares training steps of Vintner and PyTorch on this machine, side by side in the same minutes.

    Benchmarks/run.py --vintner .build/release/vintner [--rounds 5] [--threads 2] [--batch 64]
        [--require 2.0] [--json FILE]

Each round runs every network once in each program, in processes of their own and in alternating order, so that
both see the same state of the machine. A figure is the median over the rounds; the ratio is the median of the
rounds' ratios. `--require` makes the run fail when a step-time ratio is below it. PyTorch is installed into
.venv/ when it is not there yet, and is measured with its fastest setting (see pytorch_steps.py).
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
NETWORKS = {"mlp": "MLP 784-500-10", "lenet5_caffe": "LeNet-5-Caffe"}


def last_json_line(command):
    """Runs a program and parses the last line it prints; says what failed when it did."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        sys.exit(f"bench: {' '.join(map(str, command))} ended with status {done.returncode}")
    return json.loads(lines[-1])


def measure(arguments):
    """Figures of all rounds: {network: {"vintner": [...], "pytorch": [...]}}."""
    torch = [HERE / "torch-python", HERE / "pytorch_steps.py"]
    size = ["--threads", arguments.threads, "--batch", arguments.batch]
    chosen = {}
    for network in NETWORKS:
        chosen[network] = last_json_line([*torch, network, "--choose", *size])
        print(f"bench: PyTorch is fastest on {network} with {chosen[network]}", file=sys.stderr)
    figures = {network: {"vintner": [], "pytorch": []} for network in NETWORKS}
    for round in range(arguments.rounds):
        print(f"bench: round {round + 1} of {arguments.rounds}", file=sys.stderr)
        for network in NETWORKS:
            commands = {
                "vintner": [arguments.vintner, "bench-step", network, *size],
                "pytorch": [*torch, network, *size, "--layout", chosen[network]["layout"],
                            "--optimizer", chosen[network]["optimizer"]],
            }
            for program in sorted(commands, reverse=round % 2 == 0):
                figures[network][program].append(last_json_line(commands[program]))
    return figures


def table(figures):
    """Rows of text and the step-time ratio of each network."""
    quantities = [
        ("step, median", "median_ms", 1, "ms"), ("step, 90th percentile", "p90_ms", 1, "ms"),
        ("peak memory", "peak_rss_bytes", 1e-6, "MB"), ("start to first step", "first_step_seconds", 1, "s"),
    ]
    rows, ratios = [], {}
    rows.append(f"{'':38}{'Vintner':>12}{'PyTorch':>12}{'ratio':>8}")
    for network, title in NETWORKS.items():
        for label, key, scale, unit in quantities:
            ours = [run[key] * scale for run in figures[network]["vintner"]]
            theirs = [run[key] * scale for run in figures[network]["pytorch"]]
            ratio = statistics.median(b / a for a, b in zip(ours, theirs))
            if key == "median_ms":
                ratios[network] = ratio
            digits = 1 if unit == "MB" else 3
            rows.append(f"{title + ': ' + label + ', ' + unit:38}{statistics.median(ours):12.{digits}f}"
                        f"{statistics.median(theirs):12.{digits}f}{ratio:8.2f}")
    return rows, ratios


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--vintner", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--require", type=float)
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()

    figures = measure(arguments)
    rows, ratios = table(figures)
    version = figures["mlp"]["pytorch"][0]["torch"]
    print(f"Training steps, batch {arguments.batch}, {arguments.threads} threads, float32, SGD with momentum; "
          f"PyTorch {version}; {arguments.rounds} rounds; ratio = PyTorch / Vintner")
    print("\n".join(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    slow = [network for network, ratio in ratios.items() if arguments.require and ratio < arguments.require]
    if slow:
        sys.exit(f"bench: below the required ratio of {arguments.require}: {', '.join(slow)}")


if __name__ == "__main__":
    main()
