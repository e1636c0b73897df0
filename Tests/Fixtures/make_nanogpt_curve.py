#!/usr/bin/env python3
"""Writes nanogpt_curve.safetensors: 100 training steps of a small GPT in PyTorch.

    Benchmarks/torch-python Tests/Fixtures/make_nanogpt_curve.py
    Benchmarks/torch-python Tests/Fixtures/make_nanogpt_curve.py --full TEXT FILE

The first makes the committed fixture: 2 layers, 2 heads, width 32, context 16, batches of 4, on the characters of this
project's LICENSE. The second writes the same of nanoGPT's CPU configuration on a text, Tiny Shakespeare say, to a
file of 3.4 MB that is not kept: 4 layers, 4 heads, width 128, context 64, batches of 12, the first 100 of its 2,000
steps.

Everything that decides the curve is in the file: `parameter/NAME` before the first step, `tokens` (each step's
windows, uint8; a window's last token is a target only), `rates` of learning, and in the metadata the `model` in
Vintner's layer language and the optimiser. `losses` are computed in float64; `spread` says how far a float32 run of
PyTorch is from them, at most, so that a tolerance can be a statement.
"""
import argparse
import json
import math
import pathlib
import sys

import safetensors.torch
import torch
import torch.nn.functional as F

import layer_language

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Benchmarks"))
import nanogpt  # noqa: E402
import networks  # noqa: E402

STEPS = 100


def description(vocabulary, context, layers, heads, width):
    block = {"type": "transformer_block", "heads": heads, "causal": True, "bias": False}
    return {"input": [context], "layers": [
        {"type": "embedding", "name": "wte", "vocabulary": vocabulary, "width": width},
        {"type": "positional_embedding", "name": "wpe"},
        *({**block, "name": f"h{index}"} for index in range(layers)),
        {"type": "layer_norm", "name": "ln_f", "bias": False},
        {"type": "linear", "name": "head", "out_features": vocabulary, "bias": False, "tied_to": "wte"},
    ]}


def initial_parameters(network, layers):
    """nanoGPT's own network's weights under our names."""
    names = {"wte.weight": network.wte.weight, "wpe.weight": network.wpe.weight, "ln_f.weight": network.ln_f.weight}
    for index in range(layers):
        block = network.h[index]
        names |= {
            f"h{index}.ln1.weight": block.ln_1.weight, f"h{index}.ln2.weight": block.ln_2.weight,
            f"h{index}.attn.in_proj_weight": block.attn.qkv.weight,
            f"h{index}.attn.out_proj.weight": block.attn.proj.weight,
            f"h{index}.mlp.fc1.weight": block.fc.weight, f"h{index}.mlp.fc2.weight": block.proj.weight,
        }
    return {name: parameter.detach().clone() for name, parameter in names.items()}


def train(model, parameters, tokens, rates, dtype):
    """Losses of all steps."""
    network = layer_language.Model(model, None, dtype)
    network.parameters = {
        name: values.to(dtype, copy=True).requires_grad_(True) for name, values in parameters.items()}
    optimizer, losses = nanogpt.optimizer_of(list(network.parameters.values())), []
    for windows, rate in zip(tokens, rates):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        outputs = network(windows[:, :-1])
        loss = F.cross_entropy(outputs.flatten(0, 1), windows[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters.values(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64)


def write(path, text, rates, batch, context, layers, heads, width):
    torch.manual_seed(1337)
    training, _, vocabulary = nanogpt.tokens_of(text)
    network = networks.GPT(vocabulary, context, layers, heads, width)
    model, parameters = description(vocabulary, context, layers, heads, width), initial_parameters(network, layers)
    random = torch.Generator().manual_seed(1337)
    steps = [nanogpt.batch_from(training, random, batch, context) for _ in range(STEPS)]
    tokens = torch.stack([torch.cat([inputs, targets[:, -1:]], 1) for inputs, targets in steps])
    check_same(network, model, parameters, tokens[0, :, :-1])

    exact = train(model, parameters, tokens, rates, torch.float64)
    single = train(model, parameters, tokens, rates, torch.float32)
    spread = (single / exact - 1).abs().max()
    optimizer = {"name": "adamw", "betas": [0.9, 0.99], "eps": 1e-8, "weight_decay": 0.1, "clip_grad_norm": 1.0}
    tensors = {f"parameter/{name}": values for name, values in parameters.items()}
    tensors |= {"tokens": tokens.to(torch.uint8), "losses": exact, "spread": spread.reshape(1),
                "rates": torch.tensor(rates, dtype=torch.float64)}
    cases = {"curve": {"model": model, "optimizer": optimizer, "batch": batch}}
    safetensors.torch.save_file(tensors, path, metadata={"cases": json.dumps(cases, sort_keys=True)})
    print(f"{path}: {path.stat().st_size} bytes, loss {exact[0]:.4f} -> {exact[-1]:.4f}, float32 within {spread:.1e}")


def check_same(network, model, parameters, tokens):
    """nanoGPT's network and the description of it compute the same."""
    ours = layer_language.Model(model, None, torch.float64)
    ours.parameters = {name: values.double() for name, values in parameters.items()}
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens), network.double()(tokens), rtol=1e-10, atol=1e-10)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", nargs=2, type=pathlib.Path, metavar=("TEXT", "FILE"))
    arguments = parser.parse_args()
    if arguments.full:
        text, file = arguments.full
        rates = [nanogpt.rate(step, 2000) for step in range(STEPS)]
        write(file, text, rates, batch=12, context=64, layers=4, heads=4, width=128)
    else:
        rates = [3e-3 * min(1, (step + 1) / 11) * 0.5 * (1.1 + math.cos(math.pi * step / 200)) for step in range(STEPS)]
        file = pathlib.Path(__file__).with_name("nanogpt_curve.safetensors")
        write(file, ROOT / "LICENSE", rates, batch=4, context=16, layers=2, heads=2, width=32)


if __name__ == "__main__":
    main()
