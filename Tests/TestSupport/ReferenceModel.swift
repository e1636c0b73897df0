import Glibc
public import Graph
import JSON
public import Tensor

/// A model in plain double-precision loops, channels first as in PyTorch: the oracle for planned runs.
///
/// Dropout is left out, so that models with it can only be compared in evaluation.
public struct ReferenceModel {
    public let graph: Graph
    /// PyTorch's order.
    public var parameters: [[Double]]
    public var usesRunningStatistics = false

    public init(_ graph: Graph, parameters: [[Double]]) {
        self.graph = graph
        self.parameters = parameters
    }

    /// The outputs for a batch given channels first, one row after the other.
    public func forward(_ input: [Double], batch: Int) -> [Double] {
        var values: [Graph.ValueID: [Double]] = [graph.input: input]
        for node in graph.nodes {
            values[node.output] = compute(node, values[node.inputs[0]] ?? [], batch)
        }
        return values[graph.output] ?? []
    }

    /// Mean softmax cross-entropy over the batch.
    public func crossEntropy(_ input: [Double], _ labels: [Int32], smoothing: Double) -> Double {
        let output = forward(input, batch: labels.count)
        let classes = graph.outputShape.elementCount
        var total = 0.0
        for (row, label) in labels.enumerated() {
            let logits = output[(row * classes)..<((row + 1) * classes)]
            let maximum = logits.max() ?? 0
            let logSum = log(logits.reduce(0) { $0 + exp($1 - maximum) }) + maximum
            for (c, logit) in logits.enumerated() {
                let target = (c == Int(label) ? 1 - smoothing : 0) + smoothing / Double(classes)
                total -= target * (logit - logSum)
            }
        }
        return total / Double(labels.count)
    }

    /// Mean squared error against one-hot labels.
    public func squaredError(_ input: [Double], _ labels: [Int32]) -> Double {
        let output = forward(input, batch: labels.count)
        let width = graph.outputShape.elementCount
        var total = 0.0
        for (index, value) in output.enumerated() {
            let target = Int(labels[index / width]) == index % width ? 1.0 : 0
            total += (value - target) * (value - target)
        }
        return total / Double(output.count)
    }

    private func compute(_ node: Graph.Node, _ x: [Double], _ batch: Int) -> [Double] {
        switch node.kind {
        case .relu: x.map { max($0, 0) }
        case .flatten, .dropout: x
        case .conv2d(let conv): convolution(conv, node, x, batch)
        case .linear(let linear): product(linear, node, x, batch)
        case .maxPool2d(let pool): pooling(pool, node, x, batch, maximum: true)
        case .avgPool2d(let pool): pooling(pool, node, x, batch, maximum: false)
        case .batchNorm(let norm): batchNorm(norm, node, x, batch)
        }
    }

    private func weights(_ node: Graph.Node, _ role: Graph.Parameter.Role) -> [Double]? {
        graph.parameter(role, of: node).map { id in
            parameters[graph.parameterIDs.firstIndex(of: id) ?? 0]
        }
    }

    private func convolution(
        _ conv: LayerKind.Conv2d, _ node: Graph.Node, _ x: [Double], _ batch: Int
    ) -> [Double] {
        let (i, o) = (graph[node.inputs[0]].shape, graph[node.output].shape)
        let w = weights(node, .weight) ?? []
        let bias = weights(node, .bias)
        let (inPer, outPer) = (i[0] / conv.groups, o[0] / conv.groups)
        let (kh, kw) = (conv.kernelSize.first, conv.kernelSize.second)
        var y = [Double](repeating: 0, count: batch * o.elementCount)
        for n in 0..<batch {
            for oc in 0..<o[0] {
                for oy in 0..<o[1] {
                    for ox in 0..<o[2] {
                        var sum = bias?[oc] ?? 0
                        for ic in 0..<inPer {
                            let channel = oc / outPer * inPer + ic
                            for ky in 0..<kh {
                                let iy =
                                    oy * conv.stride.first - conv.padding.first + ky * conv.dilation.first
                                guard iy >= 0, iy < i[1] else { continue }
                                for kx in 0..<kw {
                                    let ix =
                                        ox * conv.stride.second - conv.padding.second + kx
                                        * conv.dilation.second
                                    guard ix >= 0, ix < i[2] else { continue }
                                    sum +=
                                        x[((n * i[0] + channel) * i[1] + iy) * i[2] + ix]
                                        * w[((oc * inPer + ic) * kh + ky) * kw + kx]
                                }
                            }
                        }
                        y[((n * o[0] + oc) * o[1] + oy) * o[2] + ox] = sum
                    }
                }
            }
        }
        return y
    }

