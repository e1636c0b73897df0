import JSON
import Kernels
import Tensor
import TestSupport
import Testing

@Suite("A student's loss against a teacher") struct DistillationLossTests {
    typealias Soft = DistillationLoss.Soft
    static let names = ["kl", "ce", "mse_logits", "reverse_kl", "jsd", "dkd"].flatMap {
        Fixture.cases("distillation", op: $0)
    }
    static let all: [Soft] = [
        .klDivergence, .crossEntropy, .squaredError, .reverseKL, .jensenShannon(share: 0.3),
        .decoupled(target: 1, others: 8),
    ]

    /// Rows of two models and what they are compared with.
    struct Example {
        var settings: DistillationLoss.Settings
        let width: Int
        var student: [Float]
        var teacher: [Float]
        var target: Given
        var kind = Loss.Target.labels()
        var counted: Int

        var rows: Int { student.count / width }

        func run(
            element: ElementType = .float32, gradient: Given = .unwritten, softWeight: Float = 1,
            isTraining: Bool = true
        ) throws -> KernelRun {
            var settings = settings
            settings.teacherElement = element
            let kernel = DistillationLoss.prepare(
                settings, rows: rows, width: width, target: kind, element: element, gradient: isTraining)
            var state = StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1 / Float(counted))
            state.softWeight = softWeight
            let outputs = stored(student, as: element)
            return try KernelRun(
                kernel,
                [
                    .state(state), outputs, target, stored(teacher, as: element), .unwritten, .unwritten,
                    .unwritten, .unwritten,
                ] + (isTraining ? [gradient] : []))
        }
    }

    private static func example(_ name: String) throws -> (Example, Fixture) {
        let fixture = try Fixture("distillation")
        func number(_ key: String) -> Float { fixture.number(name, key) }
        let soft: Soft =
            switch try #require(fixture.cases[name]?["op"]?.stringValue) {
            case "kl": .klDivergence
            case "ce": .crossEntropy
            case "mse_logits": .squaredError
            case "reverse_kl": .reverseKL
            case "jsd": .jensenShannon(share: number("beta"))
            default: .decoupled(target: number("target"), others: number("others"))
            }
        let shape = try fixture.shape("\(name)/student")
        var example = Example(
            settings: .init(
                soft: soft, alpha: number("alpha"), temperature: number("temperature"),
                labelSmoothing: number("label_smoothing")), width: shape[1],
            student: try fixture.floats("\(name)/student"),
            teacher: try fixture.floats("\(name)/teacher"), target: .unwritten,
            counted: shape[0])
        if try fixture.shape("\(name)/target").count == 2 {
            (example.target, example.kind) = (.floats(try fixture.floats("\(name)/target")), .values)
        } else {
            let labels = try fixture.integers("\(name)/target").map { Int32($0) }
            (example.target, example.counted) = (.integers(labels), labels.count { $0 >= 0 })
        }
        return (example, fixture)
    }

    /// What float32 arithmetic may cost.
    ///
    /// Logits of size s are scaled and shifted with errors ε s / T, which exp and log make relative errors of
    /// the probabilities; the sums of C classes add √C ε. T² times terms of the size of divergences' slopes
    /// leaves T s ε and T² C^½ ε of the value, of which the second-order form drops the latter.
    private static func bound(_ example: Example, _ losses: [Double]) -> Double {
        let size = Double(max(magnitude(example.student), magnitude(example.teacher)))
        let temperature = Double(example.settings.temperature)
        let weight =
            if case .decoupled(let target, let others) = example.settings.soft {
                Double(target + others)
            } else { 1.0 }
        let relative = Double(example.width).squareRoot() + size / temperature
        let value = losses.map(abs).max() ?? 0
        return Double(epsilon) * (relative * max(value, 1) + weight * temperature * (size + 1))
    }

    @Test("agrees with PyTorch, with its gradient, also in place", arguments: names)
    func agrees(name: String) throws {
        let (example, fixture) = try Self.example(name)
        let run = try example.run()
        let (result, losses) = (run.loss(7), try fixture.doubles("\(name)/losses"))
        let bound = Self.bound(example, losses)
        let found = [result.lossSum, result.hardSum, result.softSum].map { $0 / Double(example.counted) }
        for (one, other) in zip(found, losses) {
            #expect(abs(one - other) <= bound, "\(found) for \(losses)")
        }
        #expect(try result.agreed == fixture.integers("\(name)/agreed")[0])
        #expect(result.counted == Int64(example.counted))
        let gradient = try fixture.floats("\(name)/grad_student")
        expectClose(run.floats(8), gradient, within: Float(bound) / Float(example.counted), name)
        let shared = try example.run(gradient: .sharing(1))
        #expect(bits(shared.floats(8)) == bits(run.floats(8)) && shared.loss(7) == result, "in place")
        #expect(try example.run(isTraining: false).loss(7) == result, "without gradient")
    }

    @Test("in bfloat16 is float32's of the same numbers, its gradient rounded once", arguments: names)
    func bfloat16(name: String) throws {
        var (example, _) = try Self.example(name)
        example.student = rounded(example.student, to: .bfloat16)
        example.teacher = rounded(example.teacher, to: .bfloat16)
        let (wide, narrow) = (try example.run(), try example.run(element: .bfloat16))
        #expect(narrow.loss(7) == wide.loss(7))
        #expect(narrow.values(8, as: .bfloat16) == rounded(wide.floats(8), to: .bfloat16))
    }

    private static func unit(
        _ soft: Soft, alpha: Float, temperature: Float = 4, student: [Float] = [1, 2, 3],
        teacher: [Float] = [3, 2, 1]
    ) -> Example {
        Example(
            settings: .init(soft: soft, alpha: alpha, temperature: temperature), width: student.count,
            student: student, teacher: teacher, target: .integers([0]), counted: 1)
    }

    @Test("T² · KL of [1, 2, 3] and [3, 2, 1] at T = 4 is 1.319630, its gradient T (q - p)")
    func unitVector() throws {
        let run = try Self.unit(.klDivergence, alpha: 0.1).run()
        #expect(abs(run.loss(7).softSum - 1.319_630) < 1e-6)
        #expect(abs(run.loss(7).softSum / 16 - 0.082_477) < 1e-6)
        #expect(abs(run.loss(7).hardSum - 2.407_606) < 1e-6)
        #expect(abs(run.loss(7).lossSum - 1.428_428) < 1e-6)
        let soft = try Self.unit(.klDivergence, alpha: 0).run()
        expectClose(soft.floats(8), [-0.659_815, 0, 0.659_815], within: 1e-6, "gradient")
    }

    /// Rounding leaves traces only where a logarithm is taken.
    ///
    /// The cross-entropy's gradient vanishes too, though its value is the teacher's entropy. The mixture's
    /// logarithm, up to 18 + log 1000, rounds twice; the divergence is of second order in that.
    @Test("of equal models is nothing, at every temperature and width; of others it is above zero")
    func equal() throws {
        for soft in Self.all {
            for temperature in [Float(1), 2, 4, 8, 20] {
                for width in [1, 2, 3, 10, 15, 16, 17, 100, 1000] {
                    let outputs = randomFloats(width, seed: UInt64(width), low: -9, high: 9)
                    var example = Self.unit(
                        soft, alpha: 0, temperature: temperature, student: outputs, teacher: outputs)
                    let same = try example.run()
                    let rounding =
                        if case .jensenShannon = soft { temperature * 100 * epsilon } else { Float(0) }
                    if soft != .crossEntropy {
                        #expect(
                            abs(same.loss(7).softSum) <= Double(rounding * rounding), "\(soft) of \(width)")
                    }
                    #expect(magnitude(same.floats(8)) <= rounding, "\(soft) of \(width) at \(temperature)")
                    #expect(same.loss(7).agreed == 1)
                    example.teacher[0] += 1
                    let other = try example.run().loss(7).softSum
                    let isLone = width == 1 && soft != .squaredError
                    #expect(isLone ? abs(other) < 1e-6 : other > 0, "\(soft) of \(width) at \(temperature)")
                }
            }
        }
    }

    @Test("of a batch twice is the same mean; of no row that counts nothing", arguments: all)
    func repeated(soft: Soft) throws {
        let (student, teacher) = (randomFloats(35, seed: 1, low: -3, high: 3), randomFloats(35, seed: 2))
        let labels: [Int32] = [3, 0, 6, 1, 2]
        var example = Example(
            settings: .init(soft: soft), width: 7, student: student, teacher: teacher,
            target: .integers(labels), counted: 5)
        let once = try example.run()
        (example.student, example.teacher) = (student + student, teacher + teacher)
        (example.target, example.counted) = (.integers(labels + labels), 10)
        let twice = try example.run()
        #expect(abs(twice.loss(7).lossSum / 10 - once.loss(7).lossSum / 5) < 1e-12)
        expectClose(twice.floats(8), (once.floats(8) + once.floats(8)).map { $0 / 2 }, within: 1e-9, "half")
        example.target = .integers([Int32](repeating: -100, count: 10))
        let none = try example.run()
        #expect(none.loss(7).lossSum == 0 && none.loss(7).counted == 0 && none.loss(7).agreed == 0)
        #expect(none.floats(8).allSatisfy { $0 == 0 })
    }

    /// The divergences grow with the logits, at most linearly but for the squared error.
    @Test("of logits of a thousand and of classes ruled out is finite", arguments: all)
    func huge(soft: Soft) throws {
        for (student, teacher) in [
            ([1e3, -1e3, 0], [-1e3, 1e3, 0]), ([0, 1e3, 999], [1e3, 0, 0]), ([-1e3, 0, 0], [1e3, 1, 2]),
        ] as [([Float], [Float])] {
            let run = try Self.unit(soft, alpha: 0.5, student: student, teacher: teacher).run()
            #expect(run.loss(7).lossSum.isFinite && run.floats(8).allSatisfy { $0.isFinite })
        }
        guard soft == .klDivergence else { return }
        let ruledOut = try Self.unit(soft, alpha: 0, student: [0, 1, 2], teacher: [0, 1, -.infinity]).run()
        #expect(ruledOut.loss(7).softSum.isFinite && ruledOut.floats(8).allSatisfy { $0.isFinite })
    }

    @Test("shows what is not a number, in student or teacher", arguments: all)
    func notNumbers(soft: Soft) throws {
        for place in 0..<3 {
            var logits: [Float] = [1, 2, 3]
            logits[place] = .nan
            #expect(try Self.unit(soft, alpha: 0.5, student: logits).run().loss(7).lossSum.isNaN)
            #expect(try Self.unit(soft, alpha: 0.5, teacher: logits).run().loss(7).lossSum.isNaN)
        }
    }

    @Test("is warmed up by the step's weight of the soft part alone")
    func warmUp() throws {
        let example = Self.unit(.decoupled(target: 1, others: 8), alpha: 0.1)
        let (cold, warm) = (try example.run(softWeight: 0), try example.run(softWeight: 0.25))
        let whole = try example.run()
        #expect(abs(cold.loss(7).lossSum - 0.1 * cold.loss(7).hardSum) < 1e-7)
        #expect(warm.loss(7).softSum == whole.loss(7).softSum)
        let quarter = zip(cold.floats(8), whole.floats(8)).map { $0 + ($1 - $0) / 4 }
        expectClose(warm.floats(8), quarter, within: 1e-6, "gradient")
    }

    @Test("a share of 0 or 1 is the divergence or the reverse one, as its authors have it")
    func ends() throws {
        for (share, soft) in [(Float(0), Soft.klDivergence), (1, .reverseKL)] {
            let one = try Self.unit(.jensenShannon(share: share), alpha: 0.1).run()
            let other = try Self.unit(soft, alpha: 0.1).run()
            #expect(one.loss(7) == other.loss(7) && bits(one.floats(8)) == bits(other.floats(8)))
        }
    }

    @Test("the same bits on one, two and three threads", arguments: all)
    func threads(soft: Soft) throws {
        let (rows, width) = (13, 2003)
        let example = Example(
            settings: .init(soft: soft), width: width,
            student: randomFloats(rows * width, seed: 6, low: -5, high: 5),
            teacher: randomFloats(rows * width, seed: 7, low: -5, high: 5),
            target: .integers((0..<rows).map { Int32($0 * 150) }), counted: rows)
        let results = try [1, 2, 3].map { threads in
            ThreadTeam.use(threads)
            let run = try example.run()
            return (run.loss(7), bits(run.floats(8)))
        }
        ThreadTeam.use(1)
        #expect(results[1] == results[0] && results[2] == results[0])
    }
}
