import JSON
import Kernels
import Tensor
import TestSupport
import Testing

@Suite("Every loss agrees with PyTorch") struct LossFunctionTests {
    static let names = ["ignoring", "soft", "kl", "bce", "huber", "l1", "mse"].flatMap {
        Fixture.cases("losses", op: $0)
    }

    /// One case of the fixture.
    struct Case {
        let function: Loss.Function
        let rows: Int
        let width: Int
        let outputs: [Float]
        let target: Given
        let kind: Loss.Target
        /// Rows that count.
        let counted: Int

        init(_ fixture: Fixture, _ name: String) throws {
            let smoothing = fixture.number(name, "label_smoothing")
            function =
                switch try #require(fixture.cases[name]?["op"]?.stringValue) {
                case "ignoring", "soft": .crossEntropy(labelSmoothing: smoothing)
                case "kl": .klDivergence
                case "bce": .binaryCrossEntropy
                case "huber": .huber(delta: fixture.number(name, "delta"))
                case "l1": .absoluteError
                default: .squaredError
                }
            let shape = try fixture.shape("\(name)/input")
            (rows, width) = (shape[0], shape[1])
            outputs = try fixture.floats("\(name)/input")
            if fixture.cases[name]?["op"] == "ignoring" {
                let labels = try fixture.integers("\(name)/target").map { Int32($0) }
                (target, kind, counted) = (.integers(labels), .labels(), labels.count { $0 >= 0 })
            } else {
                (target, kind, counted) = (.floats(try fixture.floats("\(name)/target")), .values, rows)
            }
        }

