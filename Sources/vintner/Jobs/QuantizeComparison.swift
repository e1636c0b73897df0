import JSON
import Tensor
import Training

/// A model before and behind its quantization, as measured.
struct QuantizeComparison {
    let before: MeasuredModel
    let after: MeasuredModel
    /// How far what the kernels yield is from whole-number arithmetic.
    let equivalence: Equivalence?

    /// The members of the job's report.
    var report: JSONObject {
        let (all, kept) = after.weights.reduce((0, 0)) { sum, weight in
            (sum.0 + weight.shape.reduce(1, *), sum.1 + weight.nonzeros)
        }
        return [
            "before": .object(before.block), "after": .object(after.block),
            "sparsity": .number(1 - Double(kept) / Double(max(all, 1))),
            "equivalence": equivalence?.json ?? .null, "layers": .array(layers),
            "verdict": .array(words.map { .string($0) }),
        ]
    }

    /// What it brought, in words; nothing is faster that was not measured so.
    var words: [String] {
        let isSmaller = Double(after.fileBytes) <= 0.99 * Double(before.fileBytes)
        let speed = PruneComparison.speed(from: before, to: after)
        return [isSmaller ? "smaller" : "not smaller"] + (speed.isEmpty ? ["no speed-up"] : speed)
    }

    /// What became of each layer that has weights.
    private var layers: [JSONValue] {
        zip(before.weights, after.weights).map { old, new in
            let whole = old.shape.reduce(1, *)
            var layer: JSONObject = [
                "name": .string(new.layer), "precision": new.input == nil ? "float32" : "int8",
                "kept_fraction": .number(Double(new.nonzeros) / Double(max(whole, 1))),
                "shape_before": .array(old.shape.map { JSONValue($0) }),
                "shape_after": .array(new.shape.map { JSONValue($0) }),
                "kernel_before": JSONValue(old.kernel), "kernel": JSONValue(new.kernel),
            ]
            if let input = new.input {
                layer["input_scale"] = .number(Double(input.scale))
                layer["input_zero_point"] = JSONValue(Int(input.zeroPoint))
            }
            return .object(layer)
        }
    }
}
