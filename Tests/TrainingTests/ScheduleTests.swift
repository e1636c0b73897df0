import Graph
import JSON
import Tensor
import TestSupport
import Testing
import Training

@Suite("LearningRateSchedule") struct ScheduleTests {
    static let cases = [
        "constant", "step", "linear", "cosine", "cosine_annealing", "cosine_warmup", "linear_warmup",
        "constant_warmup",
    ]

    /// PyTorch's own schedulers multiply step by step; 24 roundings of a double stay below 1e-14.
    @Test("gives PyTorch's rates", arguments: cases)
    func agrees(name: String) throws {
        let fixture = try Fixture("schedules")
        let parameters = try #require(fixture.cases[name])
        let ratio = parameters["min_lr_ratio"]?.doubleValue ?? 0
        let curve: LearningRateSchedule.Curve =
            switch parameters["name"]?.stringValue {
            case "step":
                .step(
                    stepSize: parameters["step_size"]?.intValue ?? 0,
                    gamma: parameters["gamma"]?.doubleValue ?? 0)
            case "linear": .linear(minRatio: ratio)
            case "cosine": .cosine(minRatio: ratio)
            default: .constant
            }
        let schedule = LearningRateSchedule(
            base: try #require(parameters["base_lr"]?.doubleValue), curve: curve,
            warmupSteps: parameters["warmup_steps"]?.intValue ?? 0,
            totalSteps: parameters["total"]?.intValue ?? 24)
        let expected = try fixture.doubles(name)
        #expect(expected.count == 24)
        for (step, rate) in expected.enumerated() {
            #expect(abs(schedule.rate(at: step) - rate) < 1e-14, "step \(step)")
        }
    }

    /// PyTorch's one-cycle schedule takes its phases' ends as floats; its exponential multiplies in steps.
    @Test("gives PyTorch's rates", arguments: ["one_cycle", "one_cycle_short", "exponential"])
    func agreesToo(name: String) throws {
        let fixture = try Fixture("more_schedules")
        let parameters = try #require(fixture.cases[name])
        func number(_ key: String) -> Double { parameters[key]?.doubleValue ?? 0 }
        let curve: LearningRateSchedule.Curve =
            name == "exponential"
            ? .exponential(stepSize: 1, gamma: number("gamma"))
            : .oneCycle(
                rise: number("pct_start"), startDivisor: number("div_factor"),
                endDivisor: number("final_div_factor"))
        let schedule = LearningRateSchedule(
            base: number("base_lr"), curve: curve, totalSteps: try #require(parameters["total"]?.intValue))
        let expected = try fixture.doubles(name)
        #expect(expected.count == schedule.totalSteps)
        for (step, rate) in expected.enumerated() {
            #expect(abs(schedule.rate(at: step) - rate) < 1e-14, "step \(step)")
        }
    }

    @Test("warms up, stays and falls to its end")
    func warmupStableDecay() {
        let schedule = LearningRateSchedule(
            base: 2, curve: .warmupStableDecay(fall: 0.25, minRatio: 0.5), warmupSteps: 3, totalSteps: 20)
        #expect((0..<4).map { schedule.rate(at: $0) } == [0.5, 1, 1.5, 2])
        #expect((4...15).allSatisfy { schedule.rate(at: $0) == 2 })
        #expect((15...20).map { schedule.rate(at: $0) } == [2, 1.8, 1.6, 1.4, 1.2, 1])
    }

    @Test("stays finite where there is nothing left to schedule")
    func degenerate() {
        let schedule = LearningRateSchedule(
            base: 1, curve: .cosine(minRatio: 0), warmupSteps: 9, totalSteps: 5)
        #expect((0..<20).allSatisfy { schedule.rate(at: $0).isFinite })
        #expect(schedule.rate(at: 4) == 0.5)
    }
}

@Suite("Initializer") struct InitializerTests {
    private static func parameter(_ layer: LayerKind, _ input: [Int], _ index: Int) throws -> Graph.Parameter
    {
        let layers = [LayerSpec(layer, name: "a")]
        return try ModelSpec(input: Shape(input), layers: layers).graph.parameters[index]
    }

