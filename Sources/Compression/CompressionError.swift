/// What cannot be pruned as asked, found before any training.
public enum CompressionError: Error, Equatable, CustomStringConvertible {
    /// Nothing is left to prune: everything is excluded, pinned, or of another kind.
    case nothingToPrune(reasons: [String])
    /// The limits of the layers allow less.
    case sparsityOutOfReach(asked: Double, reachable: Double)
    /// The least that the limits of the layers allow.
    case constraintOutOfReach(PruneOptions.Constraint.Metric, asked: Double, least: Double)
    /// A value that belongs to a parameter has another number of elements.
    case wrongCount(parameter: String, expected: Int, found: Int)
    /// A smaller model that is not what its parts were cut to; nothing was changed.
    case unequalShapes(parameter: String, expected: [Int], found: [Int])
    /// A smaller model that cannot be.
    case invalidModel(String)

    public var description: String {
        switch self {
        case .nothingToPrune(let reasons):
            "Nothing can be pruned" + (reasons.isEmpty ? "." : ": " + reasons.joined(separator: "; ") + ".")
        case .sparsityOutOfReach(let asked, let reachable):
            "A sparsity of \(asked) cannot be reached: the layers' limits allow \(reachable)."
        case .constraintOutOfReach(let metric, let asked, let least):
            "\(metric.rawValue) of \(asked) cannot be met: the least that the limits allow is \(least)."
        case .wrongCount(let parameter, let expected, let found):
            "\(parameter) has \(expected) elements, found \(found)."
        case .unequalShapes(let parameter, let expected, let found):
            "The smaller model's \(parameter) should be \(expected), found \(found)."
        case .invalidModel(let cause): "The smaller model cannot be: \(cause)"
        }
    }
}
