import JSON
import Training

/// What becomes of a limit on the drop of the accuracy.
struct DropVerdict {
    /// Which model the job leaves behind.
    enum Kept { case changed, dense, none }

    let maxDrop: Double
    let drop: Double
    let onFail: PruneRequest.DropGate.Failure
    /// What the changed model is called.
    let changed: String

    /// Compares what was measured.
    init(_ gate: PruneRequest.DropGate, from before: MeasuredModel, to after: MeasuredModel, changed: String)
    {
        (maxDrop, onFail, self.changed) = (gate.maxDrop, gate.onFail, changed)
        drop = before.tally.accuracy - after.tally.accuracy
    }

    // The difference of two counts over as many samples may lie above a decimal that it equals.
    var passed: Bool { drop <= maxDrop + 1e-9 }
    var kept: Kept { passed ? .changed : onFail == .keepDense ? .dense : .none }

    /// What is left behind, in a word.
    var word: String {
        switch kept {
        case .changed: changed
        case .dense: "dense"
        case .none: "none"
        }
    }

    var json: JSONValue {
        [
            "max_drop": .number(maxDrop), "drop": .number(drop), "passed": .bool(passed),
            "kept": .string(word),
        ]
    }
}
