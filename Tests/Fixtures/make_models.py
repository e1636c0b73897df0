#!/usr/bin/env python3
"""Writes models.safetensors: loss and gradients of small models that use every layer of the layer language.

    Benchmarks/torch-python Tests/Fixtures/make_models.py

Each case is a description in Vintner's own JSON (`model` in the case's metadata), which layer_language.py runs in
PyTorch in float64; parameters and inputs are exact in float32. Behind the layers in question stands a product or
a convolution and in front of them another, so that their gradients check those of the layer's inputs. The loss is
the mean cross-entropy over the samples, or over the tokens whose target is not -100.

Tensors: `case/input` (NCHW, or int64 tokens), `case/target` (int64), `case/output`, `case/loss`,
`case/parameter/NAME`, `case/gradient/NAME`, and `case/statistic/NAME` of batch normalisation after the step, from
zeros and ones before it. `rounding` in the metadata says what bfloat16 may change: for the loss (""), and for each
gradient the length of the difference, the largest of 32 runs in which every number that a bfloat16 run rounds is moved
by a random part of the half step between two such numbers.
"""
import torch
import torch.nn.functional as F

import layer_language
from make_fixtures import Fixture


def layer(type, name=None, **fields):
    return {"type": type, **({"name": name} if name else {}), **fields}


def linear(name, width, **fields):
    return layer("linear", name, out_features=width, **fields)


def conv(name, channels, kernel=1, **fields):
    return layer("conv2d", name, out_channels=channels, kernel_size=kernel, **fields)


def on_images(*layers, input=(3, 5, 6), channels=4, classes=3):
    """Layers on an image of `channels` that a 1x1 convolution makes, then features and classes."""
    return list(input), [conv("first", channels), *layers, layer("flatten"), linear("last", classes)]


def on_rows(*layers, width=8, input=7, classes=4):
    return [input], [linear("first", width), *layers, linear("last", classes)]


def on_sequences(*layers, tokens=5, width=6, input=4, classes=3):
    """Layers on `tokens` of a width, then classes for each token."""
    return [tokens, input], [linear("first", width), *layers, linear("last", classes)]


def on_tokens(*layers, tokens=6, vocabulary=7, width=8, **embedding):
    """The same behind an embedding."""
    first = layer("embedding", "first", vocabulary=vocabulary, width=width, **embedding)
    return [tokens], [first, *layers, linear("last", vocabulary)]


def windows():
    yield "conv1d", ([3, 11], [
        layer("conv1d", "one", out_channels=4, kernel_size=3, padding=1),
        layer("conv1d", "two", out_channels=6, kernel_size=3, stride=2, dilation=2, groups=2, bias=False),
        layer("flatten"), linear("last", 3)])
    yield "pool1d", ([2, 12], [
        layer("conv1d", "one", out_channels=3, kernel_size=3), layer("max_pool1d", kernel_size=2),
        layer("conv1d", "two", out_channels=4, kernel_size=3, padding="same"),
        layer("avg_pool1d", kernel_size=3, stride=2, padding=1), layer("flatten"), linear("last", 3)])
    yield "conv2d_same", on_images(conv("two", 5, [3, 5], padding="same"), layer("relu"))
    yield "conv_transpose2d", on_images(
        layer("conv_transpose2d", "up", out_channels=5, kernel_size=3, stride=2, padding=1, output_padding=1),
        input=(2, 3, 4))
    yield "conv_transpose2d_uneven", on_images(
        layer("conv_transpose2d", "up", out_channels=6, kernel_size=[2, 3], stride=[1, 2], padding=[0, 1],
              dilation=[2, 1], groups=2, bias=False), input=(2, 3, 4))
    yield "depthwise_conv2d", on_images(
        layer("depthwise_conv2d", "deep", kernel_size=3, padding=1, stride=2), channels=5, input=(2, 6, 5))
    yield "depthwise_conv2d_multiplied", on_images(
        layer("depthwise_conv2d", "deep", kernel_size=[3, 2], multiplier=2, dilation=[1, 2], bias=False), channels=3)
    yield "separable_conv2d", on_images(
        layer("separable_conv2d", "both", out_channels=5, kernel_size=3, padding=1))
    yield "separable_conv2d_normed", on_images(
        layer("separable_conv2d", "both", out_channels=5, kernel_size=3, stride=2, padding=1, bias=False,
              norm="batch_norm", activation="relu6"))
    yield "adaptive_avg_pool2d", on_images(layer("adaptive_avg_pool2d", output_size=[3, 2]), input=(2, 5, 7))
    yield "adaptive_avg_pool2d_enlarged", on_images(layer("adaptive_avg_pool2d", output_size=4), input=(2, 3, 2))
    yield "global_avg_pool_image", ([3, 5, 6], [
        conv("first", 5, 3), layer("global_avg_pool"), linear("last", 4)])
    yield "global_avg_pool_sequence", ([5, 4], [linear("first", 6), layer("global_avg_pool"), linear("last", 3)])


