#!/usr/bin/env python3
"""Writes the PyTorch oracles that the tests compare with. Deterministic; the results are committed.

    Benchmarks/torch-python Tests/Fixtures/make_fixtures.py

Makes layers, optimizers, schedules and reference .safetensors beside this file. PyTorch computes in
float64 from inputs that are exact in float32; results are rounded to float32 once, at the end. Tensors
are called `case/role` and are NCHW; `cases` in `__metadata__` is a JSON object with each case's parameters.
"""
import json
import math
import pathlib
import warnings

import numpy
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
import torch.nn.functional as F
import torch.optim.lr_scheduler as S

FOLDER = pathlib.Path(__file__).parent


def save(name, tensors, cases):
    """Writes one file. One key of metadata only: the library writes several in an order of its own."""
    path = FOLDER / f"{name}.safetensors"
    safetensors.torch.save_file(tensors, path, metadata={"cases": json.dumps(cases, sort_keys=True)})
    print(f"{path.name}: {len(cases)} cases, {path.stat().st_size} bytes")


class Fixture:
    """Collects named tensors and the parameters of their cases, then writes one file."""

    def __init__(self):
        self.tensors, self.cases = {}, {}
        self.random = torch.Generator().manual_seed(20261120)

    def normal(self, *shape, scale=1.0):
        """Normal numbers that are exact in float32, as float64."""
        values = torch.randn(shape, generator=self.random, dtype=torch.float32) * scale
        return values.to(torch.float64)

    def add(self, case, parameters, **tensors):
        assert case not in self.cases, case
        self.cases[case] = parameters
        for role, tensor in tensors.items():
            if tensor is None:
                continue
            kept = (torch.int64, torch.uint8)
            tensor = tensor.detach().clone().contiguous()
            self.tensors[f"{case}/{role}"] = tensor if tensor.dtype in kept else tensor.to(torch.float32)

    def write(self, name):
        save(name, self.tensors, self.cases)


def backward(output, grad_output, *inputs):
    """Gradients of sum(output * grad_output); inputs that are None stay None."""
    wanted = [i for i in inputs if i is not None]
    grads = iter(torch.autograd.grad(output, wanted, grad_output))
    return [None if i is None else next(grads) for i in inputs]


def leaf(tensor):
    return None if tensor is None else tensor.detach().clone().requires_grad_(True)