        func run(
            _ outputs: Given, gradient: Given = .unwritten, element: ElementType = .float32,
            isTraining: Bool = true
        ) throws -> KernelRun {
            let kernel = Loss.prepare(
                function, rows: rows, width: width, target: kind, element: element, gradient: isTraining)
            let state = StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1 / Float(counted))
            return try KernelRun(
                kernel,
                [.state(state), outputs, target, .unwritten, .unwritten, .unwritten]
                    + (isTraining ? [gradient] : []))
        }
    }

    /// The bound grows with the logits' range and the square root of the width.
    ///
    /// Rounding z - m by ε |z - m| becomes a relative error of exp; a sum of `width` terms of size s adds
    /// √width · ε · s. The divergence subtracts two sums of up to the logits' range.
    @Test("with its gradient, also in place", arguments: names)
    func agrees(name: String) throws {
        let fixture = try Fixture("losses")
        let example = try Case(fixture, name)
        let run = try example.run(.floats(example.outputs))
        let (range, width) = (2 * magnitude(example.outputs), Float(example.width))
        let bound = 4 * (width.squareRoot() + range) * epsilon
        let expected = try fixture.floats("\(name)/loss")
        let result = run.loss(5)
        expectClose(
            [Float(result.lossSum / Double(example.counted))], expected,
            within: bound * max(1, expected[0]), name)
        let gradient = try fixture.floats("\(name)/grad_input")
        expectClose(run.floats(6), gradient, within: bound / Float(example.counted), name)
        #expect(result.rows == Int64(example.rows) && result.counted == Int64(example.counted))
        let shared = try example.run(.floats(example.outputs), gradient: .sharing(1))
        #expect(bits(shared.floats(6)) == bits(run.floats(6)) && shared.loss(5) == result, "in place")
        let evaluated = try example.run(.floats(example.outputs), isTraining: false)
        #expect(evaluated.loss(5) == result, "without gradient")
    }

    @Test("outputs in bfloat16 cost what the same floats cost; gradients are rounded once", arguments: names)
    func bfloat16(name: String) throws {
        let example = try Case(Fixture("losses"), name)
        let outputs = rounded(example.outputs, to: .bfloat16)
        let narrow = stored(outputs, as: .bfloat16)
        let wide = try example.run(.floats(outputs))
        let run = try example.run(narrow, element: .bfloat16)
        #expect(run.loss(5) == wide.loss(5))
        #expect(run.values(6, as: .bfloat16) == rounded(wide.floats(6), to: .bfloat16))
        let shared = try example.run(narrow, gradient: .sharing(1), element: .bfloat16)
        #expect(shared.bytes(6) == run.bytes(6), "in place")
    }

    static let all: [Loss.Function] = [
        .crossEntropy(labelSmoothing: 0.1), .klDivergence, .squaredError, .absoluteError,
        .huber(delta: 0.5), .binaryCrossEntropy,
    ]

    @Test("labels stand for one-hot rows", arguments: all)
    func oneHot(function: Loss.Function) throws {
        let (rows, width) = (6, 19)
        let outputs = randomFloats(rows * width, seed: 3, low: -2, high: 2)
        let labels: [Int32] = [0, 18, 3, 16, 15, 7]
        let targets = (0..<rows * width).map { Int32($0 % width) == labels[$0 / width] ? Float(1) : 0 }
        let state = Given.state(
            StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1 / Float(rows)))
        func run(_ kind: Loss.Target, _ target: Given) throws -> KernelRun {
            let kernel = Loss.prepare(function, rows: rows, width: width, target: kind, gradient: true)
            return try KernelRun(kernel, [state, .floats(outputs), target])
        }
        let byLabel = try run(.labels(), .integers(labels))
        let byTarget = try run(.values, .floats(targets))
        // The same sums in another order: 19 terms, none above 10.
        #expect(abs(byLabel.loss(5).lossSum - byTarget.loss(5).lossSum) < Double(19 * 10 * epsilon))
        expectClose(byLabel.floats(6), byTarget.floats(6), within: 8 * epsilon, "gradient")
        let best = (0..<rows).count { row in
            let values = outputs[(row * width)..<((row + 1) * width)]
            return values.firstIndex(of: values.max() ?? 0) == row * width + Int(labels[row])
        }
        #expect(byLabel.loss(5).correct == Int64(best))
    }

    @Test(
        "an ignored row leaves no trace, whatever it holds; a label that does not exist is seen",
        arguments: all)
    func ignored(function: Loss.Function) throws {
        let kernel = Loss.prepare(
            function, rows: 3, width: 2, target: .labels(ignored: -1), gradient: true)
        let state = Given.state(StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1))
        let run = try KernelRun(
            kernel, [state, .floats([1, 2, .nan, .infinity, 3, 1]), .integers([1, -1, 0])])
        #expect(run.loss(5).lossSum.isFinite && run.loss(5).counted == 2 && run.loss(5).correct == 2)
        #expect(Array(run.floats(6)[2..<4]) == [0, 0])
        for label in [2, -100, .max] as [Int32] {
            let bad = try KernelRun(
                kernel, [state, .floats([1, 2, 1, 2, 3, 1]), .integers([1, label, 0])])
            #expect(bad.loss(5).lossSum.isNaN && bad.loss(5).counted == 3, "label \(label)")
        }
    }

    @Test("the first of equal outputs is the answer")
    func ties() throws {
        let kernel = Loss.prepare(
            .crossEntropy(labelSmoothing: 0), rows: 3, width: 3, target: .labels(), gradient: false)
        let state = Given.state(StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1))
        let run = try KernelRun(
            kernel, [state, .floats([2, 2, 1, 2, 2, 1, 0, 0, 0]), .integers([0, 1, 0])])
        #expect(run.integers(4) == [1, 0, 1])
    }

    @Test("NaN reaches every loss", arguments: all)
    func nonFinite(function: Loss.Function) throws {
        for target in [Loss.Target.labels(), .values] {
            let kernel = Loss.prepare(function, rows: 1, width: 3, target: target, gradient: false)
            let state = Given.state(StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1))
            let truth: Given = target == .values ? .floats([0, 0, 1]) : .integers([2])
            let run = try KernelRun(kernel, [state, .floats([.nan, 0, 1]), truth])
            #expect(run.loss(5).lossSum.isNaN)
        }
    }

    /// Beyond 88 a sigmoid is 0 or 1 in float32 and the loss is |z| or nothing, to e^-87.
    @Test("huge logits give finite binary losses")
    func hugeLogits() throws {
        let kernel = Loss.prepare(
            .binaryCrossEntropy, rows: 4, width: 1, target: .values, gradient: true)
        let state = Given.state(StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1))
        let run = try KernelRun(kernel, [state, .floats([1e4, -1e4, 1e4, -1e4]), .floats([1, 0, 0, 1])])
        expectClose(run.floats(3), [0, 0, 1e4, 1e4], within: 1e-37, "loss")
        expectClose(run.floats(6), [0, 0, 1, -1], within: 1e-37, "gradient")
    }

    @Test("the same bits on one, two and three threads", arguments: all)
    func threads(function: Loss.Function) throws {
        let (rows, width) = (13, 5003)
        let outputs = randomFloats(rows * width, seed: 6, low: -5, high: 5)
        let targets = randomFloats(rows * width, seed: 7, low: 0, high: 1)
        let kernel = Loss.prepare(function, rows: rows, width: width, target: .values, gradient: true)
        let state = Given.state(StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1))
        let results = try [1, 2, 3].map { threads in
            ThreadTeam.use(threads)
            let run = try KernelRun(kernel, [state, .floats(outputs), .floats(targets)])
            return (run.loss(5), bits(run.floats(6)))
        }
        #expect(results[1] == results[0] && results[2] == results[0])
    }
}
