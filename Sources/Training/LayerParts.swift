internal import Compression
internal import Graph
internal import Kernels
internal import Plan
internal import Tensor

/// What a layer in bytes is made of.
struct LayerParts {
    /// The share of the smallest bias step in a bias: codes of 32 bits have to hold it beside the sums.
    private static let biasSteps = Double(1 << 23)

    private let name: String
    /// In PyTorch's order, a row for each output.
    let weights: [Float]
    /// What each row is multiplied by.
    private(set) var factors: [Float]
    private(set) var bias: [Double]

    /// Reads a layer's weights and its bias, if it has one.
    init(
        _ id: Graph.NodeID, _ weight: Graph.ParameterID, of graph: Graph,
        values: (Graph.ParameterID) throws(TrainingError) -> [Float]
    ) throws(TrainingError) {
        let (node, rows) = (graph[id], graph[weight].shape[0])
        name = node.name
        weights = try values(weight)
        factors = [Float](repeating: 1, count: rows)
        bias = [Double](repeating: 0, count: rows)
        if let own = graph.parameter(.bias, of: node) { bias = try values(own).map { Double($0) } }
    }

    /// weights · factor and (bias - mean) · factor + shift, factor = scale / sqrt(variance + epsilon).
    mutating func fold(
        _ norm: Graph.Node, of graph: Graph, values: (Graph.ParameterID) throws(TrainingError) -> [Float]
    ) throws(TrainingError) {
        guard case .batchNorm(let kind) = norm.operation,
            let scale = graph.parameter(.scale, of: norm), let shift = graph.parameter(.shift, of: norm),
            let mean = graph.parameter(.runningMean, of: norm),
            let variance = graph.parameter(.runningVariance, of: norm)
        else { throw .misfit(reason: "\(norm.name) has no statistics") }
        let numbers = (
            scale: try values(scale), shift: try values(shift), mean: try values(mean),
            variance: try values(variance)
        )
        for row in factors.indices {
            let factor =
                Double(numbers.scale[row])
                / (Double(numbers.variance[row]) + kind.epsilon).squareRoot()
            factors[row] = Float(factor)
            bias[row] = (bias[row] - Double(numbers.mean[row])) * factor + Double(numbers.shift[row])
        }
    }

    /// The weights with their factors.
    var foldedWeights: [Float] {
        let width = weights.count / max(factors.count, 1)
        return weights.indices.map { weights[$0] * factors[$0 / width] }
    }

    /// The layer in codes.
    ///
    /// Throws `TrainingError.misfit` where a number is not finite.
    func layer(
        reading input: ActivationScale, _ options: QuantizeOptions, foldsNorm: Bool
    ) throws(TrainingError) -> QuantizedLayer {
        guard weights.allSatisfy(\.isFinite), factors.allSatisfy(\.isFinite), bias.allSatisfy(\.isFinite)
        else { throw .misfit(reason: "a parameter of \(name) is not finite") }
        // A scale so small that the bias would leave 32 bits tells nothing about the weights beside it.
        let least = bias.map { Float(max(abs($0) / (Double(input.scale) * Self.biasSteps), 1e-30)) }
        let codes = Quantization.weights(
            weights, factors: factors, least: least, isShared: options.granularity == .perTensor)
        return QuantizedLayer(
            weights: codes.codes, scales: codes.scales, bias: bias.map { Float($0) }, input: input,
            foldsNorm: foldsNorm)
    }
}