def convolutions(fixture):
    # name: batch, in, out, (height, width), kernel, stride, padding, dilation, groups, bias
    cases = {
        "conv2d_lenet": (2, 1, 5, (12, 12), (5, 5), (1, 1), (0, 0), (1, 1), 1, True),
        "conv2d_padded": (3, 3, 7, (9, 11), (3, 3), (1, 1), (1, 1), (1, 1), 1, True),
        "conv2d_strided": (2, 5, 4, (10, 7), (3, 3), (2, 2), (1, 1), (1, 1), 1, False),
        "conv2d_asymmetric": (1, 4, 6, (8, 13), (3, 5), (1, 2), (1, 2), (1, 1), 1, True),
        "conv2d_dilated": (2, 3, 5, (11, 13), (3, 3), (1, 1), (2, 2), (2, 2), 1, True),
        "conv2d_dilated_uneven": (1, 3, 2, (13, 9), (3, 2), (2, 1), (0, 1), (3, 2), 1, False),
        "conv2d_grouped": (2, 6, 9, (7, 7), (3, 3), (1, 1), (1, 1), (1, 1), 3, True),
        "conv2d_depthwise": (2, 7, 7, (9, 8), (3, 3), (2, 2), (1, 1), (1, 1), 7, True),
        "conv2d_depthwise_multiplied": (1, 3, 6, (6, 5), (3, 3), (1, 1), (1, 1), (1, 1), 3, False),
        "conv2d_pointwise": (5, 17, 33, (3, 5), (1, 1), (1, 1), (0, 0), (1, 1), 1, True),
        "conv2d_pointwise_strided": (2, 8, 3, (7, 6), (1, 1), (2, 2), (0, 0), (1, 1), 1, True),
        "conv2d_whole_image": (3, 2, 11, (4, 6), (4, 6), (1, 1), (0, 0), (1, 1), 1, True),
        "conv2d_single": (1, 1, 1, (1, 1), (1, 1), (1, 1), (0, 0), (1, 1), 1, True),
    }
    for name, (batch, inputs, outputs, size, kernel, stride, padding, dilation, groups, biased) in cases.items():
        input = leaf(fixture.normal(batch, inputs, *size))
        weight = leaf(fixture.normal(outputs, inputs // groups, *kernel, scale=0.3))
        bias = leaf(fixture.normal(outputs)) if biased else None
        output = F.conv2d(input, weight, bias, stride, padding, dilation, groups)
        grad_output = fixture.normal(*output.shape)
        grad_input, grad_weight, grad_bias = backward(output, grad_output, input, weight, bias)
        parameters = dict(op="conv2d", stride=stride, padding=padding, dilation=dilation, groups=groups,
                          kernel_size=kernel, bias=biased)
        fixture.add(name, parameters, input=input, weight=weight, bias=bias, output=output,
                    grad_output=grad_output, grad_input=grad_input, grad_weight=grad_weight, grad_bias=grad_bias)


def linears(fixture):
    for name, batch, inputs, outputs, biased in [
        ("linear_small", 1, 1, 1, True), ("linear_odd", 7, 33, 5, True), ("linear_no_bias", 3, 17, 19, False),
        ("linear_wide", 5, 131, 65, True),
    ]:
        input, weight = leaf(fixture.normal(batch, inputs)), leaf(fixture.normal(outputs, inputs, scale=0.2))
        bias = leaf(fixture.normal(outputs)) if biased else None
        output = F.linear(input, weight, bias)
        grad_output = fixture.normal(*output.shape)
        grad_input, grad_weight, grad_bias = backward(output, grad_output, input, weight, bias)
        fixture.add(name, dict(op="linear", bias=biased), input=input, weight=weight, bias=bias, output=output,
                    grad_output=grad_output, grad_input=grad_input, grad_weight=grad_weight, grad_bias=grad_bias)


def pools(fixture):
    for name, shape, kernel, stride, padding in [
        ("lenet", (2, 5, 8, 8), (2, 2), (2, 2), (0, 0)), ("overlapping", (2, 3, 9, 11), (3, 3), (2, 2), (0, 0)),
        ("padded", (1, 7, 7, 6), (3, 3), (2, 2), (1, 1)), ("asymmetric", (2, 2, 8, 9), (3, 2), (1, 3), (1, 0)),
        ("remainder", (1, 3, 7, 5), (2, 2), (2, 2), (0, 0)), ("whole", (3, 4, 5, 3), (5, 3), (5, 3), (0, 0)),
    ]:
        geometry = dict(kernel_size=kernel, stride=stride, padding=padding, ceil_mode=False)
        input = leaf(fixture.normal(*shape))
        output = F.max_pool2d(input, kernel, stride, padding)
        grad_output = fixture.normal(*output.shape)
        (grad_input,) = backward(output, grad_output, input)
        fixture.add(f"max_pool2d_{name}", dict(op="max_pool2d", **geometry), input=input, output=output,
                    grad_output=grad_output, grad_input=grad_input)
        for counted in [True, False]:
            if not counted and padding == (0, 0):
                continue
            input = leaf(fixture.normal(*shape))
            output = F.avg_pool2d(input, kernel, stride, padding, count_include_pad=counted)
            grad_output = fixture.normal(*output.shape)
            (grad_input,) = backward(output, grad_output, input)
            suffix = "" if counted else "_without_pad"
            fixture.add(f"avg_pool2d_{name}{suffix}", dict(op="avg_pool2d", count_include_pad=counted, **geometry),
                        input=input, output=output, grad_output=grad_output, grad_input=grad_input)


def normalizations(fixture):
    for name, shape, momentum, epsilon in [
        ("images", (3, 5, 7, 6), 0.1, 1e-5), ("one_channel", (4, 1, 3, 3), 0.1, 1e-5),
        ("rows", (9, 13), 0.1, 1e-5), ("momentum", (2, 17, 3, 5), 0.3, 1e-3),
    ]:
        channels = shape[1]
        input = leaf(fixture.normal(*shape, scale=2.0) + 0.5)
        weight, bias = leaf(fixture.normal(channels) + 1), leaf(fixture.normal(channels))
        mean, variance = fixture.normal(channels), fixture.normal(channels).square() + 0.5
        # Rounded first, so that both modes start from what the file holds.
        mean, variance = (t.to(torch.float32).to(torch.float64) for t in (mean, variance))
        for mode in ["train", "eval"]:
            new_mean, new_variance = mean.clone(), variance.clone()
            output = F.batch_norm(input, new_mean, new_variance, weight, bias, mode == "train", momentum, epsilon)
            grad_output = fixture.normal(*shape)
            grad_input, grad_weight, grad_bias = backward(output, grad_output, input, weight, bias)
            # The new running variance is that of the sample (divided by n - 1); the output uses n.
            fixture.add(f"batch_norm_{name}_{mode}", dict(op="batch_norm", mode=mode, momentum=momentum, eps=epsilon),
                        input=input, weight=weight, bias=bias, running_mean=mean, running_var=variance,
                        output=output, new_running_mean=new_mean, new_running_var=new_variance,
                        grad_output=grad_output, grad_input=grad_input, grad_weight=grad_weight, grad_bias=grad_bias)


def pointwise(fixture):
    for name, shape in [("relu_images", (2, 3, 5, 7)), ("relu_rows", (3, 37))]:
        input = leaf(fixture.normal(*shape))
        output = F.relu(input)
        grad_output = fixture.normal(*shape)
        (grad_input,) = backward(output, grad_output, input)
        fixture.add(name, dict(op="relu"), input=input, output=output, grad_output=grad_output, grad_input=grad_input)
    for name, shape, probability in [("dropout_half", (3, 37), 0.5), ("dropout_fifth", (2, 3, 5, 4), 0.2)]:
        input = leaf(fixture.normal(*shape))
        mask = (torch.rand(shape, generator=fixture.random) >= probability).to(torch.float64)
        output = input * mask / (1 - probability)
        grad_output = fixture.normal(*shape)
        (grad_input,) = backward(output, grad_output, input)
        fixture.add(name, dict(op="dropout", p=probability), input=input, mask=mask, output=output,
                    grad_output=grad_output, grad_input=grad_input)


def losses(fixture):
    for name, batch, classes, smoothing, scale in [
        ("plain", 5, 10, 0.0, 1.0), ("smoothed", 7, 11, 0.1, 1.0), ("one_sample", 1, 3, 0.0, 1.0),
        ("confident", 4, 10, 0.0, 60.0), ("strongly_smoothed", 3, 101, 0.5, 3.0),
    ]:
        input = leaf(fixture.normal(batch, classes, scale=scale))
        target = torch.randint(classes, (batch,), generator=fixture.random)
        loss = F.cross_entropy(input, target, label_smoothing=smoothing)
        (grad_input,) = torch.autograd.grad(loss, input)
        fixture.add(f"cross_entropy_{name}", dict(op="cross_entropy", label_smoothing=smoothing, reduction="mean"),
                    input=input, target=target, loss=loss.reshape(1), grad_input=grad_input)
    for name, shape in [("mse_rows", (5, 7)), ("mse_single", (1, 1))]:
        input, target = leaf(fixture.normal(*shape)), fixture.normal(*shape)
        loss = F.mse_loss(input, target)
        (grad_input,) = torch.autograd.grad(loss, input)
        fixture.add(name, dict(op="mse", reduction="mean"), input=input, target=target, loss=loss.reshape(1),
                    grad_input=grad_input)


def optimizers(fixture, steps=5):
    for name, options in {
        "sgd_plain": dict(lr=0.1), "sgd_momentum": dict(lr=0.05, momentum=0.9),
        "sgd_nesterov": dict(lr=0.05, momentum=0.9, nesterov=True), "sgd_decay": dict(lr=0.1, weight_decay=0.01),
        "sgd_recipe": dict(lr=0.05, momentum=0.9, weight_decay=5e-4),
        "sgd_all": dict(lr=0.02, momentum=0.8, weight_decay=0.05, nesterov=True),
    }.items():
        parameter = torch.nn.Parameter(fixture.normal(7, 5))
        optimizer = torch.optim.SGD([parameter], **options)
        tensors = {"parameter_0": parameter.detach().clone()}
        for step in range(1, steps + 1):
            parameter.grad = fixture.normal(7, 5)
            tensors[f"grad_{step}"] = parameter.grad.clone()
            optimizer.step()
            tensors[f"parameter_{step}"] = parameter.detach().clone()
            momentum = optimizer.state[parameter].get("momentum_buffer")
            if momentum is not None:
                tensors[f"momentum_{step}"] = momentum.clone()
        fixture.add(name, dict(op="sgd", steps=steps, **options), **tensors)


def schedules(steps=24, base=0.1):
    """The learning rate of each step, as float64: what `optimizer.step()` number i (from 0) would use."""
    def cosine(step, total, floor):
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(step, total) / total))

    def linear_warmup(optimizer, warmup, after):
        # Step i < warmup uses base * (i + 1) / (warmup + 1), as nanoGPT does: no step is wasted on a rate of 0.
        # The schedule proper starts at step `warmup` with the base rate and spans the steps that are left.
        rise = S.LambdaLR(optimizer, lambda step: (step + 1) / (warmup + 1))
        return S.SequentialLR(optimizer, [rise, after], milestones=[warmup])

    cases = {
        "constant": (dict(name="constant"), lambda o: S.LambdaLR(o, lambda step: 1.0)),
        "step": (dict(name="step", step_size=7, gamma=0.5), lambda o: S.StepLR(o, 7, 0.5)),
        "linear": (dict(name="linear", total=20, min_lr_ratio=0.25),
                   lambda o: S.LinearLR(o, 1.0, 0.25, total_iters=20)),
        "cosine": (dict(name="cosine", total=24, min_lr_ratio=0.0),
                   lambda o: S.LambdaLR(o, lambda step: cosine(step, 24, 0.0))),
        "cosine_annealing": (dict(name="cosine", total=24, min_lr_ratio=0.1),
                             lambda o: S.CosineAnnealingLR(o, 24, eta_min=0.1 * base)),
        "cosine_warmup": (dict(name="cosine", total=24, warmup_steps=4, min_lr_ratio=0.0),
                          lambda o: linear_warmup(o, 4, S.CosineAnnealingLR(o, 20))),
        "linear_warmup": (dict(name="linear", total=24, warmup_steps=4, min_lr_ratio=0.0),
                          lambda o: linear_warmup(o, 4, S.LinearLR(o, 1.0, 0.0, total_iters=20))),
        "constant_warmup": (dict(name="constant", total=24, warmup_steps=4),
                            lambda o: linear_warmup(o, 4, S.LambdaLR(o, lambda step: 1.0))),
    }

    tensors, metadata = {}, {}
    for name, (parameters, make) in cases.items():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            schedule, rates = make(optimizer), []
            for _ in range(steps):
                rates.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                schedule.step()
        tensors[name] = torch.tensor(rates, dtype=torch.float64)
        metadata[name] = dict(base_lr=base, steps=steps, **parameters)
    save("schedules", tensors, metadata)


