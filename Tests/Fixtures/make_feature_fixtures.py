"""Losses between features and their gradients, computed by PyTorch in float64: features.safetensors.

mse is FitNets' as mdistiller has it, cosine that of PyTorch's tutorial on distillation (CosineEmbeddingLoss with
targets of 1), attention the authors' own code. Tensors are [batch, channels, height, width].
"""
import json
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).parent


def mse(student, teacher):
    return F.mse_loss(student, teacher)


def cosine(student, teacher):
    ones = torch.ones(len(student), dtype=student.dtype)
    return torch.nn.CosineEmbeddingLoss()(student.flatten(1), teacher.flatten(1), ones)


def attention(student, teacher):
    def at(x):
        return F.normalize(x.pow(2).mean(1).view(x.size(0), -1))

    return (at(student) - at(teacher)).pow(2).mean()


LOSSES = dict(mse=mse, cosine=cosine, attention=attention)


def main():
    random = torch.Generator().manual_seed(21)
    tensors, cases = {}, {}

    def add(name, batch, channels, height, width, others=None, scale=1.0):
        for op, loss in LOSSES.items():
            if op == "attention" and height * width == 1:
                continue
            shapes = [(batch, channels, height, width),
                      (batch, others if others and op == "attention" else channels, height, width)]
            # Rounded to float32, so that both sides start from the same numbers.
            student, teacher = (
                (torch.randn(shape, generator=random, dtype=torch.float64) * scale).float().double()
                for shape in shapes)
            student.requires_grad_()
            value = loss(student, teacher)
            (gradient,) = torch.autograd.grad(value, student)
            case = f"{op}_{name}"
            cases[case] = dict(op=op, scale=scale)
            for key, tensor in dict(student=student, teacher=teacher, grad_student=gradient).items():
                tensors[f"{case}/{key}"] = tensor.detach().float()
            tensors[f"{case}/loss"] = value.detach().reshape(1)

    add("small", 3, 5, 4, 3)
    add("one", 1, 1, 2, 1, others=3)
    add("vector", 4, 37, 1, 1)
    add("wide", 2, 33, 5, 7, others=41)
    add("aligned", 2, 32, 4, 8, others=16)
    add("large", 2, 20, 11, 9, others=9, scale=30.0)
    save_file(tensors, FOLDER / "features.safetensors", metadata={"cases": json.dumps(cases)})


main()
