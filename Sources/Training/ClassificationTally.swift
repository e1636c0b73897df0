internal import Glibc

/// Counts what a model says of labelled samples: hits, confusions, confidence.
public struct ClassificationTally: Sendable {
    /// Beyond so many classes no confusions are counted.
    public static let confusionClassesMax = 1024
    /// Bins of the calibration error, of equal width (Guo et al., 2017, use 15).
    public static let binCount = 15

    /// Samples whose confidence lies in one interval.
    struct Bin: Sendable {
        var count = 0
        var correct = 0
        var confidence = 0.0
    }

    /// Outputs of a row.
    public let classCount: Int
    /// Labels that were counted.
    public private(set) var count = 0
    /// Rows whose largest output is the label's; of equal ones the first counts.
    public private(set) var correct = 0
    /// Sum of -log of the label's probability.
    public private(set) var lossSum = 0.0
    /// By label.
    public private(set) var support: [Int]
    /// By prediction.
    public private(set) var predicted: [Int]
    /// Hits by label.
    public private(set) var hits: [Int]
    /// `[label, prediction]`; empty with more than `confusionClassesMax` classes.
    public private(set) var confusion: [Int]
    private var bins = [Bin](repeating: Bin(), count: binCount)

    /// Counts nothing yet.
    public init(classCount: Int) {
        precondition(classCount > 0, "a row of no outputs")
        self.classCount = classCount
        support = [Int](repeating: 0, count: classCount)
        (predicted, hits) = (support, support)
        let isKept = classCount <= Self.confusionClassesMax
        confusion = isKept ? [Int](repeating: 0, count: classCount * classCount) : []
    }

    /// Adds rows of outputs.
    ///
    /// - Parameters:
    ///   - outputs: `[rows, classCount]`, logits or probabilities.
    ///   - labels: `[rows]`; rows whose label is no class are left out.
    ///   - areProbabilities: Whether the model ends in a softmax.
    /// - Returns: Whether all outputs of the counted rows are numbers; the rest is added all the same.
    @discardableResult
    public mutating func add(
        outputs: [Float], labels: [Int32], areProbabilities: Bool = false
    ) -> Bool {
        precondition(outputs.count == labels.count * classCount, "outputs and labels do not match")
        var areNumbers = true
        for (row, label) in labels.enumerated() where label >= 0 && Int(label) < classCount {
            let outputs = outputs[row * classCount..<(row + 1) * classCount]
            if !add(outputs, label: Int(label), areProbabilities) { areNumbers = false }
        }
        return areNumbers
    }

    private mutating func add(_ row: ArraySlice<Float>, label: Int, _ areProbabilities: Bool) -> Bool {
        var (best, largest) = (0, -Float.infinity)
        for (index, value) in row.enumerated() {
            guard !value.isNaN else { return false }
            if value > largest { (best, largest) = (index, value) }
        }
        guard largest.isFinite else { return false }
        let own = Double(row[row.startIndex + label])
        var (confidence, loss) = (Double(largest), -log(own))
        if !areProbabilities {
            let sum = row.reduce(0.0) { $0 + exp(Double($1) - Double(largest)) }
            (confidence, loss) = (1 / sum, log(sum) + Double(largest) - own)
        }
        count += 1
        lossSum += loss
        support[label] += 1
        predicted[best] += 1
        if !confusion.isEmpty { confusion[label * classCount + best] += 1 }
        if best == label {
            correct += 1
            hits[label] += 1
        }
        let bin = min(max(Int(confidence * Double(Self.binCount)), 0), Self.binCount - 1)
        bins[bin].count += 1
        bins[bin].correct += best == label ? 1 : 0
        bins[bin].confidence += confidence
        return true
    }

    /// Part of the samples whose largest output is their label's.
    public var accuracy: Double { count == 0 ? 0 : Double(correct) / Double(count) }

    /// Mean cross-entropy.
    public var loss: Double { count == 0 ? 0 : lossSum / Double(count) }

    /// The expected calibration error: the mean distance of confidence and accuracy over the bins, weighted
    /// by their samples (Naeini et al., 2015).
    public var calibrationError: Double {
        guard count > 0 else { return 0 }
        return bins.reduce(0.0) { $0 + abs($1.confidence - Double($1.correct)) } / Double(count)
    }

    /// How well one class is told from the others.
    public struct ClassScore: Sendable, Equatable {
        /// Samples with its label.
        public let support: Int
        /// Hits among the samples that were taken for it; 0 where there are none.
        public let precision: Double
        /// Hits among the samples with its label; 0 where there are none.
        public let recall: Double

        /// Names the figures.
        public init(support: Int, precision: Double, recall: Double) {
            (self.support, self.precision, self.recall) = (support, precision, recall)
        }

        /// The harmonic mean of both.
        public var f1: Double {
            precision + recall > 0 ? 2 * precision * recall / (precision + recall) : 0
        }
    }

    /// One for each class.
    public var scores: [ClassScore] {
        (0..<classCount).map { label in
            func share(of whole: Int) -> Double { whole == 0 ? 0 : Double(hits[label]) / Double(whole) }
            return ClassScore(
                support: support[label], precision: share(of: predicted[label]),
                recall: share(of: support[label]))
        }
    }

    /// The mean of the classes' F1 scores, each class counting the same.
    public var macroF1: Double { scores.reduce(0.0) { $0 + $1.f1 } / Double(classCount) }
}
