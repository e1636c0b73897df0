import Glibc
import Graph
public import Tensor

/// What a model's outputs are compared with.
public enum ReferenceTarget {
    /// One class for each row of outputs.
    case labels([Int32])
    /// A number for each output, in PyTorch's order.
    case numbers([Double])
}

/// PyTorch's losses, each with its reduction `mean` (`batchmean` for the divergence).
public enum ReferenceLoss: Hashable, Sendable {
    /// Softmax cross-entropy; rows with the label `ignoring` have no loss and are not counted. Numbers as
    /// targets are the classes' probabilities.
    case crossEntropy(smoothing: Double = 0, ignoring: Int32? = nil)
    /// Against numbers, or one-hot labels.
    case squaredError
    /// Of logits, against probabilities or one-hot labels.
    case binaryCrossEntropy
    /// Quadratic up to `delta`, linear beyond.
    case huber(delta: Double)
    /// KL(target ‖ softmax(output)), a mean over rows.
    case divergence

    /// The loss of a batch of outputs: `[rows, width]`, where the targets' labels tell the rows.
    public func value(_ output: [Double], width: Int, _ target: ReferenceTarget) -> Double {
        let rows = output.count / width
        let targets = target.numbers(rows: rows, width: width)
        switch self {
        case .crossEntropy(let smoothing, let ignored):
            let counted = (0..<rows).filter { !target.isRow($0, labelled: ignored) }
            guard !counted.isEmpty else { return 0 }
            var total = 0.0
            for row in counted {
                let line = Array(output[(row * width)..<((row + 1) * width)])
                for (c, logarithm) in Self.logSoftmax(line).enumerated() {
                    let share = (1 - smoothing) * targets[row * width + c] + smoothing / Double(width)
                    total -= share * logarithm
                }
            }
            return total / Double(counted.count)
        case .squaredError:
            return Self.mean(output, targets) { ($0 - $1) * ($0 - $1) }
        case .binaryCrossEntropy:
            // -t log σ(x) - (1 - t) log(1 - σ(x)) = max(x, 0) - x t + log(1 + e^-|x|)
            return Self.mean(output, targets) { max($0, 0) - $0 * $1 + log1p(exp(-abs($0))) }
        case .huber(let delta):
            return Self.mean(output, targets) { x, t in
                let distance = abs(x - t)
                return distance <= delta ? distance * distance / 2 : delta * (distance - delta / 2)
            }
        case .divergence:
            var total = 0.0
            for row in 0..<rows {
                let line = Array(output[(row * width)..<((row + 1) * width)])
                for (c, logarithm) in Self.logSoftmax(line).enumerated() {
                    let share = targets[row * width + c]
                    if share > 0 { total += share * (log(share) - logarithm) }
                }
            }
            return total / Double(rows)
        }
    }

    private static func logSoftmax(_ line: [Double]) -> [Double] {
        let maximum = line.max() ?? 0
        let logSum = log(line.reduce(0) { $0 + exp($1 - maximum) }) + maximum
        return line.map { $0 - logSum }
    }

    private static func mean(
        _ output: [Double], _ targets: [Double], _ term: (Double, Double) -> Double
    ) -> Double {
        zip(output, targets).reduce(0) { $0 + term($1.0, $1.1) } / Double(output.count)
    }
}

extension ReferenceTarget {
    /// The targets as numbers; labels are one-hot, those outside of the classes zeros.
    fileprivate func numbers(rows: Int, width: Int) -> [Double] {
        switch self {
        case .numbers(let numbers): return numbers
        case .labels(let labels):
            precondition(labels.count == rows, "\(labels.count) labels for \(rows) rows")
            return (0..<(rows * width)).map { Int(labels[$0 / width]) == $0 % width ? 1 : 0 }
        }
    }

    fileprivate func isRow(_ row: Int, labelled label: Int32?) -> Bool {
        if case .labels(let labels) = self, let label { labels[row] == label } else { false }
    }
}

extension ReferenceModel {
    /// The loss of a batch; rows are samples, or the tokens of an output `[tokens, classes]`.
    public func loss(
        _ loss: ReferenceLoss, _ input: [Double], _ target: ReferenceTarget, batch: Int
    ) -> Double {
        loss.value(forward(input, batch: batch), width: graph[graph.output].channels, target)
    }

    /// Mean softmax cross-entropy over the batch.
    public func crossEntropy(_ input: [Double], _ labels: [Int32], smoothing: Double) -> Double {
        loss(.crossEntropy(smoothing: smoothing), input, .labels(labels), batch: labels.count)
    }

    /// Mean squared error against one-hot labels.
    public func squaredError(_ input: [Double], _ labels: [Int32]) -> Double {
        loss(.squaredError, input, .labels(labels), batch: labels.count)
    }
}

/// Images from channels first, as PyTorch has them, to channels last, as the engine does.
public func channelsLast(_ values: [Double], batch: Int, shape: Shape) -> [Double] {
    guard shape.rank == 3 else { return values }
    return permuted(values, [batch, shape[0], shape[1] * shape[2]], by: [0, 2, 1])
}