    struct Rule: Sendable, CustomTestStringConvertible {
        let rule: Initialization
        let deviation: Double
        /// nil for a normal distribution.
        let bound: Double?
        var testDescription: String { rule.rawValue }
    }

    /// For 200 inputs and 150 outputs; a uniform distribution in ±b deviates by b / √3.
    static let rules = [
        Rule(rule: .default, deviation: (1 / 600.0).squareRoot(), bound: (1 / 200.0).squareRoot()),
        Rule(rule: .heUniform, deviation: (2 / 200.0).squareRoot(), bound: (6 / 200.0).squareRoot()),
        Rule(rule: .xavierUniform, deviation: (2 / 350.0).squareRoot(), bound: (6 / 350.0).squareRoot()),
        Rule(rule: .heNormal, deviation: (2 / 200.0).squareRoot(), bound: nil),
        Rule(rule: .xavierNormal, deviation: (2 / 350.0).squareRoot(), bound: nil),
    ]

    @Test("weights have the mean, deviation and bound of their rule", arguments: rules)
    func moments(rule: Rule) throws {
        let weight = try Self.parameter(.linear(.init(outFeatures: 150)), [200], 0)
        let values = Initializer.values(of: weight, index: 0, rule: rule.rule, seed: 5).map { Double($0) }
        let count = Double(values.count)
        #expect(values.count == 30_000)
        let mean = values.reduce(0, +) / count
        // Five standard errors each: of the mean, σ / √n; of σ, at most σ / √(2n).
        #expect(abs(mean) < 5 * rule.deviation / count.squareRoot())
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / count
        #expect(abs(variance.squareRoot() / rule.deviation - 1) < 5 / (2 * count).squareRoot())
        let largest = values.map(abs).max() ?? 0
        if let bound = rule.bound {
            #expect(largest <= bound * (1 + 1e-6) && largest > 0.99 * bound)
        } else {
            #expect(largest > 3.3 * rule.deviation && largest < 6 * rule.deviation)
        }
    }

    @Test("fans are those of PyTorch: the kernel's taps count, groups divide")
    func fans() throws {
        var conv = LayerKind.Conv2d(outChannels: 8, kernelSize: Pair(3, 5))
        conv.groups = 2
        let weight = try Self.parameter(.conv2d(conv), [4, 9, 9], 0)
        #expect(weight.fanIn == 2 * 15 && weight.fanOut == 4 * 15)
        let bias = try Self.parameter(.conv2d(conv), [4, 9, 9], 1)
        let values = Initializer.values(of: bias, index: 1, rule: .heNormal, seed: 1)
        let bound = 1 / Float(30).squareRoot()
        #expect(values.count == 8 && values.allSatisfy { abs($0) <= bound } && Set(values).count == 8)
    }

    @Test("depends on seed and place alone")
    func determinism() throws {
        let weight = try Self.parameter(.linear(.init(outFeatures: 3)), [4], 0)
        func draw(_ index: Int, _ seed: UInt64) -> [Float] {
            Initializer.values(of: weight, index: index, rule: .default, seed: seed)
        }
        #expect(draw(0, 1) == draw(0, 1))
        #expect(draw(0, 1) != draw(1, 1))
        #expect(draw(0, 1) != draw(0, 2))
    }

    @Test("normalisation starts as the identity")
    func normalization() throws {
        let values = try (0..<4).map {
            Initializer.values(
                of: try Self.parameter(.batchNorm(.init()), [2], $0), index: $0, rule: .heNormal, seed: 1)
        }
        #expect(values == [[1, 1], [0, 0], [0, 0], [1, 1]])
    }
}
