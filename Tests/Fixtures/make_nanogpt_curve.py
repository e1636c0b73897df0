#!/usr/bin/env python3
"""Writes 100 training steps of a GPT in PyTorch.

    Benchmarks/torch-python Tests/Fixtures/make_nanogpt_curve.py
    Benchmarks/torch-python Tests/Fixtures/make_nanogpt_curve.py --drawn
    Benchmarks/torch-python Tests/Fixtures/make_nanogpt_curve.py --full TEXT FILE

The first makes nanogpt_curve.safetensors: 2 layers, 2 heads, width 32, context 16, batches of 4, on the characters of
this project's LICENSE. The others are nanoGPT's CPU configuration: 4 layers, 4 heads, width 128, context 64, batches
of 12, the first 100 of its 2,000 steps. The second makes nanogpt_drawn_curve.safetensors, whose weights and text both
sides draw from Philox (`Drawn`, and `DrawnGPT` of the tests), so that the file holds no more than losses; the third
takes a text, Tiny Shakespeare say, and writes a file of 3.4 MB that is not kept.

Everything that decides the curve is in the file or drawn: `parameter/NAME` before the first step, `tokens` (each
step's windows, uint8; a window's last token is a target only), `rates` of learning, and in the metadata the `model` in
Vintner's layer language and the optimiser. `losses` are computed in float64; `spread` says how far a float32 run of
PyTorch is from them, at most, so that a tolerance can be a statement.
"""
import argparse
import json
import math
import pathlib
import sys

import numpy
import safetensors.torch
import torch
import torch.nn.functional as F

import layer_language

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Benchmarks"))
import nanogpt  # noqa: E402
import networks  # noqa: E402

STEPS = 100


class Drawn:
    """Weights and text by Philox4x32-10, as `CounterRandom(seed: 1337, purpose: .test, epoch: stream)` draws them."""

    SEED, PURPOSE = 1337, 6
    WORDS, TEXT, WINDOWS = 1000, 1001, 1002
    VOCABULARY = 65

    @classmethod
    def bits(cls, stream, count):
        """Uniform 32-bit numbers."""
        low, blocks = numpy.uint64(0xFFFFFFFF), (count + 3) // 4
        c = [numpy.arange(blocks, dtype=numpy.uint64), *(
            numpy.full(blocks, value, dtype=numpy.uint64) for value in (0, stream, cls.PURPOSE))]
        key = [cls.SEED, 0]
        for _ in range(10):
            first, second = c[0] * numpy.uint64(0xD2511F53), c[2] * numpy.uint64(0xCD9E8D57)
            c = [(second >> numpy.uint64(32)) ^ c[1] ^ numpy.uint64(key[0]), second & low,
                 (first >> numpy.uint64(32)) ^ c[3] ^ numpy.uint64(key[1]), first & low]
            key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
        return numpy.stack(c, 1).reshape(-1)[:count].astype(numpy.int64)

    @classmethod
    def weights(cls, stream, shape, deviation):
        """Sums of four bytes, near enough to a normal distribution."""
        bits = cls.bits(stream, math.prod(shape))
        sums = sum(bits >> shift & 255 for shift in (0, 8, 16, 24))
        return torch.from_numpy(((sums - 510) * (deviation / 148)).astype(numpy.float32)).reshape(shape)

    @classmethod
    def text(cls):
        """20,000 words out of 256, the first ones more often; so are the letters 1 to 64 of a word. 0 is a blank."""
        bits = cls.bits(cls.WORDS, 256 * 10).reshape(256, 10)
        letters = 1 + numpy.minimum(bits & 63, bits >> 6 & 63)
        words = [letters[word, 1 : 3 + (bits[word, 0] & 7)].tolist() for word in range(256)]
        drawn = cls.bits(cls.TEXT, 20_000)
        return torch.tensor([letter for word in numpy.minimum(drawn & 255, drawn >> 8 & 255)
                             for letter in words[word] + [0]])

    @classmethod
    def windows(cls, text, batch, context):
        starts = cls.bits(cls.WINDOWS, STEPS * batch) % (len(text) - context)
        return torch.stack([text[start : start + context + 1] for start in starts]).reshape(STEPS, batch, context + 1)


def deviations(parameters, layers):
    """nanoGPT's deviations of the weights; those without one are scales, and start at 1."""
    narrow = ("out_proj.weight", "fc2.weight")
    return [(name, (0.02 / math.sqrt(2 * layers) if name.endswith(narrow) else 0.02) if values.dim() == 2 else None)
            for name, values in parameters.items()]


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
    save(path, model, parameters, tokens, rates)


def write_drawn(path, batch=12, context=64, layers=4, heads=4, width=128):
    model = description(Drawn.VOCABULARY, context, layers, heads, width)
    parameters = initial_parameters(networks.GPT(Drawn.VOCABULARY, context, layers, heads, width), layers)
    tokens = Drawn.windows(Drawn.text(), batch, context)
    drawing = deviations(parameters, layers)
    for stream, (name, deviation) in enumerate(drawing):
        shape = parameters[name].shape
        parameters[name] = Drawn.weights(stream, shape, deviation) if deviation else torch.ones(shape)
    save(path, model, parameters, tokens, full_rates(), drawing)


def full_rates():
    return [nanogpt.rate(step, 2000) for step in range(STEPS)]


def save(path, model, parameters, tokens, rates, drawing=None):
    """Trains and writes what came of it; of drawn weights only how they are drawn, the stream being the place."""
    exact = train(model, parameters, tokens, rates, torch.float64)
    single = train(model, parameters, tokens, rates, torch.float32)
    spread = (single / exact - 1).abs().max()
    optimizer = {"name": "adamw", "betas": [0.9, 0.99], "eps": 1e-8, "weight_decay": 0.1, "clip_grad_norm": 1.0}
    tensors = {"losses": exact, "spread": spread.reshape(1), "rates": torch.tensor(rates, dtype=torch.float64)}
    case = {"model": model, "optimizer": optimizer, "batch": tokens.shape[1]}
    if drawing:
        case["parameters"] = drawing
    else:
        tensors |= {f"parameter/{name}": values for name, values in parameters.items()}
        tensors["tokens"] = tokens.to(torch.uint8)
    cases = {"curve": case}
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
    parser.add_argument("--drawn", action="store_true")
    parser.add_argument("--full", nargs=2, type=pathlib.Path, metavar=("TEXT", "FILE"))
    arguments = parser.parse_args()
    if arguments.full:
        text, file = arguments.full
        write(file, text, full_rates(), batch=12, context=64, layers=4, heads=4, width=128)
    elif arguments.drawn:
        write_drawn(pathlib.Path(__file__).with_name("nanogpt_drawn_curve.safetensors"))
    else:
        rates = [3e-3 * min(1, (step + 1) / 11) * 0.5 * (1.1 + math.cos(math.pi * step / 200)) for step in range(STEPS)]
        file = pathlib.Path(__file__).with_name("nanogpt_curve.safetensors")
        write(file, ROOT / "LICENSE", rates, batch=4, context=16, layers=2, heads=2, width=32)


if __name__ == "__main__":
    main()
