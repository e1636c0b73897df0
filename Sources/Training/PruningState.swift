public import JSON

/// How far a pruning has come, besides the masks themselves.
public struct PruningState: Sendable, Equatable {
    /// The step of the last change of the masks; nil before the first.
    public var step: Int?
    /// Part of the original's prunable weights or channels that is gone.
    public var sparsity = 0.0
    /// The part of the channels that must go for the constraints to be met, where there are some.
    public var target: Double?
    /// The channels' units that are gone.
    public var removed: [Int] = []
    /// That what is left of the model computes the same, once channels have been removed.
    public var equivalence: Equivalence?

    /// Nothing is pruned yet.
    public init() {}

    var json: JSONValue {
        [
            "step": JSONValue(step), "sparsity": .number(sparsity), "target": JSONValue(target),
            "removed": .array(removed.map { JSONValue($0) }), "equivalence": equivalence?.json ?? .null,
        ]
    }

    init?(_ json: JSONValue) {
        guard let sparsity = json["sparsity"]?.doubleValue, let removed = json["removed"]?.arrayValue else {
            return nil
        }
        self.sparsity = sparsity
        step = json["step"]?.intValue
        target = json["target"]?.doubleValue
        self.removed = removed.compactMap(\.intValue)
        equivalence = json["equivalence"].flatMap(Equivalence.init)
    }
}

/// How far apart two models' outputs are on the same random inputs.
public struct Equivalence: Sendable, Equatable {
    /// Largest difference of two outputs.
    public let maxAbsDifference: Double
    /// What rounding alone may make of it.
    public let tolerance: Double
    public let samples: Int

    /// Whether rounding explains the difference; what is no number is no rounding.
    public var holds: Bool { maxAbsDifference <= tolerance }

    /// As reports have it.
    public var json: JSONValue {
        [
            "max_abs_difference": .number(maxAbsDifference), "tolerance": .number(tolerance),
            "samples": JSONValue(samples),
        ]
    }

    init(maxAbsDifference: Double, tolerance: Double, samples: Int) {
        (self.maxAbsDifference, self.tolerance, self.samples) = (maxAbsDifference, tolerance, samples)
    }

    init?(_ json: JSONValue) {
        guard let difference = json["max_abs_difference"]?.doubleValue,
            let tolerance = json["tolerance"]?.doubleValue, let samples = json["samples"]?.intValue
        else { return nil }
        self.init(maxAbsDifference: difference, tolerance: tolerance, samples: samples)
    }
}
