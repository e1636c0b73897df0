#!/usr/bin/env python3
"""Trains nanoGPT's CPU configuration on Tiny Shakespeare, in PyTorch or in Vintner; prints one line of JSON.

    Benchmarks/torch-python Benchmarks/nanogpt.py TEXT [--vintner .build/release/vintner]
        [--iterations 2000] [--seed 1337] [--threads 2] [--precision fp32|bf16]

Karpathy's README: 4 layers, 4 heads, width 128, context 64, batch 12, no dropout, 2,000 iterations; AdamW with betas
0.9 and 0.99, weight decay 0.1 on matrices, gradients clipped to a norm of 1; 100 steps of warm-up to 1e-3, then a
cosine to 1e-4. Characters, the first 90 % of the text for training. His validation loss is about 1.88, an
estimate from 20 random batches; here `validation_loss` is the mean over every token of the last 10 %, in windows
that do not overlap, and `estimated_loss` is his.
"""
import argparse
import contextlib
import functools
import json
import math
import pathlib
import subprocess
import tempfile
import time

import torch
import torch.nn.functional as F

import networks

CONTEXT, BATCH, WARMUP, RATE, RATE_MIN = 64, 12, 100, 1e-3, 1e-4


def tokens_of(path):
    """Training and validation tokens: indices into the sorted characters of the text."""
    text = pathlib.Path(path).read_text()
    characters = {character: index for index, character in enumerate(sorted(set(text)))}
    tokens = torch.tensor([characters[character] for character in text])
    split = int(0.9 * len(tokens))
    return tokens[:split], tokens[split:], len(characters)


def batch_from(tokens, random, batch=BATCH, context=CONTEXT):
    """Windows at random places and, shifted by one, what follows each token."""
    starts = torch.randint(len(tokens) - context, (batch,), generator=random).tolist()
    inputs = torch.stack([tokens[start : start + context] for start in starts])
    return inputs, torch.stack([tokens[start + 1 : start + context + 1] for start in starts])


def rate(step, steps):
    if step < WARMUP:
        return RATE * (step + 1) / (WARMUP + 1)
    return RATE_MIN + 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (steps - WARMUP))) * (RATE - RATE_MIN)


def optimizer_of(parameters):
    """AdamW as nanoGPT sets it up: only matrices decay."""
    matrices = [parameter for parameter in parameters if parameter.dim() >= 2]
    others = [parameter for parameter in parameters if parameter.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=RATE, betas=(0.9, 0.99), fused=True)


@torch.no_grad()
def mean_loss(loss_of, tokens):
    """Over all tokens that a window's beginning can predict."""
    windows = (len(tokens) - 1) // CONTEXT
    inputs = tokens[: windows * CONTEXT].view(windows, CONTEXT)
    targets = tokens[1 : windows * CONTEXT + 1].view(windows, CONTEXT)
    parts = [loss_of(x, y).item() * len(x) for x, y in zip(inputs.split(128), targets.split(128))]
    return sum(parts) / windows


def train_in_vintner(arguments):
    """The same run as a job; its test split is the validation split, all of it, as here."""
    job = {
        "type": "train", "dataset": "text", "seed": arguments.seed, "threads": arguments.threads,
        "model": {"preset": "gpt", "layers": 4, "heads": 4, "width": 128, "context": CONTEXT},
        "train": {
            "steps": arguments.iterations, "eval_every_steps": arguments.iterations, "batch_size": BATCH,
            "precision": arguments.precision, "clip_grad_norm": 1.0,
            "optimizer": {"name": "adamw", "lr": RATE, "betas": [0.9, 0.99], "weight_decay": 0.1},
            "lr_schedule": {"name": "cosine", "warmup_steps": WARMUP, "min_lr_ratio": RATE_MIN / RATE},
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        run = functools.partial(subprocess.run, check=True, stdout=subprocess.PIPE)
        run([arguments.vintner, "datasets", "add", "text", arguments.text, "--format", "text", "--tokens", "char",
             "--data", folder])
        path = pathlib.Path(folder) / "job.json"
        path.write_text(json.dumps(job))
        done = run([arguments.vintner, "run", path, "--data", folder, "--json"])
    report = json.loads(done.stdout)["result"]["report"]
    return {"iterations": arguments.iterations, "precision": arguments.precision, "seconds": report["seconds"],
            "validation_loss": report["test_loss"], "joules": report["joules"]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("--vintner", type=pathlib.Path)
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    arguments = parser.parse_args()
    if arguments.vintner:
        print(json.dumps(train_in_vintner(arguments)))
        return

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    training, validation, vocabulary = tokens_of(arguments.text)
    model = networks.GPT(vocabulary, CONTEXT)
    optimizer = optimizer_of(list(model.parameters()))
    random = torch.Generator().manual_seed(arguments.seed)

    def loss_of(inputs, targets):
        autocast = torch.autocast("cpu", dtype=torch.bfloat16)
        with autocast if arguments.precision == "bf16" else contextlib.nullcontext():
            outputs = model(inputs)
        return F.cross_entropy(outputs.float().flatten(0, 1), targets.flatten())

    begin = time.perf_counter()
    for step in range(arguments.iterations):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, arguments.iterations)
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(*batch_from(training, random))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    seconds = time.perf_counter() - begin
    with torch.no_grad():
        estimates = [loss_of(*batch_from(validation, random)).item() for _ in range(20)]
    print(json.dumps({
        "iterations": arguments.iterations, "precision": arguments.precision, "seconds": seconds,
        "training_loss": loss.item(), "validation_loss": mean_loss(loss_of, validation),
        "estimated_loss": sum(estimates) / len(estimates), "vocabulary": vocabulary,
    }))


if __name__ == "__main__":
    main()
