"""The networks of the benchmark's rows in PyTorch, as one would write them.

models/*.json beside this file describe the same networks to Vintner; run.py refuses to compare two whose
parameters differ in number.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from rows import ROWS


def convolution(inputs, outputs, kernel=3, stride=1, groups=1):
    """Convolution that keeps the size, batch normalisation, ReLU."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs), nn.ReLU(inplace=True),
    ]


def five_blocks(separable):
    """A stem of 32 channels and five blocks: 64, 128 at half size, 128, 256 at half size, 256."""
    layers, inputs = convolution(3, 32), 32
    for outputs, stride in [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1)]:
        if separable:
            layers += convolution(inputs, inputs, stride=stride, groups=inputs)
            layers += convolution(inputs, outputs, kernel=1)
        else:
            layers += convolution(inputs, outputs, stride=stride)
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; where the shape changes, the shortcut is a 1x1 projection (option B)."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        hidden = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(hidden)) + self.shortcut(x), inplace=True)


def resnet20():
    """He et al. (2016) for CIFAR: three stages of three blocks, 16, 32 and 64 channels."""
    layers, inputs = convolution(3, 16), 16
    for outputs, stride in [(16, 1), (32, 2), (64, 2)]:
        for block in range(3):
            layers.append(ResidualBlock(inputs, outputs, stride if block == 0 else 1))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class LayerNorm(nn.Module):
    """Layer normalisation whose shift can be left out."""

    def __init__(self, width, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class Attention(nn.Module):
    """Multi-head self-attention with one product for queries, keys and values."""

    def __init__(self, width, heads, causal, bias):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width, bias)
        self.proj = nn.Linear(width, width, bias)

    def forward(self, x):
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.proj(y.transpose(1, 2).reshape(batch, tokens, width))

    def macs(self, tokens):
        """Of both products of one sample; a causal row has its own and earlier columns only."""
        pairs = tokens * (tokens + 1) // 2 if self.causal else tokens * tokens
        return 2 * pairs * self.proj.in_features


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)) with four times the width and GELU."""

    def __init__(self, width, heads, causal, bias):
        super().__init__()
        self.ln_1, self.ln_2 = LayerNorm(width, bias), LayerNorm(width, bias)
        self.attn = Attention(width, heads, causal, bias)
        self.fc = nn.Linear(width, 4 * width, bias)
        self.proj = nn.Linear(4 * width, width, bias)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.proj(F.gelu(self.fc(self.ln_2(x))))


class GPT(nn.Module):
    """The language model of nanoGPT: learned positions, no biases, the head tied to the embedding."""

    def __init__(self, vocabulary=65, context=64, layers=4, heads=4, width=128):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.h = nn.ModuleList(TransformerBlock(width, heads, True, False) for _ in range(layers))
        self.ln_f = LayerNorm(width, False)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.wte.weight
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                scale = 1 / math.sqrt(2 * layers) if name.endswith("proj.weight") else 1
                nn.init.normal_(parameter, std=0.02 * scale)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.h:
            x = block(x)
        return self.head(self.ln_f(x))


class ViT(nn.Module):
    """ViT-tiny for 3x32x32: patches of 4x4, a class token, learned positions, 12 pre-norm blocks of width 192."""

    def __init__(self, width=192, depth=12, heads=3, patch=4, size=32, classes=10):
        super().__init__()
        self.patch = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, width) * 0.02)
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads, False, True) for _ in range(depth)))
        self.norm = LayerNorm(width, True)
        self.head = nn.Linear(width, classes)

    def forward(self, images):
        x = self.patch(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


def mlp(*widths):
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


def lenet5():
    """ReLU behind the pooling, as our preset has it: the two commute and it is less work."""
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.ReLU(inplace=True), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2),
        nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(800, 500), nn.ReLU(inplace=True), nn.Linear(500, 10))


MAKERS = {
    "linear": lambda: nn.Linear(10, 10), "mlp": lambda: mlp(784, 500, 10),
    "lenet_300_100": lambda: mlp(784, 300, 100, 10), "lenet5_caffe": lenet5,
    "separable": lambda: five_blocks(True), "standard": lambda: five_blocks(False), "resnet20": resnet20,
    "nanogpt": GPT, "vit_tiny": ViT,
}


def batch_of(row, batch):
    """One random batch: inputs and targets."""
    if row.input == (64,):
        return torch.randint(row.classes, (batch, 64)), torch.randint(row.classes, (batch, 64))
    inputs = torch.rand(batch, *row.input) * 2 - 1
    return inputs, torch.randn(batch, 10) if row.loss == "mse" else torch.randint(row.classes, (batch,))


def loss_of(row, outputs, targets):
    """The mean loss of a batch, of its tokens for a language model; computed in float32 under autocast too."""
    if row.loss == "mse":
        return F.mse_loss(outputs, targets)
    return F.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def count(name):
    """Parameters of the network, and multiply-accumulates of one sample: forward, and the whole step.

    Counted are convolutions, products and attention. Backward has each of them twice more, except the gradient
    of the network's input, which nobody needs.
    """
    model, macs = MAKERS[name](), []

    def note(module, inputs, output):
        if isinstance(module, Attention):
            macs.append(module.macs(inputs[0].shape[1]))
        elif isinstance(module, nn.Conv2d):
            macs.append(output[0].numel() * module.weight[0].numel())
        else:
            macs.append(output[0].numel() * module.in_features)

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, Attention)):
            module.register_forward_hook(note)
    with torch.no_grad():
        model.eval()(batch_of(ROWS[name], 1)[0])
    unneeded = 0 if isinstance(model, GPT) else macs[0]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": parameters, "macs": sum(macs), "training_macs": 3 * sum(macs) - unneeded}
