internal import Graph
internal import Kernels
internal import Tensor

/// Which buffers may be written over.
extension Lowering {
    /// The input's buffer, when nobody reads it any more: neither a later node nor a backward pass.
    func inPlace(_ node: Graph.Node, _ input: Graph.ValueID) -> BufferID? {
        let buffer = activation(input)
        guard case .transient = buffers[buffer.index].home, !isRecomputing || options.segments > 1 else {
            return nil
        }
        guard element(input) == element(node.output) else { return nil }
        for value in tenants[buffer] ?? [] {
            for reader in graph.consumers(of: value) where reader != current {
                if reader.index > current.index, !absorbed.contains(reader) { return nil }
                if mode.isTraining, graph[reader].operation.backwardReads.contains(.input) { return nil }
            }
            guard mode.isTraining, let maker = graph.producer(of: value) else { continue }
            guard maker.operation.backwardReads.contains(.output) else { continue }
            // A ReLU's gradient asks where its output is above zero; where a dropout has zeroed that, it has
            // zeroed the gradient too.
            if case .dropout = node.operation, maker.operation == .activation(.relu) { continue }
            return nil
        }
        return buffer
    }

    /// Whether a backward pass reads this value's buffer.
    func isReadBackward(_ value: Graph.ValueID) -> Bool {
        guard mode.isTraining else { return false }
        for tenant in tenants[activation(value)] ?? [] {
            guard let maker = graph.producer(of: tenant) else { return true }
            if maker.operation.backwardReads.contains(.output) { return true }
            for reader in graph.consumers(of: tenant)
            where graph[reader].operation.backwardReads.contains(.input) { return true }
        }
        return false
    }

    /// The only node that reads a value, unless something else needs the value too.
    func soleReader(of value: Graph.ValueID) -> Graph.NodeID? {
        let readers = graph.consumers(of: value)
        return readers.count == 1 && value != graph.output ? readers[0] : nil
    }
}

/// Which of a node's values its backward pass reads.
struct BackwardReads: OptionSet {
    let rawValue: Int
    static let input = BackwardReads(rawValue: 1)
    static let output = BackwardReads(rawValue: 2)
}

extension Operation {
    var backwardReads: BackwardReads {
        switch self {
        case .convolution, .transposedConvolution, .linear, .batchNorm, .layerNorm, .rmsNorm, .groupNorm,
            .multiply, .embedding:
            .input
        case .attention: [.input, .output]
        case .softmax: .output
        case .activation(let kind): kind.backwardReads
        case .pooling, .adaptiveAveragePooling, .mean, .dropout, .view, .permute, .add, .concat, .positions,
            .prependToken, .selectToken, .rotary:
            []
        }
    }
}

extension Operation.Activation {
    /// The cheaper of the two that the derivative follows from.
    var backwardReads: BackwardReads {
        switch self {
        case .relu, .relu6, .sigmoid, .tanh, .leakyReLU: .output
        case .gelu, .silu, .hardSwish: .input
        }
    }
}
