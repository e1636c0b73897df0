#!/usr/bin/env python3
"""Writes the masks that torch.nn.utils.prune makes of seeded weights.

    Benchmarks/torch-python Tests/Fixtures/make_prune_fixtures.py

Makes prune.json beside this file. Weights are distinct multiples of 1/1024 so that JSON holds them exactly and no
two are equal in size, but for `ties`, which PyTorch does not break by index and which only counts.
"""
import json
import pathlib

import torch
import torch.nn.utils.prune as P

SHAPES = [(1, 1), (3, 7), (10, 4), (5, 2, 3, 3), (6, 1, 5, 5), (8, 12), (4, 3, 1, 2), (13, 9)]
AMOUNTS = [0.0, 0.1, 0.25, 0.5, 0.66, 0.9]


def weights(shape, generator):
    count = torch.Size(shape).numel()
    sizes = torch.randperm(4 * count, generator=generator)[:count].float() + 1
    signs = torch.randint(0, 2, (count,), generator=generator).float() * 2 - 1
    return (sizes * signs / 1024).reshape(shape)


def module(weight):
    holder = torch.nn.Module()
    holder.weight = torch.nn.Parameter(weight.clone())
    return holder


def numbers(tensor):
    return [float(x) for x in tensor.flatten()]


def bits(mask):
    return "".join(str(int(x)) for x in mask.flatten())


def main():
    generator = torch.Generator().manual_seed(20)
    cases = []
    for index, shape in enumerate(SHAPES):
        for amount in AMOUNTS:
            weight = weights(shape, generator)
            holder = module(weight)
            P.l1_unstructured(holder, "weight", amount)
            cases.append(dict(
                method="l1_unstructured", shape=shape, amount=amount, weights=[numbers(weight)],
                masks=[bits(holder.weight_mask)]))
        for norm in (1, 2):
            weight = weights(shape, generator)
            holder = module(weight)
            P.ln_structured(holder, "weight", 0.4, n=norm, dim=0)
            cases.append(dict(
                method="ln_structured", shape=shape, amount=0.4, norm=norm, weights=[numbers(weight)],
                masks=[bits(holder.weight_mask)]))
    for amount in AMOUNTS:
        # Of sizes that no two layers share.
        whole = weights((5 * 6 + 6 * 4 + 4 * 3,), generator)
        shapes, parts, first = [(6, 5), (4, 6), (3, 4)], [], 0
        for rows, columns in shapes:
            parts.append(whole[first:first + rows * columns].reshape(rows, columns))
            first += rows * columns
        holders = [module(part) for part in parts]
        P.global_unstructured([(h, "weight") for h in holders], P.L1Unstructured, amount=amount)
        cases.append(dict(
            method="global_unstructured", shape=[5, 6, 4, 3], amount=amount,
            weights=[numbers(p) for p in parts], masks=[bits(h.weight_mask) for h in holders]))
    path = pathlib.Path(__file__).with_name("prune.json")
    path.write_text("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")


main()
