#!/usr/bin/env python3
"""Writes lenet_curve.safetensors: the losses of 200 training steps of LeNet-5-Caffe in PyTorch.

    Benchmarks/torch-python Tests/Fixtures/make_lenet_curve.py [FOLDER WITH FASHION-MNIST]

Everything that decides the curve can be made on both sides, so only the losses are stored:

- The network, our preset lenet5_caffe: conv 20 of 5x5, max pool 2, ReLU, conv 50 of 5x5, max pool 2, ReLU, fully
  connected 500, ReLU, fully connected 10.
- Element i of parameter t (8 conv1.weight, 9 conv1.bias, 10 conv2.weight, ... 15 fc2.bias; row-major in
  PyTorch's layout, so fc1 reads channels first) is bound * u, bound = 1 / sqrt(fan_in) and
  u = (x >> 8) * 2^-23 - 1 with the 32-bit hash x = i * 0x9E3779B9 + t * 0x85EBCA6B + 1; x ^= x >> 16;
  x *= 0x7FEB352D; x ^= x >> 15; x *= 0x846CA68B; x ^= x >> 16. Bound and product are rounded to float32.
- Batches of 64 in the order of the training file, (pixel / 255 - mean) / deviation in float32, mean and
  deviation of the training split (stored as `mean` and `std`).
- Softmax cross-entropy (mean), SGD with momentum 0.9 and weight decay 5e-4 on every parameter.

`losses` are 200 steps at a learning rate of 0.0005, computed in float64. A larger rate makes the curve a
property of the rounding and not of the mathematics: max pooling takes another maximum where two are nearly
equal, and at 0.05 three float32 runs of PyTorch itself (default, channels_last, without oneDNN) differ by tens
of per cent after 200 steps. At 0.0005 they stay within `spread` of float64, which is stored, so a tolerance of
1e-4 is a statement. `recipe_losses` are the leading steps at 0.05 for which those runs stay within 1e-5.
`first_weights` are the first 8 elements of each parameter, as a check.
"""
import gzip
import pathlib
import sys

import numpy
import safetensors.numpy
import torch
import torch.nn.functional as F

STEPS, BATCH = 200, 64
SHAPES = [(20, 1, 5, 5), (20,), (50, 20, 5, 5), (50,), (500, 800), (500,), (10, 500), (10,)]
FAN_IN = [25, 25, 500, 500, 800, 800, 500, 500]


def uniform(count, tensor):
    """`count` numbers in [-1, 1), exact in float32."""
    x = numpy.arange(count, dtype=numpy.uint32) * numpy.uint32(0x9E3779B9)
    x += numpy.uint32(((tensor + 8) * 0x85EBCA6B + 1) % 2**32)
    x ^= x >> numpy.uint32(16)
    x *= numpy.uint32(0x7FEB352D)
    x ^= x >> numpy.uint32(15)
    x *= numpy.uint32(0x846CA68B)
    x ^= x >> numpy.uint32(16)
    return (x >> numpy.uint32(8)).astype(numpy.float64) * 2.0**-23 - 1


def initial_parameters():
    parameters = []
    for tensor, (shape, fan_in) in enumerate(zip(SHAPES, FAN_IN)):
        bound = numpy.float32(1 / numpy.sqrt(fan_in))
        values = uniform(int(numpy.prod(shape)), tensor).astype(numpy.float32) * bound
        parameters.append(values.reshape(shape))
    return parameters


def read_idx(path):
    data = gzip.open(path).read()
    return numpy.frombuffer(data, numpy.uint8, offset=4 + 4 * data[3])


def forward(parameters, images):
    c1w, c1b, c2w, c2b, f1w, f1b, f2w, f2b = parameters
    hidden = F.relu(F.max_pool2d(F.conv2d(images, c1w, c1b), 2))
    hidden = F.relu(F.max_pool2d(F.conv2d(hidden, c2w, c2b), 2)).flatten(1)
    return F.linear(F.relu(F.linear(hidden, f1w, f1b)), f2w, f2b)


def train(images, labels, rate, dtype=torch.float32):
    parameters = [torch.nn.Parameter(torch.from_numpy(p.copy()).to(dtype)) for p in initial_parameters()]
    optimizer = torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=5e-4)
    losses = []
    for step in range(STEPS):
        batch = slice(step * BATCH, (step + 1) * BATCH)
        optimizer.zero_grad()
        loss = F.cross_entropy(forward(parameters, images[batch].to(dtype)), labels[batch])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return numpy.array(losses)


def curve(images, labels, rate):
    """Losses in float64, and how far three float32 runs are from them at each step, at most."""
    exact = train(images, labels, rate, torch.float64)
    singles = [train(images, labels, rate), train(images.to(memory_format=torch.channels_last), labels, rate)]
    with torch.backends.mkldnn.flags(enabled=False):
        singles.append(train(images, labels, rate))
    return exact, numpy.max([numpy.abs(single / exact - 1) for single in singles], axis=0)


def main(folder):
    pixels = read_idx(folder / "train-images-idx3-ubyte.gz")
    values = pixels.astype(numpy.float64) / 255
    mean, deviation = values.mean(), values.std()
    images = pixels[: STEPS * BATCH * 784].astype(numpy.float32) / numpy.float32(255)
    images = (images - numpy.float32(mean)) / numpy.float32(deviation)
    images = torch.from_numpy(images.reshape(-1, 1, 28, 28))
    labels = torch.from_numpy(read_idx(folder / "train-labels-idx1-ubyte.gz").astype(numpy.int64))
    losses, spreads = curve(images, labels, 0.0005)
    recipe, recipe_spreads = curve(images, labels, 0.05)
    agreeing = int(numpy.argmax(~(recipe_spreads < 1e-5)))
    path = pathlib.Path(__file__).with_name("lenet_curve.safetensors")
    safetensors.numpy.save_file(
        {
            "losses": losses, "spread": spreads.max().reshape(1), "recipe_losses": recipe[:agreeing],
            "mean": numpy.array([mean]), "std": numpy.array([deviation]),
            "first_weights": numpy.stack([p.reshape(-1)[:8] for p in initial_parameters()]),
        }, path)
    print(f"{path.name}: {path.stat().st_size} bytes, loss {losses[0]:.4f} -> {losses[-1]:.4f}, float32 within "
          f"{spreads.max():.1e}; at 0.05 {agreeing} steps, {recipe[0]:.4f} -> {recipe[agreeing - 1]:.4f}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "/usr/share/datasets/fashion-mnist"))
