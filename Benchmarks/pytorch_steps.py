#!/usr/bin/env python3
"""Times training steps of a network in eager PyTorch; prints one line of JSON.

    Benchmarks/torch-python Benchmarks/pytorch_steps.py mlp|lenet5_caffe [--threads 2] [--batch 64]
        [--steps 300] [--warmup 50] [--layout contiguous|channels_last] [--optimizer loop|foreach|fused]
    Benchmarks/torch-python Benchmarks/pytorch_steps.py mlp --choose

A step is: forward, softmax cross-entropy, backward, SGD with momentum 0.9, on one batch that stays in memory,
as `vintner bench-step` does it. `--choose` tries every setting and prints the fastest, so that PyTorch is always
measured at its best; it is a run of its own, because trying costs memory.
"""
import argparse
import itertools
import json
import os
import resource
import time


def seconds_since_process_start():
    """From the kernel's own record of this process, so that the interpreter's start and the imports count."""
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def network(name):
    import torch.nn as nn

    if name == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 500), nn.ReLU(), nn.Linear(500, 10))
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10))


def make_step(name, batch, layout, optimizer):
    """A function that trains one step of a fresh network."""
    import torch
    import torch.nn.functional as F

    torch.manual_seed(0)
    model = network(name)
    images, labels = torch.rand(batch, 1, 28, 28) * 2 - 1, torch.randint(10, (batch,))
    if layout == "channels_last":
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    options = {"loop": dict(foreach=False), "foreach": dict(foreach=True), "fused": dict(fused=True)}[optimizer]
    sgd = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, **options)

    def step():
        sgd.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), labels).backward()
        sgd.step()

    return step


def durations(step, count):
    """Sorted milliseconds of `count` steps."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        step()
        times.append((time.perf_counter() - start) * 1e3)
    return sorted(times)


def choose(name, batch):
    """The fastest setting: three interleaved rounds of 40 steps each, compared by their medians' minimum."""
    settings = list(itertools.product(["contiguous", "channels_last"], ["loop", "foreach", "fused"]))
    steps = {setting: make_step(name, batch, *setting) for setting in settings}
    medians = {setting: [] for setting in settings}
    for round in range(3):
        for setting, step in steps.items():
            durations(step, 10)
            medians[setting].append(durations(step, 40)[20])
    layout, optimizer = min(settings, key=lambda setting: min(medians[setting]))
    return {"layout": layout, "optimizer": optimizer}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=["mlp", "lenet5_caffe"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--warmup", type=int, default=50)
    parser.add_argument("--layout", choices=["contiguous", "channels_last"], default="contiguous")
    parser.add_argument("--optimizer", choices=["loop", "foreach", "fused"], default="fused")
    parser.add_argument("--choose", action="store_true")
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(arguments.threads)
    if arguments.choose:
        print(json.dumps(choose(arguments.name, arguments.batch)))
        return
    step = make_step(arguments.name, arguments.batch, arguments.layout, arguments.optimizer)
    step()
    first = seconds_since_process_start()
    durations(step, arguments.warmup)
    times = durations(step, arguments.steps)
    print(json.dumps({
        "name": arguments.name, "median_ms": times[len(times) // 2], "p10_ms": times[len(times) // 10],
        "p90_ms": times[len(times) * 9 // 10],
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "first_step_seconds": first, "threads": arguments.threads, "batch": arguments.batch,
        "layout": arguments.layout, "optimizer": arguments.optimizer, "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
