#!/usr/bin/env python3
"""Times training steps of a row of the benchmark in PyTorch; prints one line of JSON.

    Benchmarks/torch-python Benchmarks/pytorch_steps.py ROW [--precision fp32|bf16] [--compile] [--threads 2]
        [--steps 100] [--warmup 10] [--layout contiguous|channels_last] [--optimizer loop|foreach|fused]
    Benchmarks/torch-python Benchmarks/pytorch_steps.py ROW --choose [--precision ...] [--seconds 12]

A step is: forward, loss, backward, update, on one batch that stays in memory, as `vintner bench-step` does it.
bf16 is autocast: float32 parameters, bfloat16 activations and products. `--compile` hands forward and loss to
torch.compile (inductor). `--choose` tries every setting and prints the fastest, so that PyTorch is always measured
at its best; it is a run of its own, because trying costs memory.
"""
import argparse
import contextlib
import itertools
import json
import os
import resource
import statistics
import time


def seconds_since_process_start():
    """From the kernel's own record of this process, so that the interpreter's start and the imports count."""
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def make_optimizer(row, model, variant):
    """The row's optimiser; decay spares biases and norms where a Transformer is trained, as is the habit."""
    import torch

    options = {"loop": dict(foreach=False), "foreach": dict(foreach=True), "fused": dict(fused=True)}[variant]
    parameters = list(model.parameters())
    if row.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, **options)
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), **options)


def make_step(row, arguments, layout, optimizer):
    """A function that trains one step of a fresh network and returns its loss."""
    import torch
    import networks

    torch.manual_seed(0)
    model = networks.MAKERS[arguments.row]().train()
    inputs, targets = networks.batch_of(row, arguments.batch or row.batch)
    if layout == "channels_last":
        model = model.to(memory_format=torch.channels_last)
        inputs = inputs.to(memory_format=torch.channels_last)
    updates = make_optimizer(row, model, optimizer)

    def forward(inputs, targets):
        with precision():
            outputs = model(inputs)
        return networks.loss_of(row, outputs.float(), targets)

    def precision():
        if arguments.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast("cpu", dtype=torch.bfloat16)

    loss_of_batch = torch.compile(forward) if arguments.compile else forward

    def step():
        updates.zero_grad(set_to_none=True)
        loss = loss_of_batch(inputs, targets)
        loss.backward()
        if row.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), row.clip)
        updates.step()
        return loss

    return step


def durations(step, count):
    """Milliseconds of each of `count` steps, and the last loss."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        loss = step()
        times.append((time.perf_counter() - start) * 1e3)
    return times, loss.item()


def choose(row, arguments):
    """The fastest setting: three interleaved rounds over all of them, compared by the least of their medians."""
    layouts = ["contiguous", "channels_last"] if row.has_images else ["contiguous"]
    settings = list(itertools.product(layouts, ["loop", "foreach", "fused"]))
    steps = {setting: make_step(row, arguments, *setting) for setting in settings}
    medians, share = {setting: [] for setting in settings}, arguments.seconds / len(settings) / 3
    for _ in range(3):
        for setting, step in steps.items():
            once = statistics.median(durations(step, 3)[0]) * 1e-3
            count = max(5, min(40, int(share / once)))
            medians[setting].append(statistics.median(durations(step, count)[0]))
    layout, optimizer = min(settings, key=lambda setting: min(medians[setting]))
    return {"layout": layout, "optimizer": optimizer, "median_ms": min(medians[layout, optimizer])}


def measure(row, arguments):
    import torch

    step = make_step(row, arguments, arguments.layout, arguments.optimizer)
    step()
    first = seconds_since_process_start()
    durations(step, arguments.warmup)
    times, loss = durations(step, arguments.steps)
    times.sort()
    return {
        "name": arguments.row, "median_ms": statistics.median(times), "p10_ms": times[len(times) // 10],
        "p90_ms": times[len(times) * 9 // 10],
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "first_step_seconds": first, "loss": loss, "threads": arguments.threads,
        "batch": arguments.batch or row.batch, "precision": arguments.precision, "compiled": arguments.compile,
        "layout": arguments.layout, "optimizer": arguments.optimizer, "torch": torch.__version__,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("row")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--layout", choices=["contiguous", "channels_last"], default="contiguous")
    parser.add_argument("--optimizer", choices=["loop", "foreach", "fused"], default="fused")
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--count", action="store_true")
    arguments = parser.parse_args()

    import torch
    import networks

    torch.set_num_threads(arguments.threads)
    row = networks.ROWS[arguments.row]
    if arguments.count:
        print(json.dumps(networks.count(arguments.row)))
        return
    print(json.dumps(choose(row, arguments) if arguments.choose else measure(row, arguments)))


if __name__ == "__main__":
    main()