def reference():
    """One tensor of each type that our reader knows, as the reference implementation writes them."""
    ramp = torch.arange(-3, 4, dtype=torch.float64) / 4
    tensors = {
        "float64": ramp, "float32": ramp.to(torch.float32).reshape(1, 7), "float16": ramp.to(torch.float16),
        "bfloat16": ramp.to(torch.bfloat16), "int64": torch.tensor([[-(2**63), 2**63 - 1]]),
        "uint8": torch.tensor([0, 128, 255], dtype=torch.uint8), "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3), "umlaut \"ä\"/1": torch.ones(2, 1, 1, 2),
    }
    path = FOLDER / "reference.safetensors"
    safetensors.torch.save_file(tensors, path, metadata={"note": "a \"quoted\" word\n"})
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes")


def check_ours():
    """Reads back the file that our own tests compare their writer's bytes with."""
    path = FOLDER / "ours.safetensors"
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata() == {"format": "vintner", "step": "7"}, file.metadata()
        numpy.testing.assert_array_equal(file.get_tensor("weight"), [[1, 2, 3], [4, 5, 0.5]])
        numpy.testing.assert_array_equal(file.get_tensor("bias"), [-1, 1])
        numpy.testing.assert_array_equal(file.get_tensor("step"), [7, -7])
        numpy.testing.assert_array_equal(file.get_tensor("mask"), [1, 0, 1])
    print(f"{path.name}: the reference implementation reads it")


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    layers = Fixture()
    for make in [convolutions, linears, pools, normalizations, pointwise, losses]:
        make(layers)
    layers.write("layers")
    steps = Fixture()
    optimizers(steps)
    steps.write("optimizers")
    schedules()
    reference()
    if (FOLDER / "ours.safetensors").exists():
        check_ours()
