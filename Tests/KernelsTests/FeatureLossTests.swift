import JSON
import Kernels
import Tensor
import TestSupport
import Testing

@Suite("The distance of features from a teacher's") struct FeatureLossTests {
    static let names = ["mse", "cosine", "attention"].flatMap { Fixture.cases("features", op: $0) }
    static let kinds: [FeatureLoss.Kind] = [.squaredError, .cosine, .attention]
    private static let weight: Float = 2.5

    /// A batch of features of two models, channels innermost.
    struct Example {
        var loss: FeatureLoss
        let batch: Int
        var student: [Float]
        var teacher: [Float]

        func run(
            element: ElementType = .float32, gradient: Given = .unwritten, isTraining: Bool = true,
            before: LossResult = LossResult(), rows: Int = 1
        ) throws -> KernelRun {
            let kernel = loss.prepare(batch: batch, element: element, gradient: isTraining)
            var state = StepState(
                seed: 0, step: 0, learningRate: 0, inverseCount: 1 / Float(batch * rows))
            state.inverseSamples = 1 / Float(batch)
            let words = [
                before.lossSum.bitPattern, 0, 0, UInt64(before.counted), 0, 0, 0,
                before.featureSum.bitPattern,
            ]
            let result = words.flatMap { word in
                stride(from: 0, to: 64, by: 8).map { UInt8(truncatingIfNeeded: word >> $0) }
            }
            return try KernelRun(
                kernel,
                [
                    .state(state), stored(student, as: element), stored(teacher, as: element), .unwritten,
                    .bytes(result),
                ] + (isTraining ? [gradient] : []))
        }

        /// The mean over the samples in float64.
        func expected(_ student: [Double]) -> Double {
            let kind: ReferenceFeature.Kind =
                switch loss.kind {
                case .squaredError: .squaredError
                case .cosine: .cosine
                case .attention: .attention
                }
            return ReferenceFeature(
                kind, positions: loss.positions, channels: loss.channels,
                teacherChannels: loss.teacherChannels
            ).value(student, teacher.map(Double.init), batch: batch)
        }
    }

    private static func random(
        _ kind: FeatureLoss.Kind, batch: Int = 3, positions: Int = 7, channels: Int = 18
    ) -> Example {
        let others = kind == .attention ? channels + 5 : channels
        return Example(
            loss: FeatureLoss(
                kind, weight: weight, positions: positions, channels: channels, teacherChannels: others),
            batch: batch, student: randomFloats(batch * positions * channels, seed: 5),
            teacher: randomFloats(batch * positions * others, seed: 6))
    }