def norms():
    yield "layer_norm", on_sequences(layer("layer_norm", "norm"))
    yield "layer_norm_no_bias", on_sequences(layer("layer_norm", "norm", bias=False, eps=1e-3))
    yield "layer_norm_plain", on_rows(layer("layer_norm", "norm", elementwise_affine=False))
    yield "layer_norm_image", on_images(layer("layer_norm", "norm"))
    yield "rms_norm", on_sequences(layer("rms_norm", "norm"))
    yield "rms_norm_flat", on_rows(layer("rms_norm", "norm", eps=0.01))
    for groups in [1, 2, 6]:
        yield f"group_norm_{groups}", on_images(layer("group_norm", "norm", groups=groups), channels=6)
    yield "batch_norm_image", on_images(layer("batch_norm", "norm"), layer("relu"))
    yield "batch_norm_flat", on_rows(layer("batch_norm", "norm", momentum=0.3, eps=1e-3))
    yield "batch_norm_signal", ([2, 9], [
        layer("conv1d", "first", out_channels=3, kernel_size=3), layer("batch_norm", "norm"), layer("silu"),
        layer("flatten"), linear("last", 3)])


def pointwise():
    for name, fields in [
        ("relu", {}), ("relu6", {}), ("leaky_relu", {}), ("leaky_relu", {"negative_slope": 0.3}), ("gelu", {}),
        ("gelu", {"approximate": "tanh"}), ("silu", {}), ("sigmoid", {}), ("tanh", {}), ("hard_swish", {}),
    ]:
        suffix = "_" + str(*fields.values()).replace("0.", "") if fields else ""
        rows, layers = on_rows(layer(name, **fields), width=17)
        # Some features are far out, so that both flat ends of each curve are reached.
        layers.insert(1, layer("batch_norm", "spread"))
        yield name + suffix, (rows, layers)
        yield f"{name}{suffix}_image", on_images(layer(name, **fields), input=(2, 3, 3), channels=3)
    yield "softmax_flat", on_rows(layer("softmax"))
    yield "softmax_sequence", on_sequences(layer("softmax"))
    yield "softmax_image", on_images(layer("softmax"))


def joins():
    yield "residual", on_images(
        layer("residual", "around", layers=[
            conv("a", 4, 3, padding=1, bias=False), layer("batch_norm", "b"), layer("relu"),
            conv("c", 4, 3, padding=1)]), layer("relu"))
    yield "residual_projected", on_images(
        layer("residual", "around", layers=[
            conv("a", 5, 3, padding=1, stride=2, bias=False), layer("batch_norm", "b"), layer("relu"),
            conv("c", 5, 3, padding=1, bias=False), layer("batch_norm", "d")],
            shortcut=[conv("e", 5, 1, stride=2, bias=False), layer("batch_norm", "f")]), layer("relu"))
    yield "residual_nested", on_rows(
        layer("residual", "outer", layers=[
            linear("a", 8), layer("residual", "inner", layers=[layer("tanh"), linear("b", 8)]), layer("gelu")]))
    yield "squeeze_excite", on_images(layer("squeeze_excite", "gate", reduction=3), channels=6)
    yield "squeeze_excite_silu", on_images(layer("squeeze_excite", "gate", activation="silu"), channels=8)
    yield "sequential", on_rows(layer("sequential", "group", layers=[linear("a", 6), layer("relu"), linear("b", 5)]))
    yield "add_three", on_rows(
        linear("a", 8, inputs="first"), linear("b", 8, inputs="first"), layer("add", "sum", inputs=["first", "a", "b"]))
    yield "multiply_alike", on_rows(
        linear("a", 8, inputs="first"), layer("multiply", "product", inputs=["first", "a"]))
    yield "multiply_squared", on_images(layer("multiply", "product", inputs=["first", "first"]))
    yield "multiply_channels", on_images(
        layer("global_avg_pool", "mean"), layer("sigmoid", "gate"),
        layer("multiply", "product", inputs=["first", "gate"]))
    yield "concat_images", on_images(
        conv("a", 3, 3, padding=1, inputs="first"), conv("b", 5, 1, inputs="first"),
        layer("concat", "both", inputs=["a", "first", "b"]))
    yield "concat_widths", on_sequences(
        linear("a", 3, inputs="first"), layer("concat", "both", dim=-1, inputs=["first", "a"]))
    yield "concat_tokens", ([5, 4], [
        linear("first", 6), linear("a", 6, inputs="first"), layer("concat", "both", inputs=["a", "first"]),
        linear("last", 3)])
    yield "concat_flat", on_rows(linear("a", 3, inputs="input"), layer("concat", "both", inputs=["a", "first"]))
    yield "u_net", on_images(
        conv("down", 6, 3, padding=1), layer("relu", "skip"), layer("max_pool2d", kernel_size=2),
        conv("deep", 8, 3, padding=1), layer("relu"),
        layer("conv_transpose2d", "up", out_channels=6, kernel_size=2, stride=2),
        layer("concat", "joined", inputs=["up", "skip"]), conv("out", 3, 3, padding=1), input=(2, 4, 6))


