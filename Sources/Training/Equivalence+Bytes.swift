public import Graph
public import Plan
internal import Tensor

extension Equivalence {
    /// Samples that each layer computes, and numbers of its output that are looked at.
    private static let byteSamples = 4
    private static let numbersMax = 2048

    /// Proves the same of a stored model; nil for one that has no layers in bytes.
    public static func prove(_ stored: StoredModel, seed: UInt64) throws(TrainingError) -> Equivalence? {
        guard let bytes = try stored.quantizedModel() else { return nil }
        return try prove(bytes, of: stored.model.graph, seed: seed)
    }

    /// Proves that every layer in bytes computes what its codes say on this machine.
    ///
    /// Each, alone and with float32 results, reads random codes and is held against whole-number arithmetic
    /// (`ByteReference`). Sums of products of codes are exact; what is allowed is the rounding of four
    /// float32 operations behind them. Of large outputs 2,048 numbers are looked at, drawn at random.
    ///
    /// - Parameters:
    ///   - model: The layers.
    ///   - graph: Theirs.
    ///   - seed: Which codes are drawn.
    /// - Returns: The proof.
    /// - Throws: `TrainingError.notEquivalent` where a number is farther off.
    public static func prove(
        _ model: QuantizedModel, of graph: Graph, seed: UInt64
    ) throws(TrainingError) -> Equivalence {
        try prove(model, is: model, of: graph, seed: seed)
    }

    /// Holds what the layers compute against the whole numbers of `expected`.
    static func prove(
        _ model: QuantizedModel, is expected: QuantizedModel, of graph: Graph, seed: UInt64
    ) throws(TrainingError) -> Equivalence {
        var random = CounterRandom(seed: seed, purpose: .test)
        var (difference, tolerance) = (0.0, 0.0)
        for (id, layer) in model.layers.sorted(by: { $0.key.index < $1.key.index }) {
            let lone = graph.alone(id)
            guard let other = expected.layers[id] else { preconditionFailure("other layers are expected") }
            let reference = ByteReference(lone, other, batch: byteSamples)
            let codes = (0..<reference.inputCount).map { _ in
                UInt8(random.below(UInt32(layer.input.codeMax) + 1))
            }
            let found = try outputs(of: lone, layer, codes)
            for draw in 0..<min(reference.count, numbersMax) {
                let isAll = reference.count <= numbersMax
                let index = isAll ? draw : Int(random.below(UInt32(clamping: reference.count)))
                let output = reference.output(index, of: codes)
                let error = abs(Double(found[index]) - output.value)
                difference = error.isNaN ? .infinity : max(difference, error)
                tolerance = max(tolerance, output.tolerance)
                guard error <= output.tolerance else {
                    throw .notEquivalent(difference: difference, tolerance: output.tolerance)
                }
            }
        }
        return Equivalence(maxAbsDifference: difference, tolerance: tolerance, samples: byteSamples)
    }

    /// What the layer makes of codes by a plan of its own.
    private static func outputs(
        of lone: Graph, _ layer: QuantizedLayer, _ codes: [UInt8]
    ) throws(TrainingError) -> [Float] {
        var options = LoweringOptions()
        // A normalisation that was folded is in weights and bias.
        let own = QuantizedLayer(
            weights: layer.weights, scales: layer.scales, bias: layer.bias, input: layer.input,
            foldsNorm: false)
        options.quantized = try planning { () throws(PlanError) in
            try QuantizedModel([Graph.NodeID(index: 0): own], of: lone)
        }
        let model = try InferenceModel(lone, batches: [byteSamples], options: options) {
            id throws(TrainingError) in
            [Float](repeating: 0, count: lone[id].shape.elementCount)
        }
        model.place(codes.map { layer.input.value(of: $0) })
        return try model.repeatRun(batch: byteSamples).output()
    }
}