    private static func example(_ name: String) throws -> (Example, Fixture) {
        let fixture = try Fixture("features")
        let kind: FeatureLoss.Kind =
            switch try #require(fixture.cases[name]?["op"]?.stringValue) {
            case "mse": .squaredError
            case "cosine": .cosine
            default: .attention
            }
        let (own, others) = (
            try fixture.shape("\(name)/student"), try fixture.shape("\(name)/teacher")
        )
        return (
            Example(
                loss: FeatureLoss(
                    kind, weight: weight, positions: own[2] * own[3], channels: own[1],
                    teacherChannels: others[1]),
                batch: own[0], student: channelsLast(try fixture.floats("\(name)/student"), own),
                teacher: channelsLast(try fixture.floats("\(name)/teacher"), others)), fixture
        )
    }

    /// What float32 arithmetic may cost.
    ///
    /// Sixteen lanes sum blocks of 1,024 elements: 64 additions a lane and four more, each off by ε / 2 of
    /// what is summed: positive numbers or, in a product, at most |a| |b|. What follows is float64's but for
    /// the result, which is rounded once, and the slopes, which take three roundings of their parts.
    private static func bound(_ expected: Double) -> Double { Double(34 * epsilon) * max(expected, 1) }

    @Test("agrees with PyTorch, with its gradient, also in place", arguments: names)
    func agrees(name: String) throws {
        let (example, fixture) = try Self.example(name)
        let run = try example.run()
        let loss = Double(Self.weight) * (try fixture.doubles("\(name)/loss")[0])
        let found = run.loss(4)
        #expect(abs(found.featureSum / Double(example.batch) - loss) <= Self.bound(loss))
        #expect(found.lossSum == found.featureSum)
        let shape = try fixture.shape("\(name)/student")
        let gradient = channelsLast(try fixture.floats("\(name)/grad_student"), shape)
            .map { Self.weight * $0 }
        // Of attention's slope the two parts may cancel, which are as large as the features' own share.
        let size = max(magnitude(gradient), example.loss.kind == .attention ? 1e-3 : 0)
        expectClose(run.floats(5), gradient, within: Float(Self.bound(1)) * size, name)
        let shared = try example.run(gradient: .sharing(1))
        #expect(bits(shared.floats(5)) == bits(run.floats(5)) && shared.loss(4) == found, "in place")
        #expect(try example.run(isTraining: false).loss(4) == found, "without gradient")
    }

    @Test("in bfloat16 is float32's of the same numbers, its gradient rounded once", arguments: names)
    func bfloat16(name: String) throws {
        var (example, _) = try Self.example(name)
        example.student = rounded(example.student, to: .bfloat16)
        example.teacher = rounded(example.teacher, to: .bfloat16)
        let (wide, narrow) = (try example.run(), try example.run(element: .bfloat16))
        #expect(narrow.loss(4) == wide.loss(4))
        #expect(narrow.values(5, as: .bfloat16) == rounded(wide.floats(5), to: .bfloat16))
    }

    /// Central differences of step h err by h² f''' / 6 + u f / h, below 1e-9 for h = 1e-6.
    @Test("has the gradient of central differences, also in place", arguments: kinds, [3, 16, 18, 37])
    func differences(kind: FeatureLoss.Kind, channels: Int) throws {
        let example = Self.random(kind, channels: channels)
        #expect(bits(try example.run(gradient: .sharing(1)).floats(5)) == bits(try example.run().floats(5)))
        let (gradient, student) = (try example.run().floats(5), example.student.map(Double.init))
        for place in stride(from: 0, to: student.count, by: 11) {
            let ends = [1e-6, -1e-6].map { step in
                var moved = student
                moved[place] += step
                return example.expected(moved)
            }
            let difference = Double(Self.weight) * (ends[0] - ends[1]) / 2e-6
            let found = Double(gradient[place])
            #expect(abs(found - difference) <= Self.bound(0) * 0.1 + 1e-8, "\(place): \(found) \(difference)")
        }
    }

    @Test("is added to the loss of the rows, of which a sample may have several")
    func added() throws {
        var before = LossResult()
        (before.lossSum, before.counted, before.featureSum) = (7, 12, 0.5)
        let example = Self.random(.squaredError)
        let (alone, found) = (try example.run().loss(4), try example.run(before: before, rows: 4).loss(4))
        // Divided by four times as many rows.
        #expect(abs(found.featureSum - 0.5 - 4 * alone.featureSum) < 1e-6)
        #expect(abs(found.lossSum - 7 - 4 * alone.featureSum) < 1e-6 && found.counted == 12)
    }

    @Test("of a batch twice is the same mean, with half the gradient", arguments: kinds)
    func repeated(kind: FeatureLoss.Kind) throws {
        var example = Self.random(kind)
        let once = try example.run()
        example = Example(
            loss: example.loss, batch: 6, student: example.student + example.student,
            teacher: example.teacher + example.teacher)
        let twice = try example.run()
        #expect(abs(twice.loss(4).featureSum / 6 - once.loss(4).featureSum / 3) < 1e-9)
        expectClose(twice.floats(5), (once.floats(5) + once.floats(5)).map { $0 / 2 }, within: 1e-8, "half")
    }

    @Test("of equal features is nothing; cosine and attention know no size", arguments: kinds)
    func equal(kind: FeatureLoss.Kind) throws {
        let features = randomFloats(3 * 7 * 18, seed: 3)
        let loss = FeatureLoss(kind, weight: 1, positions: 7, channels: 18, teacherChannels: 18)
        for factor in kind == .squaredError ? [Float(1)] : [1, 4, 0.25] {
            let example = Example(
                loss: loss, batch: 3, student: features, teacher: features.map { factor * $0 })
            let run = try example.run()
            #expect(abs(run.loss(4).featureSum) <= Double(3 * epsilon), "\(factor)")
            #expect(magnitude(run.floats(5)) <= 4 * epsilon)
        }
    }

    @Test("of nothing but zeros is a number, and shows what is none", arguments: kinds)
    func extremes(kind: FeatureLoss.Kind) throws {
        var example = Self.random(kind)
        let (student, teacher) = (example.student, example.teacher)
        example.student = student.map { _ in 0 }
        let run = try example.run()
        #expect(run.loss(4).featureSum.isFinite && run.floats(5).allSatisfy { $0.isFinite })
        example.teacher = teacher.map { _ in 0 }
        #expect(try example.run().loss(4).featureSum.isFinite)
        (example.student, example.teacher) = (student, teacher)
        example.student[3] = .nan
        #expect(try example.run().loss(4).lossSum.isNaN)
        (example.student[3], example.teacher[4]) = (1, .nan)
        #expect(try example.run().loss(4).lossSum.isNaN)
    }

    @Test("the same bits on one, two and three threads", arguments: kinds)
    func threads(kind: FeatureLoss.Kind) throws {
        let example = Self.random(kind, batch: 7, positions: 49, channels: 64)
        let results = try [1, 2, 3].map { threads in
            ThreadTeam.use(threads)
            let run = try example.run()
            return (run.loss(4), bits(run.floats(5)))
        }
        ThreadTeam.use(1)
        #expect(results[1] == results[0] && results[2] == results[0])
    }
}
