public import Graph
internal import Kernels
public import Tensor

/// A convolution or product that is computed in bytes.
public struct QuantizedLayer: Sendable, Hashable {
    /// Codes of the weights in PyTorch's order, between -127 and 127.
    public let weights: [Int8]
    /// What a code of each output channel's weights is worth.
    public let scales: [Float]
    /// What is added to each output channel, the normalisation behind included where it is folded.
    public let bias: [Float]
    /// How the layer's input is written.
    public let input: ActivationScale
    /// Whether the batch normalisation that alone reads the result is part of weights and bias.
    public let foldsNorm: Bool

    /// Names all of it; `QuantizedModel` checks that it fits.
    public init(
        weights: [Int8], scales: [Float], bias: [Float], input: ActivationScale, foldsNorm: Bool
    ) {
        (self.weights, self.scales, self.bias) = (weights, scales, bias)
        (self.input, self.foldsNorm) = (input, foldsNorm)
    }

    /// The bias as what is added to sums of products: round(bias / (scale · weight scale)), less what the
    /// input's zero point adds to every sum.
    var integerBias: [Int32] {
        let width = weights.count / max(scales.count, 1)
        return scales.indices.map { row in
            let step = Double(input.scale) * Double(scales[row])
            let sum = weights[row * width..<(row + 1) * width].reduce(0) { $0 + Int($1) }
            let bias = (Double(bias[row]) / step).rounded(.toNearestOrEven)
            let total = bias - Double(Int(input.zeroPoint) * sum)
            return Int32(min(max(total, Double(Int32.min)), Double(Int32.max)))
        }
    }

    /// What a sum is worth, as a multiple of the result's step.
    func outputScales(per step: Float) -> [Float] {
        scales.map { Float(Double(input.scale) * Double($0) / Double(step)) }
    }
}

/// Which layers of a graph are computed in bytes, and with which numbers; the others stay in float32.
public struct QuantizedModel: Sendable, Hashable {
    /// By the node that computes each.
    public let layers: [Graph.NodeID: QuantizedLayer]
    /// Parameters whose values nobody reads: they are in the layers.
    let absent: Set<Graph.ParameterID>

    /// Checks layers against their graph.
    ///
    /// - Throws: `PlanError.badQuantization` where they do not fit.
    public init(_ layers: [Graph.NodeID: QuantizedLayer], of graph: Graph) throws(PlanError) {
        var absent: Set<Graph.ParameterID> = []
        for (id, layer) in layers {
            let node = graph[id]
            guard let weight = graph.quantizableWeight(of: id) else {
                throw .badQuantization("\(node.name) cannot be computed in bytes")
            }
            let outputs = graph[node.output].channels
            guard layer.weights.count == graph[weight].shape.elementCount, layer.scales.count == outputs,
                layer.bias.count == outputs
            else { throw .badQuantization("the numbers of \(node.name) do not fit its weights") }
            guard layer.scales.allSatisfy({ $0 > 0 && $0.isFinite }),
                layer.bias.allSatisfy(\.isFinite), !layer.weights.contains(-128)
            else { throw .badQuantization("the scales or the bias of \(node.name) mean nothing") }
            absent.formUnion(node.parameters)
            guard layer.foldsNorm else { continue }
            guard let norm = graph.foldableNorm(behind: id) else {
                throw .badQuantization("no batch normalisation alone reads \(node.name)")
            }
            absent.formUnion(graph[norm].parameters)
        }
        (self.layers, self.absent) = (layers, absent)
    }

    /// Whether a parameter is part of a layer in bytes, so that no value of its own is kept.
    public func holds(_ id: Graph.ParameterID) -> Bool { absent.contains(id) }
}

extension Graph {
    /// The only node that reads a value, unless the value is the graph's output.
    func soleReader(of value: ValueID) -> NodeID? {
        let readers = consumers(of: value)
        return readers.count == 1 && value != output ? readers[0] : nil
    }

    /// The weight of a convolution or product that can be computed in bytes; nil for any other node.
    ///
    /// It must be the node's own, and a sum of its products stay in 32 bits.
    public func quantizableWeight(of id: NodeID) -> ParameterID? {
        let node = self[id]
        switch node.operation {
        case .convolution, .linear: break
        default: return nil
        }
        guard let weight = parameter(.weight, of: node), self[weight].shape[0] > 0,
            nodes.count(where: { $0.parameters.contains(weight) }) == 1
        else { return nil }
        let terms = self[weight].shape.elementCount / self[weight].shape[0]
        return terms <= QuantizedProduct.termsMax ? weight : nil
    }

    /// The batch normalisation that alone reads a node's output, so that it can become part of its weights.
    public func foldableNorm(behind id: NodeID) -> NodeID? {
        guard let next = soleReader(of: self[id].output), case .batchNorm = self[next].operation else {
            return nil
        }
        return next
    }
}