def shapes():
    yield "reshape_flat", on_rows(layer("reshape", shape=[2, 3, 4]), conv("a", 5, 2), layer("flatten"), width=24)
    yield "reshape_image", ([2, 4, 3], [
        conv("first", 6), layer("reshape", shape=[6, 12]), layer("transpose", dims=[1, 0]), linear("a", 5),
        layer("flatten"), linear("last", 3)])
    yield "transpose_image", on_images(layer("transpose", dims=[2, 0, 1]), conv("a", 3, 2), input=(2, 4, 3))
    yield "transpose_sequence", on_sequences(
        layer("transpose", dims=[1, 0]), linear("a", 7), layer("gelu"), layer("transpose", dims=[1, 0]), linear("b", 4))
    yield "flatten_partly", ([2, 4, 6], [
        conv("first", 5, 2, stride=2), layer("flatten", start_dim=1), layer("transpose", dims=[1, 0]),
        layer("class_token", "class"), layer("positional_embedding", "place"), layer("layer_norm", "norm"),
        layer("select_token"), linear("last", 3)])
    yield "select_last", ([5, 4], [linear("first", 6), layer("select_token", index=-1), linear("last", 3)])


def attentions():
    def attention(**fields):
        return layer("multi_head_attention", "attention", **fields)

    def block(**fields):
        return layer("transformer_block", "block", heads=2, mlp_ratio=2, **fields)

    yield "embedding", on_tokens(layer("positional_embedding", "place"), layer("tanh"))
    yield "attention", on_sequences(attention(heads=2))
    yield "attention_causal", on_sequences(attention(heads=3, causal=True, bias=False), tokens=7)
    yield "attention_one_head", on_tokens(attention(heads=1, causal=True))
    yield "attention_long", on_sequences(attention(heads=1, causal=True), tokens=67, width=4, input=2)
    yield "attention_rotary", on_sequences(attention(heads=2, causal=True, rotary=10000), width=8)
    yield "attention_rotary_base", on_sequences(attention(heads=1, rotary=10), width=6, tokens=9)
    yield "block_pre_norm", on_tokens(block(causal=True, bias=False))
    yield "block_post_norm", on_sequences(block(pre_norm=False))
    yield "block_rms", on_sequences(block(norm="rms_norm", activation="silu", rotary=10000, eps=1e-6), width=8)
    yield "tied_head", ([6], [
        layer("embedding", "wte", vocabulary=7, width=8), layer("positional_embedding", "wpe"), block(causal=True, bias=False),
        layer("layer_norm", "ln", bias=False), linear("head", 7, bias=False, tied_to="wte")])


