public import Graph
internal import JSON
internal import Tensor

/// Where the values of a graph go that are written as bytes.
///
/// Views, dropout and maximum pooling pass codes on as they are, so that a value behind them has the scale of
/// the one in front.
public struct ByteFlow {
    private let graph: Graph

    /// Follows the values of a graph.
    public init(_ graph: Graph) { self.graph = graph }

    /// The value whose range decides the scale of another one: itself, or what only passes through to it.
    public func owner(of value: Graph.ValueID) -> Graph.ValueID {
        var value = value
        while let maker = graph.producer(of: value), Self.passes(maker.operation) { value = maker.inputs[0] }
        return value
    }

    /// What runs inside a layer's call behind its product.
    struct Tail {
        /// What is left out of the steps.
        var nodes: [Graph.NodeID] = []
        /// The batch normalisation that is part of the weights, if there is one, then the activation.
        var activation: Operation.Activation?
        /// The value that the call computes.
        var value: Graph.ValueID
        /// The pooling whose output that activation reads: a maximum and a clamp commute, so that the
        /// activation runs in front of it.
        var pool: Graph.NodeID?
    }

    /// The normalisation and the clamp behind a layer.
    func tail(of id: Graph.NodeID, foldsNorm: Bool) -> Tail {
        var tail = Tail(value: graph[id].output)
        if foldsNorm, let norm = graph.foldableNorm(behind: id) {
            tail.nodes.append(norm)
            tail.value = graph[norm].output
        }
        guard let next = graph.soleReader(of: tail.value) else { return tail }
        if let clamp = clamp(next) {
            tail.nodes.append(next)
            (tail.activation, tail.value) = (clamp, graph[next].output)
        } else if case .pooling(let pool) = graph[next].operation, pool.kind == .maximum,
            let behind = graph.soleReader(of: graph[next].output), let clamp = clamp(behind)
        {
            tail.nodes.append(behind)
            (tail.activation, tail.pool) = (clamp, next)
        }
        return tail
    }

    /// The scale in which a layer can leave its result; nil where somebody needs the numbers themselves.
    func scale(of tail: Tail, in model: QuantizedModel) -> ActivationScale? {
        scale(of: tail.value, tail.pool, model)
    }

    private func scale(
        of value: Graph.ValueID, _ pool: Graph.NodeID?, _ model: QuantizedModel
    ) -> ActivationScale? {
        guard value != graph.output else { return nil }
        var found: ActivationScale?
        for reader in graph.consumers(of: value) {
            let node = graph[reader]
            let scale: ActivationScale?
            if let layer = model.layers[reader] {
                // A border has to be written in the code of zero, which the product takes for 0.
                scale = layer.input.zeroPoint > 0 && node.operation.isPadded ? nil : layer.input
            } else if reader == pool, let behind = graph.soleReader(of: node.output) {
                scale = self.scale(of: graph[behind].output, nil, model)
            } else {
                scale = Self.passes(node.operation) ? self.scale(of: node.output, nil, model) : nil
            }
            guard let scale, found == nil || found == scale else { return nil }
            found = scale
        }
        return found
    }

    private func clamp(_ id: Graph.NodeID) -> Operation.Activation? {
        guard case .activation(let kind) = graph[id].operation, kind == .relu || kind == .relu6 else {
            return nil
        }
        return kind
    }

    private static func passes(_ operation: Operation) -> Bool {
        switch operation {
        case .view, .dropout: true
        case .pooling(let pool): pool.kind == .maximum
        default: false
        }
    }
}

extension Operation {
    /// Whether it reads beyond the edge of its input.
    var isPadded: Bool {
        if case .convolution(let window) = self {
            window.padding.first > 0 || window.padding.second > 0
        } else {
            false
        }
    }
}
