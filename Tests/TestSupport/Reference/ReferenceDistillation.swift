import Glibc

/// A student's loss against labels and a teacher's logits, in plain double-precision loops.
public struct ReferenceDistillation: Sendable {
    /// The losses against the teacher.
    public enum Soft: Sendable {
        case divergence, crossEntropy, squaredError, reverse
        case mixture(share: Double)
        case decoupled(target: Double, others: Double)
    }

    public var soft: Soft
    public var alpha: Double
    public var temperature: Double
    public var smoothing: Double

    public init(_ soft: Soft, alpha: Double, temperature: Double, smoothing: Double) {
        (self.soft, self.alpha, self.temperature, self.smoothing) = (soft, alpha, temperature, smoothing)
    }

    /// The mean over the rows whose label counts, of `width` numbers each.
    public func value(_ student: [Double], _ teacher: [Double], _ labels: [Int32], width: Int) -> Double {
        let hard = ReferenceLoss.crossEntropy(smoothing: smoothing).value(
            student, width: width, .labels(labels))
        var (sum, count) = (0.0, 0.0)
        for (row, label) in labels.enumerated() where label != ReferenceLoss.ignored {
            let range = row * width..<(row + 1) * width
            sum += self.row(Array(student[range]), Array(teacher[range]), Int(label))
            count += 1
        }
        return alpha * hard + (1 - alpha) * sum / max(count, 1)
    }

    private func row(_ student: [Double], _ teacher: [Double], _ label: Int) -> Double {
        let square = temperature * temperature
        let (q, p) = (softmax(student), softmax(teacher))
        switch soft {
        case .divergence: return square * Self.divergence(p, q)
        case .crossEntropy: return -square * zip(p, q).reduce(0) { $0 + $1.0 * log($1.1) }
        case .squaredError:
            return zip(student, teacher).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
                / Double(student.count)
        case .reverse: return square * Self.divergence(q, p)
        case .mixture(let share):
            let m = zip(p, q).map { share * $0 + (1 - share) * $1 }
            return square * (share * Self.divergence(p, m) + (1 - share) * Self.divergence(q, m))
        case .decoupled(let target, let others):
            func pair(_ x: [Double]) -> [Double] { [x[label], 1 - x[label]] }
            func rest(_ x: [Double]) -> [Double] {
                x.indices.filter { $0 != label }.map { x[$0] / (1 - x[label]) }
            }
            return square
                * (target * Self.divergence(pair(p), pair(q)) + others * Self.divergence(rest(p), rest(q)))
        }
    }

    private func softmax(_ logits: [Double]) -> [Double] {
        let top = logits.max() ?? 0
        let powers = logits.map { exp(($0 - top) / temperature) }
        let sum = powers.reduce(0, +)
        return powers.map { $0 / sum }
    }

    private static func divergence(_ p: [Double], _ q: [Double]) -> Double {
        zip(p, q).reduce(0) { $0 + $1.0 * log($1.0 / $1.1) }
    }
}
