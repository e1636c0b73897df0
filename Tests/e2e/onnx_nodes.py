"""Writes the onnx package's own node test cases as models of ours: `onnx_nodes.py FOLDER`, run by onnx-python.

For each case that the layer language can say there are `NAME.json`, the model, and `NAME.safetensors` with `input`,
`expected` and the parameters; `cases.json` tells why every other case of those operators cannot be said.

What lies before a sample's axes in ONNX is our batch. Where an operator works on that axis too, the whole tensor is one
sample. A second operand is packed beside the first and picked out of it by a product with ones and zeros, which is exact.
"""

import json
import os
import struct
import sys
import warnings

import numpy as np

warnings.simplefilter("ignore")  # the package's own cases divide by zero and overflow on purpose

import onnx  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402
from onnx.backend.test.case.node import collect_testcases  # noqa: E402
from onnx.backend.test.loader import load_model_tests  # noqa: E402

MACS_MAX = 1 << 28


class Unsupported(Exception):
    """Why a case cannot be written in the layer language."""


class Case:
    """One node's attributes, operands and expected outputs."""

    def __init__(self, name, node, operands, outputs):
        self.name, self.node, self.outputs = name, node, outputs
        self.attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        self.operands = [operands.get(name) for name in node.input]

    def attribute(self, name, default=None):
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def operand(self, index):
        return self.operands[index] if index < len(self.operands) else None

    @property
    def x(self):
        return self.operands[0]

    @property
    def y(self):
        return self.outputs[0]


def need(condition, reason):
    if not condition:
        raise Unsupported(reason)


def model(layers, x, expected, parameters=None):
    """A converted case: `x` and `expected` are [batch, ...]."""
    need(x.ndim - 1 in (1, 2, 3), f"samples of {x.ndim - 1} axes")
    need(x.dtype in (np.float32, np.int64), f"{x.dtype} elements")
    need(x.size and expected.size, "a tensor without elements")
    layers = [layer | {"name": layer.get("name", f"node{index}")} for index, layer in enumerate(layers)]
    description = {"input": list(x.shape[1:]), "layers": layers}
    tensors = {"input": x, "expected": expected.astype(np.float32)}
    for name, value in (parameters or {}).items():
        tensors[name] = np.asarray(value, np.float32)
    return description, tensors


def image_or_rows(x):
    """[batch, ...] with at most three sample axes."""
    return x.reshape(1, -1) if x.ndim == 1 else x if x.ndim <= 4 else x.reshape(x.shape[0], -1)


# Windows


def window(case, rank):
    """Kernel, stride, dilation and the symmetric padding of a sliding window, all of them lists of `rank`."""
    kernel = case.attribute("kernel_shape") or list(case.operand(1).shape[2:])
    stride = list(case.attribute("strides", [1] * rank))
    dilation = list(case.attribute("dilations", [1] * rank))
    begin, end = pads(case, kernel, stride, dilation, rank)
    need(begin == end, f"padding {begin} before and {end} behind")
    return list(kernel), stride, dilation, begin


