import Graph
import JSON
import Kernels
import Training

/// A model before and after its pruning, as measured.
struct PruneComparison {
    /// A time that is at most this part of the other is faster; between that and its inverse nothing is said.
    static let fasterRatio = SparseTrial.fasterRatio

    let before: MeasuredModel
    let after: MeasuredModel
    /// What leaving out zeros was found to bring, layer by layer.
    var trials: [SparseTrial.Finding] = []

    func verdict(_ gate: PruneRequest.DropGate) -> DropVerdict {
        DropVerdict(gate, from: before, to: after, changed: "pruned")
    }

    /// The members of the job's report.
    func report(_ state: TrainingState, _ equivalence: Equivalence?) -> JSONObject {
        [
            "before": .object(before.block), "after": .object(after.block),
            "sparsity": JSONValue(state.pruning?.sparsity), "equivalence": equivalence?.json ?? .null,
            "layers": .array(layers), "verdict": .array(words.map { .string($0) }),
        ]
    }

    /// What pruning brought, in words; nothing is faster that was not measured so.
    var words: [String] {
        var words: [String] = []
        let (old, new) = (before.fileBytes, after.fileBytes)
        words.append(Double(new) <= Double(old) * 0.99 ? "smaller" : "not smaller")
        let speed = Self.speed(from: before, to: after)
        words += speed
        if !speed.contains(where: { $0.hasPrefix("faster") }) {
            let hasZeros = after.nonzeroParameters < before.nonzeroParameters
            let isSmaller = after.parameters < before.parameters
            let isDense = after.stored.sparse.isEmpty
            words.append(
                hasZeros && !isSmaller && isDense
                    ? "no speed-up: dense kernels run on zeros" : "no speed-up")
        }
        return words
    }

    /// At which batch sizes a model is faster or slower than another, in words.
    static func speed(from before: MeasuredModel, to after: MeasuredModel) -> [String] {
        let ratios = before.latencies.keys.sorted().compactMap { batch -> (batch: Int, ratio: Double)? in
            guard let old = before.latencies[batch], let new = after.latencies[batch], old.median > 0 else {
                return nil
            }
            return (batch, new.median / old.median)
        }
        let faster = ratios.filter { $0.ratio <= fasterRatio }
        let slower = ratios.filter { $0.ratio >= 1 / fasterRatio }
        if !ratios.isEmpty, faster.count == ratios.count { return ["faster"] }
        return faster.map { "faster at batch \($0.batch)" } + slower.map { "slower at batch \($0.batch)" }
    }

    /// What is left of each layer that has weights.
    private var layers: [JSONValue] {
        before.weights.map { weight in
            let left = after.weights.first { $0.layer == weight.layer }
            let whole = weight.shape.reduce(1, *)
            return [
                "name": .string(weight.layer),
                "kept_fraction": .number(Double(left?.nonzeros ?? 0) / Double(max(whole, 1))),
                "shape_before": .array(weight.shape.map { JSONValue($0) }),
                "shape_after": left.map { .array($0.shape.map { JSONValue($0) }) } ?? .null,
                "kernel": JSONValue(left.flatMap { $0.kernels.max { $0.key < $1.key }?.value }),
                "kernels": .object(
                    JSONObject(
                        (left?.kernels ?? [:]).sorted { $0.key < $1.key }.map {
                            ("\($0.key)", .string($0.value))
                        })),
                "sparse": .array(
                    trials.filter { $0.layer == weight.layer }.map { trial in
                        let used = after.stored.sparse[trial.layer, trial.batch]
                        return .object(trial.json(isUsed: used == trial.format))
                    }),
            ]
        }
    }
}