def paddings():
    def attention(**fields):
        return layer("multi_head_attention", "attention", **fields)

    yield "attention_padded", on_tokens(attention(heads=2), tokens=9, padding_idx=0)
    yield "attention_padded_causal", on_tokens(attention(heads=1, causal=True), tokens=7, padding_idx=2)
    yield "attention_padded_long", on_tokens(attention(heads=1), tokens=67, width=4, padding_idx=0)
    yield "block_padded", ([9], [
        layer("embedding", "first", vocabulary=7, width=8, padding_idx=0), layer("positional_embedding", "place"),
        layer("transformer_block", "block", heads=2, mlp_ratio=2), layer("layer_norm", "norm"),
        layer("global_avg_pool"), linear("last", 4)])


def add_case(fixture, case, input, layers):
    description = {"input": input, "layers": layers}
    model = layer_language.Model(description, fixture.random)
    batch = 3
    if layers[0]["type"] == "embedding":
        x = torch.randint(layers[0]["vocabulary"], (batch, *input), generator=fixture.random)
        if "padding_idx" in layers[0]:  # one sample is whole, one has a token alone
            x[1, -3:] = x[2, 1:] = layers[0]["padding_idx"]
    else:
        x = fixture.normal(batch, *input, scale=1.5)
    output = model(x)
    target = torch.randint(output.shape[-1], output.shape[:-1], generator=fixture.random)
    if target.dim() == 2:
        target[1, 0] = target[2, -1] = -100
    loss = F.cross_entropy(output.flatten(0, -2), target.flatten())
    names = sorted(model.parameters)
    parameters = [model.parameters[name] for name in names]
    gradients = torch.autograd.grad(loss, parameters)
    tensors = dict(input=x, target=target, output=output, loss=loss.reshape(1))
    for name, gradient in zip(names, gradients):
        tensors["parameter/" + name], tensors["gradient/" + name] = model.parameters[name], gradient
    for name, values in model.statistics.items():
        tensors["statistic/" + name] = values
    exact = [loss, *gradients]
    spread = [0.0] * len(exact)
    random = torch.Generator().manual_seed(1)
    model.stored = lambda x: Moved.apply(x, random, True)
    model.read = lambda weight: Moved.apply(weight, random, False)
    for _ in range(32):
        moved = F.cross_entropy(model(x).flatten(0, -2), target.flatten())
        found = [moved, *torch.autograd.grad(moved, parameters)]
        spread = [max(s, (a - b).norm().item()) for s, a, b in zip(spread, found, exact)]
    rounding = {name: float(f"{value:.2g}") for name, value in zip(["", *names], spread)}
    fixture.add(case, {"model": description, "rounding": rounding}, **tensors)


class Moved(torch.autograd.Function):
    """A number that is stored as bfloat16, and its gradient, where it is stored too."""

    @staticmethod
    def forward(ctx, x, random, moves_gradient):
        ctx.random, ctx.moves_gradient = random, moves_gradient
        return x + error(x, random)

    @staticmethod
    def backward(ctx, gradient):
        return gradient + error(gradient, ctx.random) if ctx.moves_gradient else gradient, None, None


def error(x, random):
    """Up to half a step: bfloat16 has eight digits."""
    _, exponents = torch.frexp(x)
    return torch.ldexp((torch.rand(x.shape, generator=random, dtype=x.dtype) - 0.5) * 2**-8, exponents)


def check_attention():
    """Our reading of PyTorch's MultiheadAttention against the original."""
    torch.manual_seed(0)
    original = torch.nn.MultiheadAttention(6, 2, batch_first=True, dtype=torch.float64)
    ours = layer_language.Model({"layers": []}, None)
    ours.parameters = {"a." + name: parameter for name, parameter in original.named_parameters()}
    x = torch.randn(3, 5, 6, dtype=torch.float64)
    for causal in [False, True]:
        mask = torch.nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64) if causal else None
        expected, _ = original(x, x, x, attn_mask=mask, need_weights=False)
        found = ours.multi_head_attention({"heads": 2, "causal": causal}, "a", x)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        ours.lengths = torch.tensor([5, 3, 1])
        expected, _ = original(x, x, x, attn_mask=None if mask is None else mask < 0, need_weights=False,
                               key_padding_mask=torch.arange(5) >= ours.lengths[:, None])
        found = ours.multi_head_attention({"heads": 2, "causal": causal}, "a", x)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        ours.lengths = None


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    check_attention()
    models = Fixture()
    for make in [windows, norms, pointwise, joins, shapes, attentions, paddings]:
        for case, (input, layers) in make():
            add_case(models, case, input, layers)
    models.write("models")
