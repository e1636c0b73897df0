"""Distillation losses and their gradients, computed by PyTorch in float64: distillation.safetensors.

The soft losses are written out as their authors' code has them: T^2 with batchmean for the divergences,
mdistiller's decoupled loss, and the generalised Jensen-Shannon divergence of TRL's GKD trainer.
"""
import json
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).parent
IGNORED = -100


def kl(student, teacher, target, T, options):
    return F.kl_div(F.log_softmax(student / T, 1), F.softmax(teacher / T, 1), reduction="batchmean") * T * T


def ce(student, teacher, target, T, options):
    return F.cross_entropy(student / T, F.softmax(teacher / T, 1)) * T * T


def mse_logits(student, teacher, target, T, options):
    return F.mse_loss(student, teacher)


def reverse_kl(student, teacher, target, T, options):
    return F.kl_div(F.log_softmax(teacher / T, 1), F.softmax(student / T, 1), reduction="batchmean") * T * T


def jsd(student, teacher, target, T, options):
    beta = torch.tensor(options["beta"], dtype=torch.float64)
    student, teacher = F.log_softmax(student / T, 1), F.log_softmax(teacher / T, 1)
    mixture = torch.logsumexp(torch.stack([student + torch.log(1 - beta), teacher + torch.log(beta)]), 0)
    divergence = [F.kl_div(mixture, x, reduction="batchmean", log_target=True) for x in (teacher, student)]
    return (beta * divergence[0] + (1 - beta) * divergence[1]) * T * T


def dkd(student, teacher, target, T, options):
    mask = F.one_hot(target, student.shape[1]).double()

    def binary(x):
        p = F.softmax(x / T, 1)
        return torch.stack([(p * mask).sum(1), (p * (1 - mask)).sum(1)], 1)

    target_loss = F.kl_div(torch.log(binary(student)), binary(teacher), reduction="batchmean") * T * T
    others = F.kl_div(F.log_softmax(student / T - 1000 * mask, 1), F.softmax(teacher / T - 1000 * mask, 1),
                      reduction="batchmean") * T * T
    return options["target"] * target_loss + options["others"] * others


SOFT = dict(kl=kl, ce=ce, mse_logits=mse_logits, reverse_kl=reverse_kl, jsd=jsd, dkd=dkd)


def main():
    random = torch.Generator().manual_seed(20)
    tensors, cases = {}, {}

    def add(name, rows, width, T, alpha, smoothing=0.0, scale=3.0, ignored=0, soft_targets=False, **options):
        for op, loss in SOFT.items():
            if op == "dkd" and (soft_targets or width == 1):
                continue
            # Rounded to float32, so that both sides start from the same numbers.
            student, teacher = (
                (torch.randn(rows, width, generator=random, dtype=torch.float64) * scale).float().double()
                for _ in range(2))
            student.requires_grad_()
            labels = torch.randint(width, (rows,), generator=random)
            labels[:ignored] = IGNORED
            shares = torch.softmax(torch.randn(rows, width, generator=random), 1).double()
            counted = labels != IGNORED
            target = shares if soft_targets else labels
            settings = dict(op=op, temperature=T, alpha=alpha, label_smoothing=smoothing, beta=0.5, target=1.0,
                            others=8.0) | options
            hard = F.cross_entropy(student, target, label_smoothing=smoothing)
            soft = loss(student[counted], teacher[counted], labels[counted], T, settings)
            total = alpha * hard + (1 - alpha) * soft
            (gradient,) = torch.autograd.grad(total, student)
            agreed = (student.argmax(1) == teacher.argmax(1))[counted].sum()
            case = f"{op}_{name}"
            cases[case] = settings
            for key, value in dict(student=student, teacher=teacher, grad_student=gradient).items():
                tensors[f"{case}/{key}"] = value.detach().float()
            tensors[f"{case}/target"] = shares.float() if soft_targets else labels
            tensors[f"{case}/losses"] = torch.stack([total, hard, soft]).detach()
            tensors[f"{case}/agreed"] = agreed.reshape(1)

    add("default", 5, 10, 4.0, 0.1)
    add("plain", 3, 16, 1.0, 0.5)
    add("hot", 4, 11, 20.0, 0.3, beta=0.9)
    add("smoothed", 4, 33, 2.5, 0.2, smoothing=0.1, beta=0.1)
    add("ignoring", 6, 7, 4.0, 0.1, ignored=2, target=0.5, others=2.0)
    add("soft_targets", 3, 17, 3.0, 0.4, soft_targets=True)
    add("one_class", 3, 1, 4.0, 0.1)
    add("two_classes", 3, 2, 4.0, 0.1)
    add("wide", 1, 1000, 4.0, 0.1)
    add("confident", 3, 10, 4.0, 0.1, scale=60.0)
    save_file(tensors, FOLDER / "distillation.safetensors", metadata={"cases": json.dumps(cases)})


main()
