#!/usr/bin/env python3
"""Writes PyTorch's numbers for every optimiser, loss and learning rate schedule that `make_fixtures.py` lacks.

    Benchmarks/torch-python Tests/Fixtures/make_optimizer_fixtures.py

Makes updates, losses and more_schedules .safetensors beside this file, as `make_fixtures.py` makes its own. Lion
is not in PyTorch: it is written down here from the paper (Chen et al., 2023, algorithm 2).
"""
import torch
import torch.nn.functional as F
import torch.optim.lr_scheduler as S

from make_fixtures import Fixture, leaf, save

STEPS = 5


class Lion(torch.optim.Optimizer):
    def __init__(self, parameters, lr, betas, weight_decay):
        super().__init__(parameters, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                m = state.setdefault("exp_avg", torch.zeros_like(p))
                beta1, beta2 = group["betas"]
                direction = torch.sign(beta1 * m + (1 - beta1) * p.grad)
                p -= group["lr"] * (direction + group["weight_decay"] * p)
                state["exp_avg"] = beta2 * m + (1 - beta2) * p.grad


def updates(fixture):
    O = torch.optim
    cases = {
        "adam_plain": (O.Adam, "adam", dict(lr=0.01, betas=(0.9, 0.999), eps=1e-8)),
        "adam_decay": (O.Adam, "adam", dict(lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)),
        "adamw_plain": (O.AdamW, "adamw", dict(lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)),
        "adamw_gpt": (O.AdamW, "adamw", dict(lr=0.03, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)),
        "lion_plain": (Lion, "lion", dict(lr=0.01, betas=(0.9, 0.99), weight_decay=0.0)),
        "lion_decay": (Lion, "lion", dict(lr=0.003, betas=(0.95, 0.98), weight_decay=0.5)),
        "rmsprop_plain": (O.RMSprop, "rmsprop", dict(lr=0.01, alpha=0.99, eps=1e-8)),
        "rmsprop_momentum": (O.RMSprop, "rmsprop", dict(lr=0.01, alpha=0.9, eps=1e-6, momentum=0.9)),
        "rmsprop_decay": (O.RMSprop, "rmsprop",
                          dict(lr=0.02, alpha=0.95, eps=1e-3, momentum=0.5, weight_decay=0.1)),
        "sgd_nesterov": (O.SGD, "sgd", dict(lr=0.02, momentum=0.8, nesterov=True, weight_decay=0.05)),
    }
    names = ["momentum_buffer", "exp_avg", "exp_avg_sq", "square_avg"]
    for name, (make, op, options) in cases.items():
        # Two parameters, clipped together; the second one never decays. Ends with the average of the weights.
        for clip, average in [(None, None), (0.5, 0.9)]:
            parameters = [torch.nn.Parameter(fixture.normal(7, 5)), torch.nn.Parameter(fixture.normal(19))]
            # As float32 numbers, so that both sides begin with the same.
            groups = [{"params": [parameters[0]]}, {"params": [parameters[1]], "weight_decay": 0.0}]
            optimizer = make(groups, **options)
            averages = [p.detach().clone() for p in parameters]
            tensors = {f"parameter_{i}_0": p.detach().clone() for i, p in enumerate(parameters)}
            for step in range(1, STEPS + 1):
                for i, p in enumerate(parameters):
                    p.grad = fixture.normal(*p.shape)
                    tensors[f"grad_{i}_{step}"] = p.grad.clone()
                if clip:
                    tensors[f"norm_{step}"] = torch.nn.utils.clip_grad_norm_(parameters, clip).reshape(1)
                optimizer.step()
                for i, p in enumerate(parameters):
                    tensors[f"parameter_{i}_{step}"] = p.detach().clone()
            for i, p in enumerate(parameters):
                for key in names:
                    value = optimizer.state[p].get(key)
                    if value is not None:
                        tensors[f"{key}_{i}"] = value.clone()
            if average:
                for i in range(2):
                    for step in range(1, STEPS + 1):
                        averages[i] = average * averages[i] + (1 - average) * tensors[f"parameter_{i}_{step}"]
                    tensors[f"average_{i}"] = averages[i]
            options = {k: v for k, v in options.items()}
            suffix = "_clipped" if clip else ""
            fixture.add(name + suffix, dict(op=op, clip=clip, average=average, **options), **tensors)


def losses(fixture):
    def case(name, parameters, compute, input, target):
        loss = compute(input, target)
        (grad_input,) = torch.autograd.grad(loss, input)
        fixture.add(name, parameters, input=input, target=target, loss=loss.reshape(1), grad_input=grad_input)

    def labels(rows, classes):
        return torch.randint(classes, (rows,), generator=fixture.random)

    def probabilities(rows, classes):
        # float32 first, so that both sides read the same.
        return torch.softmax(fixture.normal(rows, classes, scale=2.0), 1).to(torch.float32).to(torch.float64)

    for rows, classes, smoothing in [(7, 10, 0.0), (5, 33, 0.1), (9, 16, 0.3)]:
        target = labels(rows, classes)
        target[1::3] = -100
        case(f"ignoring_{classes}", dict(op="ignoring", label_smoothing=smoothing),
             lambda z, t: F.cross_entropy(z, t, label_smoothing=smoothing, ignore_index=-100),
             leaf(fixture.normal(rows, classes, scale=3.0)), target)
    for rows, classes, smoothing in [(4, 10, 0.0), (6, 37, 0.2), (1, 16, 0.0)]:
        case(f"soft_{classes}", dict(op="soft", label_smoothing=smoothing),
             lambda z, t: F.cross_entropy(z, t, label_smoothing=smoothing),
             leaf(fixture.normal(rows, classes, scale=3.0)), probabilities(rows, classes))
        case(f"kl_{classes}", dict(op="kl"),
             lambda z, t: F.kl_div(F.log_softmax(z, 1), t, reduction="batchmean"),
             leaf(fixture.normal(rows, classes, scale=3.0)), probabilities(rows, classes))
    sparse = probabilities(3, 21)
    sparse[:, ::2] = 0
    case("kl_sparse", dict(op="kl"), lambda z, t: F.kl_div(F.log_softmax(z, 1), t, reduction="batchmean"),
         leaf(fixture.normal(3, 21)), sparse)
    for rows, width in [(5, 7), (3, 32), (1, 1), (2, 45)]:
        shape = (rows, width)
        case(f"bce_{width}", dict(op="bce"), F.binary_cross_entropy_with_logits,
             leaf(fixture.normal(*shape, scale=6.0)), torch.sigmoid(fixture.normal(*shape)).to(torch.float32).double())
        for delta in [1.0, 0.3]:
            case(f"huber_{width}_{delta}", dict(op="huber", delta=delta),
                 lambda y, t: F.huber_loss(y, t, delta=delta), leaf(fixture.normal(*shape)),
                 fixture.normal(*shape))
        case(f"l1_{width}", dict(op="l1"), F.l1_loss, leaf(fixture.normal(*shape)), fixture.normal(*shape))
        case(f"mse_{width}", dict(op="mse"), F.mse_loss, leaf(fixture.normal(*shape)), fixture.normal(*shape))


def schedules(base=0.1):
    cases = {
        "one_cycle": (dict(pct_start=0.3, div_factor=25.0, final_div_factor=1e4, total=30),
                      lambda o: S.OneCycleLR(o, base, total_steps=30, pct_start=0.3, cycle_momentum=False)),
        "one_cycle_short": (dict(pct_start=0.5, div_factor=4.0, final_div_factor=100.0, total=11),
                            lambda o: S.OneCycleLR(o, base, total_steps=11, pct_start=0.5, div_factor=4.0,
                                                   final_div_factor=100.0, cycle_momentum=False)),
        "exponential": (dict(gamma=0.8, total=12), lambda o: S.ExponentialLR(o, 0.8)),
    }
    tensors, metadata = {}, {}
    for name, (parameters, make) in cases.items():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
        schedule, rates = make(optimizer), []
        for step in range(parameters["total"]):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if step + 1 < parameters["total"]:
                schedule.step()
        tensors[name] = torch.tensor(rates, dtype=torch.float64)
        metadata[name] = dict(base_lr=base, **parameters)
    save("more_schedules", tensors, metadata)


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    steps, rows = Fixture(), Fixture()
    updates(steps)
    steps.write("updates")
    losses(rows)
    rows.write("losses")
    schedules()
