internal import Graph
internal import Plan
internal import Tensor

extension Equivalence {
    /// Samples of one run, and runs.
    private static let batch = 64
    private static let runs = 4

    /// Proves that two models compute the same, on the same random inputs and by the plans that any
    /// evaluation runs.
    ///
    /// Both sum the same numbers, the one with zeros between them: the difference is rounding. Sums of K
    /// terms round by about u sqrt(K) of the terms' norm (u = 2^-24, errors as a random walk), which later
    /// layers pass on; over all weighted layers of a path these add up to u sqrt(sum K) of the outputs' size.
    /// Both models round, and four times the expected size is allowed.
    ///
    /// Throws `TrainingError.notEquivalent` where the outputs differ by more than that.
    static func prove(
        _ masked: (graph: Graph, values: [[Float]]), _ shrunk: (graph: Graph, values: [[Float]]),
        seed: UInt64
    ) throws(TrainingError) -> Equivalence {
        var outputs: [[Float]] = []
        for side in [masked, shrunk] {
            let model = try InferenceModel(side.graph, batches: [batch]) { id throws(TrainingError) in
                side.values[id.index]
            }
            var found: [Float] = []
            for run in 0..<runs {
                model.placeRandom(batch: batch, seed: seed &+ UInt64(run))
                found += try model.repeatRun(batch: batch).output()
            }
            outputs.append(found)
        }
        let graph = masked.graph
        let terms = graph.nodes.reduce(0) { sum, node in
            sum + (graph.parameter(.weight, of: node).map { graph[$0].fanIn } ?? 0)
        }
        let size = outputs[0].reduce(0.0) { max($0, Double(abs($1))) }
        var difference = 0.0
        for (one, other) in zip(outputs[0], outputs[1]) {
            let error = abs(Double(one) - Double(other))
            // What is no number differs from everything.
            difference = error.isNaN ? .infinity : max(difference, error)
        }
        let roundoff = Double(Float.ulpOfOne) / 2
        let proof = Equivalence(
            maxAbsDifference: difference,
            tolerance: 4 * 2 * roundoff * Double(max(terms, 1)).squareRoot() * max(size, 1),
            samples: batch * runs)
        guard proof.holds else {
            throw .notEquivalent(difference: proof.maxAbsDifference, tolerance: proof.tolerance)
        }
        return proof
    }
}