def pads(case, kernel, stride, dilation, rank):
    mode = case.attribute("auto_pad", "NOTSET")
    if mode == "VALID":
        return [0] * rank, [0] * rank
    if mode.startswith("SAME"):
        totals = []
        for axis in range(rank):
            inside, reach = case.x.shape[2 + axis], (kernel[axis] - 1) * dilation[axis] + 1
            totals.append(max(0, (-(-inside // stride[axis]) - 1) * stride[axis] + reach - inside))
        less, more = [t // 2 for t in totals], [t - t // 2 for t in totals]
        return (less, more) if mode == "SAME_UPPER" else (more, less)
    both = list(case.attribute("pads", [0] * 2 * rank))
    return both[:rank], both[rank:]


def scalar_or_list(values):
    return values[0] if len(values) == 1 else values


def spatial_rank(case):
    rank = case.x.ndim - 2
    need(rank in (1, 2), f"{rank} spatial axes")
    return rank


def conv(case):
    rank, weight, bias = spatial_rank(case), case.operand(1), case.operand(2)
    kernel, stride, dilation, padding = window(case, rank)
    groups = case.attribute("group", 1)
    macs = case.y.size * weight[0].size
    need(macs <= MACS_MAX, f"{macs} multiply-accumulates")
    common = {"kernel_size": scalar_or_list(kernel), "stride": scalar_or_list(stride),
              "dilation": scalar_or_list(dilation), "padding": scalar_or_list(padding), "bias": bias is not None}
    channels = case.x.shape[1]
    if rank == 2 and groups == channels > 1:
        layer = {"type": "depthwise_conv2d", "multiplier": weight.shape[0] // channels}
    else:
        layer = {"type": f"conv{rank}d", "out_channels": weight.shape[0], "groups": groups}
    parameters = {"node0.weight": weight} | ({"node0.bias": bias} if bias is not None else {})
    return model([layer | common], case.x, case.y, parameters)


def conv_transpose(case):
    rank, weight, bias = spatial_rank(case), case.operand(1), case.operand(2)
    kernel, stride, dilation, (padding, extra) = window_transposed(case, rank)
    x, y = case.x, case.y
    if rank == 1:  # A signal is an image of one row.
        kernel, stride, dilation = [1] + kernel, [1] + stride, [1] + dilation
        padding, extra = [0] + padding, [0] + extra
        x, y, weight = x[:, :, None], y[:, :, None], weight[:, :, None]
    layer = {"type": "conv_transpose2d", "out_channels": weight.shape[1] * case.attribute("group", 1),
             "kernel_size": kernel, "stride": stride, "dilation": dilation, "padding": padding,
             "output_padding": extra, "groups": case.attribute("group", 1), "bias": bias is not None}
    parameters = {"node0.weight": weight} | ({"node0.bias": bias} if bias is not None else {})
    return model([layer], x, y, parameters)


def window_transposed(case, rank):
    """As `window`, but the padding is (taken off on both sides, added behind)."""
    kernel = case.attribute("kernel_shape") or list(case.operand(1).shape[2:])
    stride = list(case.attribute("strides", [1] * rank))
    dilation = list(case.attribute("dilations", [1] * rank))
    begin, extra = [], []
    given = list(case.attribute("pads", [0] * 2 * rank))
    for axis in range(rank):
        full = stride[axis] * (case.x.shape[2 + axis] - 1) + (kernel[axis] - 1) * dilation[axis] + 1
        cut = full - case.y.shape[2 + axis]  # taken off in total
        before = given[axis] if "pads" in case.attributes else max(cut, 0) // 2
        if before == 0 and cut > 0:
            raise Unsupported("the end is cut off, not the begin")
        begin.append(before)
        extra.append(2 * before - cut)
    need(all(0 <= more < max(s, d) for more, s, d in zip(extra, stride, dilation)),
         f"{begin} taken off before and {[b - e for b, e in zip(begin, extra)]} behind")
    return list(kernel), stride, dilation, (begin, extra)


def pool(case):
    rank = spatial_rank(case)
    need(case.x.dtype == np.float32, f"{case.x.dtype} elements")
    kernel, stride, dilation, padding = window(case, rank)
    need(all(d == 1 for d in dilation), "pooling with dilation")
    need(all(2 * p <= k for p, k in zip(padding, kernel)), "padding of more than half of the kernel")
    floor = [(case.x.shape[2 + i] + 2 * padding[i] - kernel[i]) // stride[i] + 1 for i in range(rank)]
    need(list(case.y.shape[2:]) == floor, "windows that reach over the end (ceil_mode)")
    need(case.x.size <= 1 << 16, f"{case.x.size} elements")
    kind = "max" if case.node.op_type == "MaxPool" else "avg"
    layer = {"type": f"{kind}_pool2d", "kernel_size": kernel, "stride": stride, "padding": padding}
    if kind == "avg":
        layer["count_include_pad"] = bool(case.attribute("count_include_pad", 0))
    if rank == 2:
        return model([layer], case.x, case.y)
    # A signal is an image of one row.
    layer |= {"kernel_size": [1] + kernel, "stride": [1] + stride, "padding": [0] + padding}
    return model([layer], case.x[:, :, None], case.y[:, :, None])


def global_pool(case):
    spatial_rank(case)
    return model([{"type": "global_avg_pool"}], case.x, case.y.reshape(case.y.shape[:2]))


# Normalisation


def batch_norm(case):
    x, scale, shift, mean, variance = case.operands[:5]
    need(x.ndim in (2, 4) or x.ndim == 3, f"{x.ndim - 2} spatial axes")
    need(not case.attribute("training_mode", 0), "statistics of the batch: checked by the unit tests")
    y = case.y
    if x.ndim == 3:  # A signal is an image of one row.
        x, y = x[:, :, None], y[:, :, None]
    layer = {"type": "batch_norm", "eps": case.attribute("epsilon", 1e-5)}
    return model([layer], x, y, {"node0.weight": scale, "node0.bias": shift, "node0.running_mean": mean,
                                 "node0.running_var": variance})


def row_norm(case):
    """Layer or RMS normalisation over the axes from `axis`: they become the last one."""
    x, scale, shift = case.x, case.operand(1), case.operand(2)
    axis = case.attribute("axis", -1) % x.ndim
    width = int(np.prod(x.shape[axis:]))
    need(scale.size == width, "a scale that is broadcast")
    shape = [1, width] if axis == 0 else [x.shape[0], int(np.prod(x.shape[1:axis])), width]
    if axis == 1:
        shape = [x.shape[0], width]
    layer = {"eps": case.attribute("epsilon", 1e-5)}
    parameters = {"node0.weight": scale.reshape(-1)}
    if case.node.op_type == "LayerNormalization":
        layer |= {"type": "layer_norm", "bias": shift is not None}
        if shift is not None:
            parameters["node0.bias"] = shift.reshape(-1)
    else:
        layer |= {"type": "rms_norm"}
    return model([layer], x.reshape(shape), case.y.reshape(shape), parameters)


def group_norm(case):
    x, scale, shift = case.operands[:3]
    need(x.ndim == 4, f"{x.ndim - 2} spatial axes")
    need(scale.size == x.shape[1], "one scale for each group")
    layer = {"type": "group_norm", "groups": case.attribute("num_groups"), "eps": case.attribute("epsilon", 1e-5)}
    return model([layer], x, case.y, {"node0.weight": scale, "node0.bias": shift})


# Element by element


def activation(case):
    kind = case.node.op_type
    layer = {"Relu": {"type": "relu"}, "Sigmoid": {"type": "sigmoid"}, "Tanh": {"type": "tanh"},
             "HardSwish": {"type": "hard_swish"}, "Gelu": {"type": "gelu"}, "LeakyRelu": {"type": "leaky_relu"},
             "Swish": {"type": "silu"}}[kind]
    if kind == "Gelu":
        layer["approximate"] = case.attribute("approximate", "none")
    if kind == "LeakyRelu":
        layer["negative_slope"] = case.attribute("alpha", 0.01)
    need(kind != "Swish" or case.attribute("alpha", 1.0) == 1.0, "a factor in the sigmoid")
    return model([layer], image_or_rows(case.x), image_or_rows(case.y))


def clip(case):
    low, high = case.operand(1), case.operand(2)
    low = case.attribute("min") if low is None else low
    high = case.attribute("max") if high is None else high
    need(low == 0 and (high is None or high == 6), "limits other than ReLU's")
    layer = {"type": "relu" if high is None else "relu6"}
    return model([layer], image_or_rows(case.x), image_or_rows(case.y))


def softmax(case):
    x, y = case.x, case.y
    axis = case.attribute("axis", -1) % x.ndim
    if axis == x.ndim - 1:
        shape = x.shape if x.ndim == 3 else (-1, x.shape[-1])
    else:  # An image's softmax is over its channels.
        shape = (int(np.prod(x.shape[:axis])), x.shape[axis], int(np.prod(x.shape[axis + 1:])), 1)
    return model([{"type": "softmax"}], x.reshape(shape), y.reshape(shape))


def pack(first, second):
    """Two tensors [batch, ...] side by side, and layers `a` and `b` that give each back."""
    need(first.dtype == np.float32, f"{first.dtype} elements")
    need(first.shape == second.shape, "operands of different shapes")
    axis = 1 if first.ndim == 4 else first.ndim - 1
    count = first.shape[axis]
    identity, zeros = np.eye(count), np.zeros((count, count))
    weights = [np.concatenate(pair, 1) for pair in ((identity, zeros), (zeros, identity))]
    if first.ndim == 4:
        layer = {"type": "conv2d", "out_channels": count, "kernel_size": 1, "bias": False}
        weights = [weight[:, :, None, None] for weight in weights]
    else:
        layer = {"type": "linear", "out_features": count, "bias": False}
    layers = [layer | {"name": name, "inputs": "input"} for name in "ab"]
    parameters = {f"{name}.weight": weight for name, weight in zip("ab", weights)}
    return layers, np.concatenate([first, second], axis), parameters


def arithmetic(case):
    first, second = case.operands[:2]
    need(len(case.operands) == 2, f"{len(case.operands)} operands")
    layer = {"type": "multiply" if case.node.op_type == "Mul" else "add", "inputs": ["a", "b"]}
    second = np.broadcast_to(second, first.shape)
    layers, x, parameters = pack(image_or_rows(first), image_or_rows(second))
    return model(layers + [layer], x, image_or_rows(case.y), parameters)


def concat(case):
    need(len(case.operands) == 2, f"{len(case.operands)} operands")
    axis = case.attribute("axis") % case.x.ndim
    if axis == 0:  # Not the batch: one sample.
        first, second, y = (tensor[None] for tensor in (*case.operands, case.y))
    else:
        first, second, y, axis = *case.operands, case.y, axis - 1
    dim = {1: {0: 0}, 2: {0: 0, 1: -1}, 3: {0: 0}}[first.ndim - 1].get(axis)
    need(dim is not None, f"axis {axis} of an image")
    layers, x, parameters = pack(first, second)
    return model(layers + [{"type": "concat", "dim": dim, "inputs": ["a", "b"]}], x, y, parameters)


# Products


def gemm(case):
    a, b, c = case.x, case.operand(1), case.operand(2)
    alpha, beta = case.attribute("alpha", 1.0), case.attribute("beta", 1.0)
    a = a.T if case.attribute("transA", 0) else a
    weight = alpha * (b if case.attribute("transB", 0) else b.T)
    parameters = {"node0.weight": weight}
    if c is not None:
        need(c.ndim < 2 or c.shape[0] == 1, "a constant for each row")
        parameters["node0.bias"] = np.broadcast_to(beta * c.reshape(-1), weight.shape[:1])
    layer = {"type": "linear", "out_features": weight.shape[0], "bias": c is not None}
    return model([layer], a, case.y, parameters)


def matmul(case):
    a, b = case.operands
    need(b.ndim == 2, "two batches of matrices")
    layer = {"type": "linear", "out_features": b.shape[1], "bias": False}
    return model([layer], a, case.y, {"node0.weight": b.T})


def gather(case):
    table, places = case.operands
    need(case.attribute("axis", 0) == 0, "an axis other than the first")
    need((places >= 0).all(), "places counted from the end")
    places = places if places.ndim == 2 else places[None]
    table = table.reshape(len(table), -1)
    layer = {"type": "embedding", "vocabulary": len(table), "width": table.shape[1]}
    expected = case.y.reshape(*places.shape, table.shape[1])
    return model([layer], places.astype(np.int64), expected, {"node0.weight": table})


# Shapes


def flatten(case):
    axis = case.attribute("axis", 1)
    axis = axis + case.x.ndim if axis < 0 else axis
    x = case.x
    if axis <= 1:
        layers = [{"type": "flatten"}]
        x = x if axis == 1 else x[None]
    else:
        layers = [{"type": "flatten", "start_dim": 0, "end_dim": axis - 2},
                  {"type": "flatten", "start_dim": 1}] if axis > 2 else [{"type": "flatten", "start_dim": 1}]
        if axis == x.ndim - 1:
            layers = layers[:1]
    return model(layers, x, case.y.reshape(x.shape[0], -1) if axis <= 1 else case.y.reshape(x.shape[0], -1, case.y.shape[1]))


def transpose(case):
    permutation = list(case.attribute("perm", reversed(range(case.x.ndim))))
    return model([{"type": "transpose", "dims": permutation}], case.x[None], case.y[None])


def reshape(case):
    x, y = (case.x, case.y) if case.x.shape[0] == case.y.shape[0] else (case.x[None], case.y[None])
    return model([{"type": "reshape", "shape": list(y.shape[1:])}], x, y)


def reduce_mean(case):
    axes = case.operand(1) if len(case.operands) > 1 else case.attribute("axes")
    need(axes is not None, "a mean over the batch")
    axes = sorted(int(axis) % case.x.ndim for axis in np.atleast_1d(axes))
    need(axes in ([1], [2, 3]) and case.x.ndim == (3 if axes == [1] else 4), f"axes {axes}")
    kept = [extent for axis, extent in enumerate(case.x.shape) if axis not in axes]
    return model([{"type": "global_avg_pool"}], case.x, case.y.reshape(kept))


CONVERTERS = {
    "Conv": conv, "ConvTranspose": conv_transpose, "AveragePool": pool, "MaxPool": pool,
    "GlobalAveragePool": global_pool, "BatchNormalization": batch_norm, "LayerNormalization": row_norm,
    "RMSNormalization": row_norm, "GroupNormalization": group_norm, "Relu": activation, "LeakyRelu": activation,
    "Sigmoid": activation, "Tanh": activation, "Gelu": activation, "HardSwish": activation, "Swish": activation,
    "Clip": clip, "Softmax": softmax, "Add": arithmetic, "Mul": arithmetic, "Concat": concat, "Gemm": gemm,
    "MatMul": matmul, "Gather": gather, "Flatten": flatten, "Transpose": transpose, "Reshape": reshape,
    "ReduceMean": reduce_mean,
}


def find():
    """Every case of one node whose operator is among ours."""
    for test in collect_testcases(None):
        nodes = test.model.graph.node
        if len(nodes) == 1 and nodes[0].op_type in CONVERTERS and test.data_sets:
            inputs, outputs = test.data_sets[0]
            operands = {value.name: array for value, array in zip(test.model.graph.input, inputs)}
            yield Case(test.name, nodes[0], operands, list(outputs))
    for kind in ("pytorch-converted", "pytorch-operator"):
        for test in load_model_tests(kind=kind):
            graph = onnx.load(os.path.join(test.model_dir, "model.onnx")).graph
            if len(graph.node) != 1 or graph.node[0].op_type not in CONVERTERS:
                continue
            operands = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
            given = [value.name for value in graph.input if value.name not in operands]
            folder = os.path.join(test.model_dir, "test_data_set_0")
            operands |= {name: read(os.path.join(folder, f"input_{index}.pb")) for index, name in enumerate(given)}
            yield Case(test.name, graph.node[0], operands, [read(os.path.join(folder, "output_0.pb"))])


def read(path):
    with open(path, "rb") as file:
        return numpy_helper.to_array(onnx.TensorProto.FromString(file.read()))


def write(path, tensors):
    """A safetensors file."""
    kinds = {"float32": "F32", "int64": "I64"}
    header, body = {}, b""
    for name, array in tensors.items():
        data = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": kinds[str(array.dtype)], "shape": list(array.shape),
                        "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body)


def main(folder):
    written, refused = {}, {}
    for case in sorted(find(), key=lambda case: case.name):
        try:
            description, tensors = CONVERTERS[case.node.op_type](case)
        except Unsupported as reason:
            refused[case.name] = f"{case.node.op_type}: {reason}"
            continue
        with open(os.path.join(folder, f"{case.name}.json"), "w", encoding="utf-8") as file:
            json.dump(description, file)
        write(os.path.join(folder, f"{case.name}.safetensors"), tensors)
        written[case.name] = case.node.op_type
    with open(os.path.join(folder, "cases.json"), "w", encoding="utf-8") as file:
        json.dump({"written": written, "refused": refused}, file, indent=1)


if __name__ == "__main__":
    main(sys.argv[1])
