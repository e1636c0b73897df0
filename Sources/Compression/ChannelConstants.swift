internal import Glibc
internal import Graph
internal import JSON
internal import Tensor

/// Which channels of which values are the same number for every input, in evaluation.
///
/// Known of a value: nil, or the constant, of element `e` of its memory at `e % count`.
struct ChannelConstants {
    let graph: Graph
    let parameters: [[Float]]
    private(set) var known: [[Double?]]

    init(_ graph: Graph, parameters: [[Float]]) {
        (self.graph, self.parameters) = (graph, parameters)
        known = [[Double?]](repeating: [nil], count: graph.values.count)
        for node in graph.nodes { known[node.output.index] = follow(node) }
    }

    /// What is known of a value's channels, of which there are `period`.
    func channels(_ value: Graph.ValueID, period: Int) -> [Double?] {
        let known = known[value.index]
        if period % known.count == 0 { return (0..<period).map { known[$0 % known.count] } }
        guard known.count % period == 0 else { return [Double?](repeating: nil, count: period) }
        return (0..<period).map { channel in
            let places = stride(from: channel, to: known.count, by: period)
            return places.allSatisfy { known[$0] == known[channel] } ? known[channel] : nil
        }
    }

    func channels(_ value: Graph.ValueID) -> [Double?] { channels(value, period: graph[value].channels) }

    private func follow(_ node: Graph.Node) -> [Double?] {
        let input = node.inputs[0]
        switch node.operation {
        case .convolution(let window): return filtered(node, window)
        case .transposedConvolution: return unfiltered(node)
        case .linear: return filtered(node, nil)
        case .activation(let kind): return known[input.index].map { $0.map { kind.value(at: $0) } }
        case .scale(let factor): return known[input.index].map { $0.map { factor * $0 } }
        case .dropout, .view: return known[input.index]
        case .adaptiveAveragePooling, .mean, .selectToken: return channels(input)
        case .pooling(let pool): return channels(input).map { pooled($0, pool) }
        case .batchNorm(let norm): return normed(node, norm)
        case .add:
            return joined(node) { left, right in left.flatMap { left in right.map { left + $0 } } }
        case .multiply:
            return joined(node) { left, right in
                if left == 0 || right == 0 { return 0 }
                return left.flatMap { left in right.map { left * $0 } }
            }
        case .concat(let isInner):
            return isInner ? node.inputs.flatMap { channels($0) } : [nil]
        case .permute(let axes):
            guard case .flattened(let image) = graph[input].order, axes == Array(axes.indices) else {
                return [nil]
            }
            let places = image.elementCount / image[0]
            return channels(input, period: image[0]).flatMap { [Double?](repeating: $0, count: places) }
        case .attention:
            // Of each head's values a mean, whatever weighs it.
            let projection = channels(input)
            return Array(projection[(projection.count / 3 * 2)...])
        case .rotary:
            // Queries and keys depend on their place.
            let projection = channels(input)
            let turned = projection.count / 3 * 2
            return [Double?](repeating: nil, count: turned) + projection[turned...]
        case .softmax, .layerNorm, .rmsNorm, .groupNorm, .embedding, .lengths, .positions, .prependToken:
            return [nil]
        }
    }

    private func values(_ role: Graph.Parameter.Role, of node: Graph.Node) -> [Float]? {
        graph.parameter(role, of: node).map { parameters[$0.index] }
    }

    /// Filters that are all zero leave their bias.
    private func filtered(_ node: Graph.Node, _ window: Operation.Window?) -> [Double?] {
        guard let id = graph.weight(of: node) else { return [nil] }
        let (weight, bias) = (parameters[id.index], values(.bias, of: node))
        let count = graph[id].shape[0]
        let size = weight.count / count
        let isDepthwise = window.map { $0.groups > 1 && $0.groups == graph[node.inputs[0]].channels } ?? false
        let inputs = isDepthwise ? channels(node.inputs[0]) : []
        return (0..<count).map { channel in
            let filter = weight[(channel * size)..<((channel + 1) * size)]
            let constant = bias.map { Double($0[channel]) } ?? 0
            if filter.allSatisfy({ $0 == 0 }) { return constant }
            guard isDepthwise, let window, let input = inputs[channel / (count / inputs.count)] else {
                return nil
            }
            // Zeros of the padding are seen at the border alone, but for an input that is zero too.
            guard input == 0 || window.padding == Pair(0, 0) else { return nil }
            return constant + input * filter.reduce(0) { $0 + Double($1) }
        }
    }

    private func unfiltered(_ node: Graph.Node) -> [Double?] {
        guard let id = graph.weight(of: node), case .transposedConvolution(let window) = node.operation,
            window.groups == 1
        else { return [nil] }
        let (weight, bias, shape) = (parameters[id.index], values(.bias, of: node), graph[id].shape)
        let taps = shape.elementCount / (shape[0] * shape[1])
        var isZero = [Bool](repeating: true, count: shape[1])
        for element in weight.indices where weight[element] != 0 { isZero[element / taps % shape[1]] = false }
        return isZero.enumerated().map { channel, isZero in
            if isZero { return bias.map { Double($0[channel]) } ?? 0 }
            return nil
        }
    }

    private func pooled(_ constant: Double?, _ pool: Operation.Pooling) -> Double? {
        switch pool.kind {
        case .maximum: constant
        case .average(let countsPadding):
            constant == 0 || !countsPadding || pool.padding == Pair(0, 0) ? constant : nil
        }
    }

    private func normed(_ node: Graph.Node, _ norm: Operation.BatchNorm) -> [Double?] {
        guard let scale = values(.scale, of: node), let shift = values(.shift, of: node),
            let mean = values(.runningMean, of: node), let variance = values(.runningVariance, of: node)
        else { return [nil] }
        return channels(node.inputs[0]).enumerated().map { channel, constant in
            if scale[channel] == 0 { return Double(shift[channel]) }
            guard let constant else { return nil }
            let deviation = (Double(variance[channel]) + norm.epsilon).squareRoot()
            return Double(scale[channel]) * (constant - Double(mean[channel])) / deviation
                + Double(shift[channel])
        }
    }

    private func joined(
        _ node: Graph.Node, _ body: (Double?, Double?) -> Double?
    ) -> [Double?] {
        var (left, right) = (known[node.inputs[0].index], known[node.inputs[1].index])
        if graph[node.inputs[0]].shape != graph[node.inputs[1]].shape {
            left = channels(node.inputs[0])
            right = channels(node.inputs[1], period: left.count)
        }
        let count = max(left.count, right.count)
        guard count % left.count == 0, count % right.count == 0 else { return [nil] }
        return (0..<count).map { body(left[$0 % left.count], right[$0 % right.count]) }
    }
}

extension Operation.Activation {
    /// The function at a number, as PyTorch defines it.
    func value(at x: Double) -> Double {
        switch self {
        case .relu: max(x, 0)
        case .relu6: min(max(x, 0), 6)
        case .leakyReLU(let slope): x >= 0 ? x : slope * x
        case .gelu(let tanh):
            tanh
                ? x / 2 * (1 + Glibc.tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
                : x / 2 * (1 + erf(x / 2.0.squareRoot()))
        case .silu: x / (1 + exp(-x))
        case .sigmoid: 1 / (1 + exp(-x))
        case .tanh: Glibc.tanh(x)
        case .hardSwish: x * min(max(x + 3, 0), 6) / 6
        }
    }
}
