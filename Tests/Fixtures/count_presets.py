"""Prints parameters and multiply-accumulates of the presets' networks, written down in PyTorch on their own.

Tests/GraphTests/PresetCountTests.swift quotes the figures. Multiply-accumulates are those of convolutions,
linear layers and attention's two products, counted by hooks on one sample.
"""

import torch
from torch import nn


def conv(inputs, outputs, kernel=3, stride=1, padding=1, groups=1):
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(outputs), nn.ReLU()]


def separable(inputs, outputs, stride):
    return conv(inputs, inputs, 3, stride, 1, inputs) + conv(inputs, outputs, 1, 1, 0)


def head(width, classes):
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)]


def mobilenet(factor, classes, stride=2):
    def wide(channels):
        return int(channels * factor)

    widths = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
    layers, inputs = conv(3, wide(32), stride=stride), wide(32)
    for width, step in widths:
        layers += separable(inputs, wide(width), step)
        inputs = wide(width)
    return nn.Sequential(*layers, *head(inputs, classes))


def five(is_separable):
    layers, inputs = conv(3, 32), 32
    for width, stride in [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1)]:
        layers += separable(inputs, width, stride) if is_separable else conv(inputs, width, stride=stride)
        inputs = width
    return nn.Sequential(*layers, *head(256, 10))


class Residual(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.main = nn.Sequential(*conv(inputs, outputs, stride=stride), *conv(outputs, outputs)[:-1])
        is_same = inputs == outputs and stride == 1
        self.way = nn.Identity() if is_same else nn.Sequential(*conv(inputs, outputs, 1, stride, 0)[:-1])

    def forward(self, x):
        return torch.relu(self.main(x) + self.way(x))


def resnet(stem, widths, blocks, classes):
    layers, inputs = stem, widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            layers.append(Residual(inputs, width, 2 if stage and not block else 1))
            inputs = width
    return nn.Sequential(*layers, *head(inputs, classes))


def resnet18(classes, is_small):
    stem = conv(3, 64) if is_small else conv(3, 64, 7, 2, 3) + [nn.MaxPool2d(3, 2, 1)]
    return resnet(stem, [64, 128, 256, 512], 2, classes)


def ds_cnn(classes):
    layers = conv(1, 64, (10, 4), (2, 2), (5, 1))
    for _ in range(4):
        layers += separable(64, 64, 1)
    return nn.Sequential(*layers, *head(64, classes))


class Norm(nn.Module):
    def __init__(self, width, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x):
        return nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias)


class Block(nn.Module):
    def __init__(self, width, heads, is_causal, bias, is_pre):
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width, bias), nn.Linear(width, width, bias)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width, bias), nn.Linear(4 * width, width, bias)
        self.ln1, self.ln2 = Norm(width, bias), Norm(width, bias)
        self.heads, self.is_causal, self.is_pre, self.attention_macs = heads, is_causal, is_pre, 0

    def attend(self, x):
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.is_causal)
        pairs = tokens * (tokens + 1) // 2 if self.is_causal else tokens * tokens
        self.attention_macs = 2 * pairs * width
        return self.out(y.transpose(1, 2).reshape(batch, tokens, width))

    def think(self, x):
        return self.fc2(nn.functional.gelu(self.fc1(x)))

    def forward(self, x):
        if self.is_pre:
            x = x + self.attend(self.ln1(x))
            return x + self.think(self.ln2(x))
        x = self.ln1(x + self.attend(x))
        return self.ln2(x + self.think(x))


class GPT(nn.Module):
    def __init__(self, layers=4, heads=4, width=128, context=64, vocabulary=65):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads, True, False, True) for _ in range(layers)))
        self.norm, self.head = Norm(width, False), nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens):
        return self.head(self.norm(self.blocks(self.tokens(tokens) + self.positions.weight)))


class BERT(nn.Module):
    def __init__(self, layers=4, heads=4, width=128, context=64, vocabulary=256, classes=5):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.norm = Norm(width, True)
        self.blocks = nn.Sequential(*(Block(width, heads, False, True, False) for _ in range(layers)))
        self.head = nn.Linear(width, classes)

    def forward(self, tokens):
        x = self.norm(self.tokens(tokens) + self.positions.weight)
        return self.head(self.blocks(x).mean(1))


class ViT(nn.Module):
    def __init__(self, size, patch, classes, width=192, depth=12, heads=3):
        super().__init__()
        self.patch = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, (size // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads, False, True, True) for _ in range(depth)))
        self.norm, self.head = Norm(width, True), nn.Linear(width, classes)

    def forward(self, images):
        x = self.patch(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


def count(model, sample):
    macs = []

    def hook(layer, inputs, output):
        if isinstance(layer, nn.Linear):
            macs.append(output.numel() * layer.in_features)
        else:
            macs.append(output.numel() * layer.weight[0].numel())

    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(hook)
    with torch.no_grad():
        model.eval()(sample)
    attention = sum(layer.attention_macs for layer in model.modules() if isinstance(layer, Block))
    return sum(parameter.numel() for parameter in model.parameters()), sum(macs) + attention


if __name__ == "__main__":
    image, small = torch.zeros(1, 3, 224, 224), torch.zeros(1, 3, 32, 32)
    tokens = torch.zeros(1, 64, dtype=torch.long)
    for name, model, sample in [
            ("mobilenet_v1", mobilenet(1, 1000), image), ("mobilenet_v1 0.25", mobilenet(0.25, 1000), image),
            ("mobilenet_v1 at 32", mobilenet(1, 10, 1), small),
            ("resnet8", resnet(conv(3, 16), [16, 32, 64], 1, 10), small),
            ("resnet20", resnet(conv(3, 16), [16, 32, 64], 3, 10), small),
            ("resnet18", resnet18(1000, False), image), ("resnet18 at 32", resnet18(10, True), small),
            ("ds_cnn", ds_cnn(12), torch.zeros(1, 1, 49, 10)),
            ("separable5", five(True), small), ("standard5", five(False), small),
            ("gpt", GPT(), tokens), ("bert", BERT(), tokens),
            ("vit_tiny", ViT(224, 16, 1000), image), ("vit_tiny at 32", ViT(32, 4, 10), small)]:
        print(name, *count(model, sample))
