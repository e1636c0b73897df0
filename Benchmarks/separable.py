#!/usr/bin/env python3
"""Trains the depthwise-separable net and its standard-convolution twin on Fashion-MNIST by the same recipe.

    Benchmarks/separable.py --vintner .build/release/vintner [--document docs/separable.md]
        [--epochs 2] [--seeds 0 1] [--precisions fp32 bf16] [--threads 2] [--steps N]

Every cell of the table comes from jobs run by `vintner run`, one for each net, precision and seed, the two nets taking
turns; the time of a step alone is `vintner bench-step`'s, three times each, in turns too. Energy is what the job
reports, by the method that it names. `--steps` cuts the runs short, to see whether all of this works.
"""
import argparse
import datetime
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import machine

NETS = {"separable5": "depthwise-separable", "standard5": "standard"}
ROUNDS = 3


class Nets:
    """The program, and what is asked of it."""

    def __init__(self, arguments):
        self.arguments = arguments

    def job(self, net, precision, seed):
        length = {"steps": self.arguments.steps} if self.arguments.steps else {"epochs": self.arguments.epochs}
        return {
            "type": "train", "name": f"{net} {precision} {seed}", "dataset": "fashion-mnist", "seed": seed,
            "threads": self.arguments.threads, "model": {"preset": net},
            "train": {
                **length, "batch_size": 64, "precision": precision,
                "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
                "lr_schedule": {"name": "cosine"},
            },
        }

    def ask(self, content, *words):
        """The JSON that a command prints, `content` being the file that stands for FILE."""
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(content, file)
            file.flush()
            command = [self.arguments.vintner, *(file.name if word == "FILE" else word for word in words)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(f"separable: {' '.join(command)} ended with {done.returncode}")
        return json.loads(done.stdout)

    def train(self, net, precision, seed):
        """The finished job's report."""
        threads = str(self.arguments.threads)
        job = self.ask(self.job(net, precision, seed), "run", "FILE", "--threads", threads, "--json")
        report = job["result"]["report"]
        print(f"{net} {precision} seed {seed}: {report['test_accuracy']:.4f} in {report['seconds']:.0f} s",
              file=sys.stderr, flush=True)
        return report

    def step(self, net, precision):
        """Milliseconds of one step."""
        model = {"preset": net, "input": [1, 28, 28], "classes": 10}
        return self.ask(model, "bench-step", "--model", "FILE", "--precision", precision, "--threads",
                        str(self.arguments.threads), "--steps", "40", "--warmup", "10")["median_ms"]


def measure(nets, arguments):
    """{(net, precision): {"reports": [...], "steps": [...]}}"""
    found = {}
    for precision in arguments.precisions:
        for net in NETS:
            found[net, precision] = {"reports": [], "steps": []}
        for _ in range(ROUNDS):
            for net in NETS:
                found[net, precision]["steps"].append(nets.step(net, precision))
        for seed in arguments.seeds:
            for net in NETS:
                found[net, precision]["reports"].append(nets.train(net, precision, seed))
    return found


class Row:
    """What the runs of one net in one precision come to."""

    def __init__(self, net, precision, runs):
        self.net, self.precision, self.reports = net, precision, runs["reports"]
        self.step = statistics.median(runs["steps"])

    def mean(self, key):
        return statistics.fmean(report[key] for report in self.reports)

    @property
    def cells(self):
        accuracies = [100 * report["test_accuracy"] for report in self.reports]
        accuracy = f"{statistics.fmean(accuracies):.2f} %"
        if len(accuracies) > 1:
            accuracy += f" ({min(accuracies):.2f}-{max(accuracies):.2f})"
        return [NETS[self.net], self.precision, accuracy, f"{self.reports[0]['parameters']:,}",
                f"{self.reports[0]['macs_per_sample']:,}", f"{self.step:.1f}", f"{self.mean('seconds'):.0f}",
                f"{self.mean('cpu_seconds'):.0f}", f"{self.mean('joules'):.0f}"]


def table(rows):
    header = ["convolutions", "precision", "test accuracy", "parameters", "MACs an image", "step, ms", "seconds",
              "CPU seconds", "joules"]
    lines = [header, ["---", "---"] + ["---:"] * (len(header) - 2)]
    for precision in dict.fromkeys(row.precision for row in rows):
        pair = {row.net: row for row in rows if row.precision == precision}
        separable, standard = pair["separable5"], pair["standard5"]
        lines += [separable.cells, standard.cells]

        def times(value):
            return f"{value(standard) / value(separable):.2f} x"

        lines.append(
            ["standard / separable", precision, "", times(lambda row: row.reports[0]["parameters"]),
             times(lambda row: row.reports[0]["macs_per_sample"]), times(lambda row: row.step),
             *(times(lambda row, key=key: row.mean(key)) for key in ("seconds", "cpu_seconds", "joules"))])
    return ["| " + " | ".join(line) + " |" for line in lines]


def document(rows, nets, arguments):
    methods = sorted({report["energy_method"] for row in rows for report in row.reports})
    length = f"the first {arguments.steps} steps" if arguments.steps else f"{arguments.epochs} epochs"
    seeds = ", ".join(map(str, arguments.seeds))
    which = f"Seeds {seeds}, the same for both nets; means, and of accuracy the range."
    if len(arguments.seeds) == 1:
        which = f"One seed, {seeds}, for both nets: accuracies differ by some tenths of a per cent from seed to seed."
    facts = machine.describe() + [("Date", datetime.date.today().isoformat())]
    meaning = {
        "model": "a model (0.74 W for a held thread, 3.5 W for a busy one: no counters could be read)",
        "rapl": "the processor's counters (RAPL), the job's share by processor time",
    }
    text = f"""# Depthwise-separable against standard convolutions

Two nets of five blocks on Fashion-MNIST, by the same recipe, on {arguments.threads} threads: `separable5` has
depthwise-separable blocks, `standard5` 3x3 convolutions of the same extents. `Benchmarks/separable.py` measured this and
wrote this file.

- {length[0].upper()}{length[1:]} of batches of 64; SGD with momentum 0.9, weight decay 5e-4, learning rate 0.05 along a
  half cosine; no augmentation. {which}
- A step is forward, loss, backward and update, the median of three runs of `vintner bench-step`, in which the nets took
  turns. Seconds, CPU seconds and joules are those of whole jobs, evaluations included.
- Energy by {' and '.join(meaning.get(method, method) for method in methods)}.

"""
    lines = text.splitlines() + table(rows) + ["", "## The machine", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in facts]
    job = json.dumps(nets.job("separable5", arguments.precisions[0], arguments.seeds[0]), indent=1)
    lines += ["", "## The job", "", "```json", *job.splitlines(), "```"]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vintner", required=True)
    parser.add_argument("--document", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    nets = Nets(arguments)
    found = measure(nets, arguments)
    rows = [Row(net, precision, runs) for (net, precision), runs in found.items()]
    if arguments.document:
        arguments.document.write_text(document(rows, nets, arguments))
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
