"""Vintner's layer language in PyTorch: what a model description means, in a second implementation.

`Model(description, random)` makes parameters the first time a layer asks for them, under the names that Vintner
gives them, and computes in the type of its input. It knows no dropout (the fixtures have none) and no defaults of
names: layers with parameters that a fixture stores are named in the description.
"""
import collections
import itertools
import math

import torch
import torch.nn.functional as F

ACTIVATIONS = {
    "none": lambda x: x, "relu": F.relu, "relu6": F.relu6, "leaky_relu": F.leaky_relu, "gelu": F.gelu,
    "silu": F.silu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "hard_swish": F.hardswish,
}


def pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


class Model:
    """A description with its parameters; calling it runs the layers on a batch."""

    def __init__(self, description, random, dtype=torch.float64):
        self.layers, self.random, self.dtype = description["layers"], random, dtype
        self.parameters, self.statistics = {}, {}
        self.lengths = None  # of the samples, where an embedding pads them
        # What a mixed-precision run rounds: what layers leave, its gradient, and the weights that products read.
        self.stored = self.read = lambda x: x
        self.numbers = itertools.count()

    def __call__(self, x):
        self.numbers = itertools.count()
        return self.run(self.layers, x, "", {})

    def run(self, layers, x, prefix, around):
        x = x if x.dtype == torch.int64 else self.stored(x)
        values = collections.ChainMap({"input": x}, around)
        for layer in layers:
            name = layer.get("name") or f"layer{next(self.numbers)}"
            sources = layer.get("inputs", [])
            sources = [sources] if isinstance(sources, str) else sources
            inputs = [values[source] for source in sources] or [x]
            kind = layer["type"]
            self.values = values
            if kind in ACTIVATIONS:
                x = self.activation(layer, inputs[0])
            else:
                x = getattr(self, kind)(layer, prefix + name, *inputs)
            x = self.stored(x)
            values[name] = x
        return x

    def parameter(self, name, *shape, around=0.0, scale=0.3):
        """A learned tensor: normal numbers, exact in float32."""
        if name not in self.parameters:
            values = torch.randn(shape, generator=self.random, dtype=torch.float32) * scale + around
            self.parameters[name] = values.to(self.dtype).requires_grad_(True)
        assert tuple(self.parameters[name].shape) == shape, name
        return self.parameters[name]

    def affine(self, name, count, bias=True):
        weight = self.parameter(name + ".weight", count, around=1.0)
        return weight, self.parameter(name + ".bias", count) if bias else None

    # Windows

    def convolve(self, name, x, outputs, kernel, layer, groups, **options):
        fan_in = x.shape[1] // groups * math.prod(kernel)
        weight = self.parameter(
            name + ".weight", outputs, x.shape[1] // groups, *kernel, scale=1 / math.sqrt(fan_in))
        bias = self.parameter(name + ".bias", outputs) if layer.get("bias", True) else None
        convolve = F.conv1d if len(kernel) == 1 else F.conv2d
        return self.stored(convolve(x, self.read(weight), bias, groups=groups, **options))

    def window(self, layer):
        return dict(stride=layer.get("stride", 1), padding=layer.get("padding", 0), dilation=layer.get("dilation", 1))

    def conv2d(self, layer, name, x):
        return self.convolve(name, x, layer["out_channels"], pair(layer["kernel_size"]), layer,
                             layer.get("groups", 1), **self.window(layer))

    def conv1d(self, layer, name, x):
        return self.convolve(name, x, layer["out_channels"], (layer["kernel_size"],), layer, layer.get("groups", 1),
                             **self.window(layer))

    def depthwise_conv2d(self, layer, name, x):
        return self.convolve(name, x, x.shape[1] * layer.get("multiplier", 1), pair(layer["kernel_size"]), layer,
                             x.shape[1], **self.window(layer))

    def separable_conv2d(self, layer, name, x):
        x = self.depthwise_conv2d(layer, name + ".depthwise", x)
        x = self.follow(layer, name + ".depthwise_norm", x)
        x = self.convolve(name + ".pointwise", x, layer["out_channels"], (1, 1), layer, 1)
        return self.follow(layer, name + ".pointwise_norm", x)

    def follow(self, layer, name, x):
        if layer.get("norm", "none") == "batch_norm":
            x = self.batch_norm({}, name, x)
        return ACTIVATIONS[layer.get("activation", "none")](x)

    def conv_transpose2d(self, layer, name, x):
        outputs, groups, kernel = layer["out_channels"], layer.get("groups", 1), pair(layer["kernel_size"])
        scale = 1 / math.sqrt(x.shape[1] // groups * math.prod(kernel))
        weight = self.parameter(name + ".weight", x.shape[1], outputs // groups, *kernel, scale=scale)
        bias = self.parameter(name + ".bias", outputs) if layer.get("bias", True) else None
        return F.conv_transpose2d(x, self.read(weight), bias, groups=groups,
                                  output_padding=layer.get("output_padding", 0), **self.window(layer))

    def pool(self, function, layer, x, **options):
        return function(x, layer["kernel_size"], layer.get("stride"), layer.get("padding", 0), **options)

    def max_pool2d(self, layer, name, x):
        return self.pool(F.max_pool2d, layer, x)

    def avg_pool2d(self, layer, name, x):
        return self.pool(F.avg_pool2d, layer, x, count_include_pad=layer.get("count_include_pad", True))

    def max_pool1d(self, layer, name, x):
        return self.pool(F.max_pool1d, layer, x)

    def avg_pool1d(self, layer, name, x):
        return self.pool(F.avg_pool1d, layer, x, count_include_pad=layer.get("count_include_pad", True))

    def adaptive_avg_pool2d(self, layer, name, x):
        return F.adaptive_avg_pool2d(x, pair(layer["output_size"]))

    def global_avg_pool(self, layer, name, x):
        if x.dim() == 4:
            return x.mean((2, 3))
        if self.lengths is None:
            return x.mean(1)
        kept = (torch.arange(x.shape[1]) < self.lengths[:, None]).to(x.dtype)
        return (x * kept[..., None]).sum(1) / self.lengths[:, None]

    # Products, norms, element by element

    def linear(self, layer, name, x):
        outputs = layer["out_features"]
        if "tied_to" in layer:
            weight = self.parameters[layer["tied_to"] + ".weight"]
        else:
            weight = self.parameter(name + ".weight", outputs, x.shape[-1], scale=1 / math.sqrt(x.shape[-1]))
        bias = self.parameter(name + ".bias", outputs) if layer.get("bias", True) else None
        return self.stored(F.linear(x, self.read(weight), bias))

    def activation(self, layer, x):
        if layer["type"] == "gelu":
            return F.gelu(x, approximate=layer.get("approximate", "none"))
        if layer["type"] == "leaky_relu":
            return F.leaky_relu(x, layer.get("negative_slope", 0.01))
        return ACTIVATIONS[layer["type"]](x)

    def softmax(self, layer, name, x):
        return F.softmax(x, 1 if x.dim() == 4 else -1)

    def batch_norm(self, layer, name, x):
        """In training mode; the statistics afterwards are kept, from zeros and ones."""
        weight, bias = self.affine(name, x.shape[1])
        mean, variance = torch.zeros_like(weight).detach(), torch.ones_like(weight).detach()
        x = F.batch_norm(x, mean, variance, weight, bias, True, layer.get("momentum", 0.1), layer.get("eps", 1e-5))
        self.statistics[name + ".running_mean"], self.statistics[name + ".running_var"] = mean, variance
        return self.stored(x)

    def layer_norm(self, layer, name, x):
        """Over the last axis; over the channels of an image."""
        rows = x.movedim(1, -1) if x.dim() == 4 else x
        weight, bias = None, None
        if layer.get("elementwise_affine", True):
            weight, bias = self.affine(name, rows.shape[-1], layer.get("bias", True))
        rows = F.layer_norm(rows, rows.shape[-1:], weight, bias, layer.get("eps", 1e-5))
        return self.stored(rows.movedim(-1, 1) if x.dim() == 4 else rows)

    def rms_norm(self, layer, name, x):
        rows = x.movedim(1, -1) if x.dim() == 4 else x
        weight = self.parameter(name + ".weight", rows.shape[-1], around=1.0)
        rows = F.rms_norm(rows, rows.shape[-1:], weight, layer.get("eps", 1e-6))
        return self.stored(rows.movedim(-1, 1) if x.dim() == 4 else rows)

    def group_norm(self, layer, name, x):
        return F.group_norm(x, layer["groups"], *self.affine(name, x.shape[1]), layer.get("eps", 1e-5))

    # Shapes and joins

    def flatten(self, layer, name, x):
        start, end = layer.get("start_dim", 0), layer.get("end_dim", -1)
        return x.flatten(start + 1 if start >= 0 else start, end + 1 if end >= 0 else end)

    def reshape(self, layer, name, x):
        return x.reshape(x.shape[0], *layer["shape"])

    def transpose(self, layer, name, x):
        return x.permute(0, *(dim + 1 for dim in layer["dims"]))

    def add(self, layer, name, *inputs):
        return sum(inputs[1:], inputs[0])

    def multiply(self, layer, name, *inputs):
        first, *others = inputs
        for other in others:
            factor = other.flatten(1) if other.shape != first.shape else other
            if factor.shape != first.shape:
                factor = factor[:, :, None, None] if first.dim() == 4 else factor[:, None, :]
            first = first * factor
        return first

    def concat(self, layer, name, *inputs):
        dim = layer.get("dim", 0)
        return torch.cat(inputs, dim + 1 if dim >= 0 else dim)

    def residual(self, layer, name, x):
        around = self.values
        main = self.run(layer["layers"], x, name + ".", around)
        return main + self.run(layer.get("shortcut", []), x, name + ".shortcut.", around)

    def sequential(self, layer, name, x):
        return self.run(layer["layers"], x, name + ".", self.values)

    def squeeze_excite(self, layer, name, x):
        hidden = self.linear({"out_features": max(1, x.shape[1] // layer.get("reduction", 4))}, name + ".fc1",
                             self.stored(x.mean((2, 3))))
        hidden = self.stored(ACTIVATIONS[layer.get("activation", "relu")](hidden))
        gate = self.stored(torch.sigmoid(self.linear({"out_features": x.shape[1]}, name + ".fc2", hidden)))
        return x * gate[:, :, None, None]

    # Sequences

    def embedding(self, layer, name, x):
        """A sample ends at its last token that is not `padding_idx`, and has one at least."""
        if "padding_idx" in layer:
            places = torch.arange(1, x.shape[1] + 1) * (x != layer["padding_idx"])
            self.lengths = places.amax(1).clamp(min=1)
        return F.embedding(x, self.parameter(name + ".weight", layer["vocabulary"], layer["width"]))

    def positional_embedding(self, layer, name, x):
        return x + self.parameter(name + ".weight", *x.shape[1:])

    def class_token(self, layer, name, x):
        token = self.parameter(name + ".weight", 1, x.shape[-1])
        return torch.cat([token.expand(x.shape[0], 1, -1), x], 1)

    def select_token(self, layer, name, x):
        return x[:, layer.get("index", 0)]

    def multi_head_attention(self, layer, name, x):
        """PyTorch's MultiheadAttention of x with itself, with rotary positions when asked.

        Nobody attends to what lies behind a sample's length: PyTorch's `key_padding_mask`.
        """
        batch, tokens, width = x.shape
        heads, bias = layer["heads"], layer.get("bias", True)
        scale = 1 / math.sqrt(width)
        weight = self.parameter(name + ".in_proj_weight", 3 * width, width, scale=2 * scale)
        shift = self.parameter(name + ".in_proj_bias", 3 * width) if bias else None
        qkv = self.stored(F.linear(x, self.read(weight), shift)).reshape(batch, tokens, 3, heads, width // heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if layer.get("rotary", False):
            q, k = (self.stored(rotate(part, layer["rotary"])) for part in (q, k))
        seen = torch.ones(batch, 1, tokens, tokens, dtype=torch.bool)
        if layer.get("causal", False):
            seen = seen.tril()
        if self.lengths is not None:
            seen = seen & (torch.arange(tokens) < self.lengths[:, None])[:, None, None, :]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=None if seen.all() else seen)
        y = self.stored(y.transpose(1, 2).reshape(batch, tokens, width))
        return self.linear({"out_features": width, "bias": bias}, name + ".out_proj", y)

    def transformer_block(self, layer, name, x):
        pre = layer.get("pre_norm", True)

        def norm(part, x):
            if layer.get("norm", "layer_norm") == "rms_norm":
                return self.rms_norm({"eps": layer.get("eps", 1e-5)}, f"{name}.{part}", x)
            return self.layer_norm(
                {"bias": layer.get("bias", True), "eps": layer.get("eps", 1e-5)}, f"{name}.{part}", x)

        def mlp(x):
            bias, width = layer.get("bias", True), x.shape[-1]
            hidden = self.linear(
                {"out_features": round(layer.get("mlp_ratio", 4) * width), "bias": bias}, f"{name}.mlp.fc1", x)
            hidden = self.stored(ACTIVATIONS[layer.get("activation", "gelu")](hidden))
            return self.linear({"out_features": width, "bias": bias}, f"{name}.mlp.fc2", hidden)

        x = self.stored(x + self.multi_head_attention(layer, name + ".attn", norm("ln1", x) if pre else x))
        x = x if pre else norm("ln1", x)
        x = self.stored(x + mlp(norm("ln2", x) if pre else x))
        return x if pre else norm("ln2", x)


def rotate(x, base):
    """Su et al. (2021), features i and i + d/2 of a head turned together by position * base^(-2i/d)."""
    tokens, width = x.shape[-2:]
    rates = base ** (-torch.arange(0, width, 2, dtype=x.dtype) / width)
    angles = torch.outer(torch.arange(tokens, dtype=x.dtype), rates)
    cosines, sines = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)
    first, second = x.chunk(2, -1)
    return x * cosines + torch.cat([-second, first], -1) * sines
