import Glibc
import Graph
import Tensor

/// What a model's outputs are compared with.
public enum ReferenceTarget {
    /// One class for each row of outputs.
    case labels([Int32])
    /// A number for each output, in PyTorch's order.
    case numbers([Double])
}

/// PyTorch's losses: what a row of outputs costs, and the mean over the rows that count.
public enum ReferenceLoss: Hashable, Sendable {
    /// Softmax cross-entropy; numbers as targets are the classes' probabilities.
    case crossEntropy(smoothing: Double = 0)
    /// KL(target ‖ softmax(output)).
    case divergence
    case squaredError
    case absoluteError
    /// Quadratic up to `delta`, linear beyond.
    case huber(delta: Double)
    /// Of logits, against probabilities or one-hot labels.
    case binaryCrossEntropy

    /// Rows with this label are left out.
    public static let ignored: Int32 = -100

    /// The loss of outputs `[rows, width]`.
    public func value(_ output: [Double], width: Int, _ target: ReferenceTarget) -> Double {
        let rows = output.count / width
        let counted = (0..<rows).filter { !target.ignores($0) }
        let total = counted.reduce(0) { sum, row in
            let line = Array(output[(row * width)..<((row + 1) * width)])
            return sum + self.row(line, target.numbers(row: row, width: width))
        }
        return counted.isEmpty ? 0 : total / Double(counted.count)
    }

    private func row(_ x: [Double], _ target: [Double]) -> Double {
        switch self {
        case .crossEntropy(let smoothing):
            return zip(Self.logSoftmax(x), target).reduce(0) { sum, pair in
                sum - ((1 - smoothing) * pair.1 + smoothing / Double(x.count)) * pair.0
            }
        case .divergence:
            return zip(Self.logSoftmax(x), target).reduce(0) { sum, pair in
                pair.1 > 0 ? sum + pair.1 * (log(pair.1) - pair.0) : sum
            }
        case .squaredError: return Self.mean(x, target) { ($0 - $1) * ($0 - $1) }
        case .absoluteError: return Self.mean(x, target) { abs($0 - $1) }
        case .huber(let delta):
            return Self.mean(x, target) { x, t in
                let distance = abs(x - t)
                return distance <= delta ? distance * distance / 2 : delta * (distance - delta / 2)
            }
        case .binaryCrossEntropy:
            // -t log σ(x) - (1 - t) log(1 - σ(x)) = max(x, 0) - x t + log(1 + e^-|x|)
            return Self.mean(x, target) { max($0, 0) - $0 * $1 + log1p(exp(-abs($0))) }
        }
    }

    private static func logSoftmax(_ line: [Double]) -> [Double] {
        let maximum = line.max() ?? 0
        let logSum = log(line.reduce(0) { $0 + exp($1 - maximum) }) + maximum
        return line.map { $0 - logSum }
    }

    private static func mean(
        _ output: [Double], _ target: [Double], _ term: (Double, Double) -> Double
    ) -> Double {
        zip(output, target).reduce(0) { $0 + term($1.0, $1.1) } / Double(output.count)
    }
}

extension ReferenceTarget {
    /// A row's target as numbers; a label is one-hot.
    fileprivate func numbers(row: Int, width: Int) -> [Double] {
        switch self {
        case .numbers(let numbers): Array(numbers[(row * width)..<((row + 1) * width)])
        case .labels(let labels): (0..<width).map { Int(labels[row]) == $0 ? 1 : 0 }
        }
    }

    fileprivate func ignores(_ row: Int) -> Bool {
        if case .labels(let labels) = self { labels[row] == ReferenceLoss.ignored } else { false }
    }

    /// Rows that count, of `rows`.
    public func counted(of rows: Int) -> Int { (0..<rows).filter { !ignores($0) }.count }
}

extension ReferenceModel {
    /// The loss of a batch; rows are samples, or the tokens of an output `[tokens, classes]`.
    public func loss(
        _ loss: ReferenceLoss, _ input: [Double], _ target: ReferenceTarget, batch: Int
    ) -> Double {
        loss.value(forward(input, batch: batch), width: graph[graph.output].channels, target)
    }
}
