public import Graph
import Tensor

/// A model in plain double-precision loops: the oracle for planned runs.
///
/// Every value is one sample behind the other, each in PyTorch's order (row-major over the value's shape),
/// whatever order it has in the engine's memory. Dropout multiplies by masks that the caller gives, and is
/// left out without them. Token inputs are whole numbers.
public struct ReferenceModel {
    public let graph: Graph
    /// PyTorch's order, one for each of the graph's parameters.
    public var parameters: [[Double]]
    public var usesRunningStatistics = false
    /// By node: 1 / (1 - p) for the elements that a dropout keeps and 0 for others, in PyTorch's order.
    public var dropoutMasks: [Graph.NodeID: [Double]] = [:]
    /// By node: what becomes of each element of the first input before the node reads it.
    public var inputRounding: [Graph.NodeID: @Sendable (Double) -> Double] = [:]
    /// By node: what becomes of the whole first input, whose elements need not be treated alike.
    public var inputChanges: [Graph.NodeID: @Sendable ([Double]) -> [Double]] = [:]

    public init(_ graph: Graph, parameters: [[Double]]) {
        self.graph = graph
        self.parameters = parameters
    }

    /// The outputs for a batch, one sample after the other.
    public func forward(_ input: [Double], batch: Int) -> [Double] {
        values(input, batch: batch)[graph.output.index]
    }

    /// Every activation, in the order of the graph's values.
    public func values(_ input: [Double], batch: Int) -> [[Double]] {
        precondition(
            input.count == batch * graph.inputShape.elementCount,
            "\(input.count) numbers are not \(batch) samples of \(graph.inputShape)")
        var values = [[Double]](repeating: [], count: graph.values.count)
        values[graph.input.index] = input
        for id in graph.nodeIDs { update(id, &values, batch) }
        return values
    }

    /// The activations after parameters changed: `values` holds those before.
    public func values(
        _ values: [[Double]], changing changed: Set<Graph.ParameterID>, batch: Int
    ) -> [[Double]] {
        var values = values
        var isStale = [Bool](repeating: false, count: values.count)
        for id in graph.nodeIDs {
            let node = graph[id]
            let reads = node.parameters.contains(where: changed.contains)
            guard reads || node.inputs.contains(where: { isStale[$0.index] }) else { continue }
            isStale[node.output.index] = true
            update(id, &values, batch)
        }
        return values
    }

    private func update(_ id: Graph.NodeID, _ values: inout [[Double]], _ batch: Int) {
        let node = graph[id]
        var inputs = node.inputs.map { values[$0.index] }
        if let rounding = inputRounding[id] { inputs[0] = inputs[0].map(rounding) }
        if let change = inputChanges[id] { inputs[0] = change(inputs[0]) }
        var result = compute(node, inputs, batch)
        if let mask = dropoutMasks[id] { result = zip(result, mask).map { $0 * $1 } }
        precondition(
            result.count == batch * graph[node.output].shape.elementCount,
            "\(node.name) has \(result.count) numbers for \(batch) outputs of \(graph[node.output].shape)")
        values[node.output.index] = result
    }

    private func compute(_ node: Graph.Node, _ inputs: [[Double]], _ batch: Int) -> [Double] {
        let x = inputs[0]
        return switch node.operation {
        case .convolution(let window): convolution(window, node, x, batch)
        case .transposedConvolution(let window): transposedConvolution(window, node, x, batch)
        case .linear: product(node, x, batch)
        case .activation(let kind): x.map { Self.activation(kind, $0) }
        case .softmax: softmax(node, x, batch)
        case .pooling(let pool): pooling(pool, node, x, batch)
        case .adaptiveAveragePooling: adaptivePooling(node, x, batch)
        case .mean: mean(node, x, lengths: inputs.dropFirst().first, batch)
        case .dropout: x
        case .batchNorm(let norm): batchNorm(norm, node, x, batch)
        case .layerNorm(let epsilon): layerNorm(epsilon, node, x, batch)
        case .rmsNorm(let epsilon): rmsNorm(epsilon, node, x, batch)
        case .groupNorm(let groups, let epsilon): groupNorm(groups, epsilon, node, x, batch)
        case .view: view(node, x, batch)
        case .permute(let axes): permute(axes, node, x, batch)
        case .scale(let factor): x.map { factor * $0 }
        case .add: zip(x, inputs[1]).map { $0 + $1 }
        case .multiply: multiply(node, x, inputs[1], batch)
        case .concat(let isInner): concat(isInner, node, inputs, batch)
        case .embedding: embedding(node, x)
        case .lengths(let padding): lengths(padding, node, x)
        case .positions: positions(node, x)
        case .prependToken: prependToken(node, x, batch)
        case .selectToken(let index): selectToken(index, node, x, batch)
        case .rotary(let heads, let base): rotary(heads, base, node, x, batch)
        case .attention(let attention):
            self.attention(attention, node, x, lengths: inputs.dropFirst().first, batch)
        }
    }

    /// The node's parameter with a role, if it has one.
    func parameter(_ role: Graph.Parameter.Role, of node: Graph.Node) -> [Double]? {
        graph.parameter(role, of: node).map { parameters[$0.index] }
    }

    /// The axis that is innermost in memory: channels, width, features.
    func innermost(_ value: Graph.ValueID, _ batch: Int) -> Axis {
        let value = graph[value]
        let extents = [batch] + value.shape.dimensions
        return switch value.order {
        case .channelsLast: Axis(1, of: extents)
        case .plain: Axis(extents.count - 1, of: extents)
        case .flattened: Axis(extents: batch, value.shape.elementCount, 1)
        }
    }
}

/// One axis of a row-major tensor: element `e` of line `(o, i)` lies at `(o · extent + e) · inner + i`.
struct Axis {
    let outer: Int
    let extent: Int
    let inner: Int

    init(extents outer: Int, _ extent: Int, _ inner: Int) {
        (self.outer, self.extent, self.inner) = (outer, extent, inner)
    }

    init(_ axis: Int, of extents: [Int]) {
        outer = extents[..<axis].reduce(1, *)
        extent = extents[axis]
        inner = extents[(axis + 1)...].reduce(1, *)
    }

    /// Replaces every line by what `change` makes of it; the new lines may have another length.
    func mapLines(_ x: [Double], to count: Int? = nil, _ change: ([Double]) -> [Double]) -> [Double] {
        let count = count ?? extent
        var y = [Double](repeating: 0, count: outer * count * inner)
        for o in 0..<outer {
            for i in 0..<inner {
                let line = change((0..<extent).map { x[(o * extent + $0) * inner + i] })
                for (e, value) in line.enumerated() { y[(o * count + e) * inner + i] = value }
            }
        }
        return y
    }
}
