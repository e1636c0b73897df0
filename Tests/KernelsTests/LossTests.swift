import JSON
import Kernels
import TestSupport
import Testing

@Suite("Losses agree with PyTorch") struct LossTests {
    private static func state(_ rows: Int) -> StepState {
        StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1 / Float(rows))
    }

    private static func crossEntropy(
        _ logits: [Float], _ labels: [Int32], smoothing: Float = 0, sharing: Bool = false
    ) throws -> (result: LossResult, gradient: [Float]) {
        let classes = logits.count / labels.count
        let kernel = Loss.crossEntropy(
            rows: labels.count, classes: classes, labelSmoothing: smoothing, gradient: true)
        let run = try KernelRun(
            kernel,
            [
                .state(state(labels.count)), .floats(logits), .integers(labels), .unwritten, .unwritten,
                .unwritten, sharing ? .sharing(1) : .unwritten,
            ])
        return (run.loss(5), run.floats(6))
    }

    private static func correct(_ outputs: [Float], _ labels: [Int32]) -> Int64 {
        let width = outputs.count / labels.count
        return Int64(
            labels.enumerated().count { row, label in
                let values = Array(outputs[(row * width)..<((row + 1) * width)])
                return values.firstIndex(of: values.max() ?? 0) == Int(label)
            })
    }

    /// z - m is rounded to ε |z - m|, which exp turns into a relative error; a sum over C classes adds
    /// √C ε.
    @Test("cross-entropy with label smoothing", arguments: Fixture.cases("layers", op: "cross_entropy"))
    func crossEntropy(name: String) throws {
        let fixture = try Fixture("layers")
        let logits = try fixture.floats("\(name)/input")
        let labels = try fixture.integers("\(name)/target").map { Int32($0) }
        let smoothing = fixture.number(name, "label_smoothing")
        let (result, gradient) = try Self.crossEntropy(logits, labels, smoothing: smoothing)
        let range = 2 * magnitude(logits)
        let classes = Float(logits.count / labels.count)
        let bound = 4 * (classes.squareRoot() + range) * epsilon
        let expected = try fixture.floats("\(name)/loss")
        expectClose(
            [Float(result.lossSum / Double(labels.count))], expected, within: bound * max(1, expected[0]),
            name)
        expectClose(
            gradient, try fixture.floats("\(name)/grad_input"), within: bound / Float(labels.count), name)
        #expect(result.rows == Int64(labels.count))
        #expect(result.correct == Self.correct(logits, labels))
        let shared = try Self.crossEntropy(logits, labels, smoothing: smoothing, sharing: true)
        #expect(shared.gradient == gradient && shared.result == result, "in place")
    }

    @Test("mean squared error", arguments: Fixture.cases("layers", op: "mse"))
    func squaredError(name: String) throws {
        let fixture = try Fixture("layers")
        let outputs = try fixture.floats("\(name)/input")
        let shape = try fixture.shape("\(name)/input")
        let kernel = Loss.squaredError(rows: shape[0], width: shape[1], oneHot: false, gradient: true)
        let targets = try fixture.floats("\(name)/target")
        let run = try KernelRun(
            kernel, [.state(Self.state(shape[0])), .floats(outputs), .floats(targets)])
        let expected = try fixture.floats("\(name)/loss")
        let bound = 4 * Float(outputs.count).squareRoot() * epsilon
        expectClose(
            [Float(run.loss(5).lossSum / Double(shape[0]))], expected, within: bound * expected[0], name)
        let gradient = try fixture.floats("\(name)/grad_input")
        expectClose(run.floats(6), gradient, within: bound * magnitude(gradient), name)
    }

    @Test("mean squared error against labels is that against their one-hot rows")
    func oneHot() throws {
        let (rows, width) = (5, 7)
        let outputs = randomFloats(rows * width, seed: 8)
        let labels: [Int32] = [0, 6, 3, 2, 5]
        let targets = (0..<rows * width).map { Int32($0 % width) == labels[$0 / width] ? Float(1) : 0 }
        let state = Given.state(Self.state(rows))
        let byLabel = try KernelRun(
            Loss.squaredError(rows: rows, width: width, oneHot: true, gradient: true),
            [state, .floats(outputs), .integers(labels)])
        let byTarget = try KernelRun(
            Loss.squaredError(rows: rows, width: width, oneHot: false, gradient: true),
            [state, .floats(outputs), .floats(targets)])
        #expect(byLabel.floats(6) == byTarget.floats(6))
        #expect(byLabel.loss(5).lossSum == byTarget.loss(5).lossSum)
        #expect(byLabel.loss(5).correct == Self.correct(outputs, labels))
    }

    @Test("huge finite logits give finite losses", arguments: [Float(1e3), 1e4, 1e30])
    func hugeLogits(size: Float) throws {
        let (result, gradient) = try Self.crossEntropy(
            [size, -size, 0, -size, size, 0], [1, 1], smoothing: 0.1)
        #expect(result.lossSum.isFinite && result.lossSum > Double(size))
        #expect(gradient.allSatisfy { $0.isFinite })
        let (right, _) = try Self.crossEntropy([size, 0, -size], [0])
        #expect(right.lossSum == 0 && right.correct == 1)
    }

    @Test(
        "NaN and infinity in the logits reach the loss",
        arguments: [[Float.nan, 0, 0], [0, .nan, 0], [0, 0, .nan], [.infinity, 0, 0], [0, 0, .infinity]])
    func nonFinite(logits: [Float]) throws {
        for label in 0..<3 as Range<Int32> {
            let (result, _) = try Self.crossEntropy(logits + [1, 2, 3], [label, 0])
            #expect(!result.lossSum.isFinite, "label \(label)")
        }
        let squared = try KernelRun(
            Loss.squaredError(rows: 1, width: 3, oneHot: true, gradient: false),
            [.state(Self.state(1)), .floats(logits), .integers([0])])
        #expect(!squared.loss(5).lossSum.isFinite)
    }

    @Test("a logit of minus infinity has no part in another class's loss")
    func minusInfinity() throws {
        let (result, gradient) = try Self.crossEntropy([0, -.infinity, 0], [0])
        #expect(abs(result.lossSum - 0.693_147) < 1e-6)
        #expect(gradient.allSatisfy { $0.isFinite })
        #expect(try !Self.crossEntropy([0, -.infinity, 0], [1]).result.lossSum.isFinite)
    }

    @Test("the same bits on one, two and three threads")
    func threads() throws {
        let (rows, classes) = (501, 10)
        let logits = randomFloats(rows * classes, seed: 6, low: -5, high: 5)
        let labels = (0..<rows).map { Int32($0 % classes) }
        let results = try [1, 2, 3].map { threads in
            ThreadTeam.use(threads)
            return try Self.crossEntropy(logits, labels, smoothing: 0.1)
        }
        for other in results[1...] {
            #expect(other.result == results[0].result)
            #expect(bits(other.gradient) == bits(results[0].gradient))
        }
    }
}
