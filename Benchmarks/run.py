#!/usr/bin/env python3
"""Compares training steps of Vintner and PyTorch on this machine, side by side in the same minutes.

    Benchmarks/run.py --vintner .build/release/vintner [--rows mlp,nanogpt] [--rounds 3] [--threads 2] [--quick]
        [--require 0.8] [--json FILE] [--document docs/performance.md]

Each round runs every row once in each program and precision, in processes of their own and in alternating order,
so that all see the same state of the machine. A figure is the median over the rounds; a ratio is the median of the
rounds' ratios. PyTorch is installed into .venv/ when it is not there yet, and is measured with its fastest setting
(see pytorch_steps.py). The machine's matrix-product peak is measured in every round too.

`--json` keeps the raw figures, row by row: rows that are not measured now stay as they are. `--document` writes the
tables. `--quick` is one short round without torch.compile. `--require` fails when a row's float32 ratio to eager
PyTorch is below that part of what rows.py asks for, or when Vintner failed on a row.
"""
import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import machine
import report
from rows import ROWS

HERE = pathlib.Path(__file__).resolve().parent
TORCH = [HERE / "torch-python", HERE / "pytorch_steps.py"]
# name: the program, its precision, whether compiled
VARIANTS = {
    "ours_fp32": ("vintner", "fp32", False), "ours_bf16": ("vintner", "bf16", False),
    "eager_fp32": ("pytorch", "fp32", False), "eager_bf16": ("pytorch", "bf16", False),
    "compile_fp32": ("pytorch", "fp32", True), "compile_bf16": ("pytorch", "bf16", True),
}


def answer(command, environment=None, is_whole=False):
    """Runs a program and parses the last line it prints, or all it prints; {"error": ...} when it failed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        return json.loads(done.stdout if is_whole else lines[-1])
    said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    print(f"bench: {' '.join(words)} ended with status {done.returncode}: {said}", file=sys.stderr)
    return {"error": said}


class Bench:
    """Runs the programs of one row."""

    def __init__(self, arguments, name, cache):
        self.arguments, self.name, self.row = arguments, name, ROWS[name]
        self.environment = dict(
            os.environ, OMP_NUM_THREADS=str(arguments.threads), TORCHINDUCTOR_CACHE_DIR=cache,
            TORCHINDUCTOR_COMPILE_THREADS="1")
        self.settings, self.milliseconds = {}, {}

    def ours(self, precision, steps, warmup):
        return answer([
            self.arguments.vintner, "bench-step", "--model", HERE / "models" / f"{self.name}.json",
            "--batch", self.row.batch, "--precision", precision, "--optimizer", self.row.optimizer,
            "--clip", self.row.clip, "--loss", self.row.loss, "--threads", self.arguments.threads,
            "--steps", steps, "--warmup", warmup])

    def theirs(self, *words):
        return answer([*TORCH, self.name, "--threads", self.arguments.threads, *words], self.environment)

    def profile(self, precision):
        """Our step layer by layer: the fastest of three profiles, since another program may disturb one."""
        steps = max(5, min(200, int(500 / self.milliseconds["vintner", precision])))
        command = [
            self.arguments.vintner, "profile", HERE / "models" / f"{self.name}.json", "--json",
            "--batch", self.row.batch, "--precision", precision, "--optimizer", self.row.optimizer,
            "--loss", self.row.loss, "--threads", self.arguments.threads, "--steps", steps]
        profiles = [answer(command, is_whole=True) for _ in range(3)]
        return min(profiles, key=lambda profile: profile.get("step_ms", float("inf")))

    def prepare(self):
        """Finds PyTorch's fastest settings and how long a step of each variant takes, roughly."""
        for precision in ["fp32", "bf16"]:
            chosen = self.theirs("--choose", "--precision", precision, "--seconds", 4 * self.arguments.seconds)
            if "error" in chosen:
                sys.exit("bench: PyTorch cannot be measured")
            pilot = self.ours(precision, 5, 2)
            self.settings[precision] = ["--layout", chosen["layout"], "--optimizer", chosen["optimizer"]]
            self.milliseconds["pytorch", precision] = chosen["median_ms"]
            self.milliseconds["vintner", precision] = pilot.get("median_ms", 1)
            print(f"bench: PyTorch is fastest on {self.name} in {precision} with {chosen}", file=sys.stderr)

    def measure(self, variant):
        program, precision, compiled = VARIANTS[variant]
        steps = int(self.arguments.seconds * 1e3 / self.milliseconds[program, precision])
        steps = max(5, min(1000, steps))
        warmup = max(2, min(100, steps // 5))
        if program == "vintner":
            return self.ours(precision, steps, warmup)
        return self.theirs("--precision", precision, "--steps", steps, "--warmup", warmup,
                           *self.settings[precision], *(["--compile"] if compiled else []))

    def run(self):
        """All rounds: the counts, the peaks, and the figures of each variant."""
        self.prepare()
        variants = [v for v in VARIANTS if not (self.arguments.quick and VARIANTS[v][2])]
        result = {"count": self.theirs("--count"), "peaks": [], "runs": {variant: [] for variant in variants}}
        for round in range(self.arguments.rounds):
            print(f"bench: {self.name}, round {round + 1} of {self.arguments.rounds}", file=sys.stderr)
            result["peaks"].append(answer(
                [self.arguments.vintner, "bench-peak", "--threads", self.arguments.threads]))
            for variant in variants if round % 2 == 0 else reversed(variants):
                result["runs"][variant].append(self.measure(variant))
        result["profiles"] = {precision: self.profile(precision) for precision in ["fp32", "bf16"]}
        check_same_network(self.name, result)
        return result


def check_same_network(name, result):
    """Ends the run when the two programs did not train networks of the same size."""
    theirs = result["count"]["parameters"]
    for run in result["runs"]["ours_fp32"]:
        if run.get("parameters", theirs) != theirs:
            sys.exit(f"bench: {name} has {run['parameters']} parameters in Vintner and {theirs} in PyTorch")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--vintner", required=True, type=pathlib.Path)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, help="seconds of timed steps a measurement")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--require", type=float)
    parser.add_argument("--json", type=pathlib.Path, default=HERE.parent / ".build" / "benchmark.json")
    parser.add_argument("--document", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    arguments.seconds = arguments.seconds or (0.5 if arguments.quick else 2.5)
    names = arguments.rows.split(",")
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        parser.error(f"unknown rows {unknown}; there are {', '.join(ROWS)}")

    # The figures are kept after every row: half an hour of measuring should survive an interruption.
    kept = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    figures = kept.get("rows", {})
    with tempfile.TemporaryDirectory() as cache:
        for name in names:
            figures[name] = Bench(arguments, name, cache).run()
            whole = {
                "date": datetime.date.today().isoformat(), "machine": machine.describe(),
                "threads": arguments.threads, "rounds": arguments.rounds,
                "rows": {name: figures[name] for name in ROWS if name in figures},
            }
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps(whole, indent=1) + "\n")
    lines = [report.Line(name, whole["rows"][name]) for name in whole["rows"]]
    print("\n".join(report.tables(lines)))
    if arguments.document:
        arguments.document.write_text(report.document(whole, lines, (HERE / "notes.md").read_text()))
    if arguments.require:
        slow = [line.name for line in lines if line.name in names and not line.reaches(arguments.require)]
        if slow:
            sys.exit(f"bench: below {arguments.require} of the ratio asked for: {', '.join(slow)}")


if __name__ == "__main__":
    main()
