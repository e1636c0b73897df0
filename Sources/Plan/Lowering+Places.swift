internal import Graph
internal import Kernels
internal import Tensor

/// Which buffers may be written over.
extension Lowering {
    /// The input's buffer, when nobody reads it any more: neither a later node nor a backward pass.
    ///
    /// `id` is the node's own, where it runs inside the present one.
    func inPlace(_ node: Graph.Node, _ input: Graph.ValueID, at id: Graph.NodeID? = nil) -> BufferID? {
        let own = id ?? current
        let buffer = activation(input)
        guard case .transient = buffers[buffer.index].home, !checkpoints.contains(buffer) else { return nil }
        guard element(input) == element(node.output), count(input) == count(node.output) else { return nil }
        if mode.isTraining, node.operation.backwardReads.contains(.input) { return nil }
        let tenants = tenants[buffer] ?? []
        guard watched.isDisjoint(with: tenants) else { return nil }
        for value in tenants {
            for reader in graph.consumers(of: value) where reader != own {
                if reader.index > current.index, !absorbed.contains(reader) { return nil }
                if mode.isTraining, graph[reader].operation.backwardReads.contains(.input) { return nil }
            }
            guard mode.isTraining, let maker = graph.producer(of: value) else { continue }
            guard maker.operation.backwardReads.contains(.output) else { continue }
            // A ReLU's gradient asks where its output is above zero; where a dropout has zeroed that, it has
            // zeroed the gradient too, when no other path brings one.
            let readers = tenants.reduce(0) { $0 + graph.consumers(of: $1).count { !isView($0) } }
            if case .dropout = node.operation, maker.operation == .activation(.relu), readers == 1 {
                continue
            }
            return nil
        }
        return buffer
    }

    private func isView(_ id: Graph.NodeID) -> Bool { graph[id].operation == .view || absorbed.contains(id) }

    /// Whether a backward pass reads this value's buffer.
    func isReadBackward(_ value: Graph.ValueID) -> Bool {
        guard mode.isTraining else { return false }
        for tenant in tenants[activation(value)] ?? [] {
            if watched.contains(tenant) { return true }
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
        guard readers.count == 1, value != graph.output, !watched.contains(value) else { return nil }
        return readers[0]
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
        case .activation(let kind): kind.kernelKind.backwardReads == .output ? .output : .input
        case .pooling, .adaptiveAveragePooling, .mean, .dropout, .view, .permute, .scale, .add, .concat,
            .positions,
            .prependToken, .selectToken, .rotary, .lengths:
            []
        }
    }
}

extension Operation.Activation {
    var kernelKind: ActivationKind {
        switch self {
        case .relu: .relu
        case .relu6: .relu6
        case .leakyReLU(let slope): .leakyReLU(slope: Float(slope))
        case .gelu(let tanh): tanh ? .geluTanh : .geluErf
        case .silu: .silu
        case .sigmoid: .sigmoid
        case .tanh: .tanh
        case .hardSwish: .hardSwish
        }
    }
}