    private func product(
        _ linear: LayerKind.Linear, _ node: Graph.Node, _ x: [Double], _ batch: Int
    ) -> [Double] {
        let inputs = graph[node.inputs[0]].shape[0]
        let w = weights(node, .weight) ?? []
        let bias = weights(node, .bias)
        return (0..<(batch * linear.outFeatures)).map { index in
            let (n, o) = (index / linear.outFeatures, index % linear.outFeatures)
            return (0..<inputs).reduce(bias?[o] ?? 0) { $0 + x[n * inputs + $1] * w[o * inputs + $1] }
        }
    }

    private func pooling(
        _ pool: LayerKind.Pool2d, _ node: Graph.Node, _ x: [Double], _ batch: Int, maximum: Bool
    ) -> [Double] {
        let (i, o) = (graph[node.inputs[0]].shape, graph[node.output].shape)
        return (0..<(batch * o.elementCount)).map { index in
            let (ox, oy, plane) = (index % o[2], index / o[2] % o[1], index / (o[1] * o[2]))
            var window: [Double] = []
            var padded = 0
            for ky in 0..<pool.kernelSize.first {
                for kx in 0..<pool.kernelSize.second {
                    let iy = oy * pool.stride.first - pool.padding.first + ky
                    let ix = ox * pool.stride.second - pool.padding.second + kx
                    if iy >= 0, iy < i[1], ix >= 0, ix < i[2] {
                        window.append(x[(plane * i[1] + iy) * i[2] + ix])
                    } else {
                        padded += 1
                    }
                }
            }
            if maximum { return window.max() ?? 0 }
            let count = window.count + (pool.countIncludePad ? padded : 0)
            return window.reduce(0, +) / Double(count)
        }
    }

    private func batchNorm(
        _ norm: LayerKind.BatchNorm, _ node: Graph.Node, _ x: [Double], _ batch: Int
    ) -> [Double] {
        let shape = graph[node.inputs[0]].shape
        let channels = shape[0]
        let area = shape.elementCount / channels
        let (scale, shift) = (weights(node, .scale) ?? [], weights(node, .shift) ?? [])
        var y = x
        for c in 0..<channels {
            let places = (0..<(batch * area)).map { ($0 / area * channels + c) * area + $0 % area }
            var mean = places.reduce(0) { $0 + x[$1] } / Double(places.count)
            var variance = places.reduce(0) { $0 + (x[$1] - mean) * (x[$1] - mean) } / Double(places.count)
            if usesRunningStatistics {
                mean = weights(node, .runningMean)?[c] ?? 0
                variance = weights(node, .runningVariance)?[c] ?? 1
            }
            for place in places {
                y[place] = scale[c] * (x[place] - mean) / (variance + norm.epsilon).squareRoot() + shift[c]
            }
        }
        return y
    }
}

/// Images from channels first, as PyTorch has them, to channels last, as the engine does.
public func channelsLast(_ values: [Double], batch: Int, shape: Shape) -> [Double] {
    guard shape.rank == 3 else { return values }
    let (c, area) = (shape[0], shape[1] * shape[2])
    return (0..<values.count).map { index in
        let (channel, place, n) = (index % c, index / c % area, index / (c * area))
        return values[(n * c + channel) * area + place]
    }
}
