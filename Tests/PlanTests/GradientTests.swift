import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("Planned gradients") struct GradientTests {
    static let cases = ModelCase.all + ModelCase.activations
    static let losses: [LossKind] = [
        .crossEntropy(labelSmoothing: 0.1), .meanSquaredError(oneHot: true),
    ]

    /// Central differences of step h in float64 err by h² f'''/6 + u|f|/h, below 1e-7 here with h = 1e-7,
    /// and rarely step over a kink; the float32 pass errs by at most a few √K ε of the largest gradient, K
    /// being the longest sum (below 2^10).
    static func tolerance(_ gradient: [Float]) -> Double {
        let scale = Double(gradient.map(abs).max() ?? 0)
        return 8 * Double(1 << 10).squareRoot() * Double(Float.ulpOfOne) * max(scale, 0.1) + 1e-7
    }

    @Test("agree with central differences of the double-precision model", arguments: cases, losses)
    func agreeWithDifferences(subject: ModelCase, kind: LossKind) throws {
        let probe = try Subject(subject.model, batch: subject.batch)
        let run = try GradientRun(probe, kind)
        let expected = probe.loss(kind, probe.reference)
        #expect(abs(run.loss - expected) < 1e-5 * max(1, expected))
        let values = probe.reference.values(probe.input, batch: probe.batch)
        for (id, gradient) in run.gradients.sorted(by: { $0.key.index < $1.key.index }) {
            Self.checkPlaces(gradient, of: id, probe, kind, values)
            Self.checkDirection(gradient, of: id, probe, kind, values)
        }
        #expect(run.gradients.count == probe.graph.parameters.filter(\.isTrained).count)
    }

    /// A few elements, one after the other.
    private static func checkPlaces(
        _ gradient: [Float], of id: Graph.ParameterID, _ probe: Subject, _ kind: LossKind,
        _ values: [[Double]]
    ) {
        for place in stride(from: 0, to: gradient.count, by: max(1, gradient.count / 5)) {
            var direction = [Double](repeating: 0, count: gradient.count)
            direction[place] = 1
            let difference = probe.slope(kind, along: direction, of: id, values)
            #expect(
                abs(Double(gradient[place]) - difference) <= tolerance(gradient),
                "\(probe.graph[id].name)[\(place)]: \(gradient[place]) against \(difference)")
        }
    }

    /// All elements at once, along a diagonal: their errors have random signs and so add like √n.
    static func checkDirection(
        _ gradient: [Float], of id: Graph.ParameterID, _ probe: Subject, _ kind: LossKind,
        _ values: [[Double]]
    ) {
        var random = CounterRandom(seed: UInt64(id.index), purpose: .test)
        let direction = gradient.map { _ in random.below(2) == 0 ? -1.0 : 1.0 }
        let found = zip(gradient, direction).reduce(0) { $0 + Double($1.0) * $1.1 }
        let difference = probe.slope(kind, along: direction, of: id, values)
        let bound = 2 * Double(gradient.count).squareRoot() * tolerance(gradient)
        #expect(
            abs(found - difference) <= bound,
            "\(probe.graph[id].name) along a diagonal: \(found) against \(difference)")
    }

    @Test("are those of the same model without fusions", arguments: cases)
    func unfused(subject: ModelCase) throws {
        let probe = try Subject(subject.model, batch: subject.batch)
        var apart = LoweringOptions()
        apart.fuses = false
        let kind = Self.losses[0]
        let (one, other) = (try GradientRun(probe, kind), try GradientRun(probe, kind, apart))
        #expect(abs(one.loss - other.loss) < 1e-5 * max(1, other.loss))
        expectClose(one, other, probe) { 2 * Self.tolerance($0) }
    }

    @Test("agree on one, two and three threads", arguments: cases)
    func threads(subject: ModelCase) throws {
        let probe = try Subject(subject.model, batch: subject.batch)
        let kind = Self.losses[0]
        let runs = try [1, 2, 3].map { count in
            ThreadTeam.use(count)
            let (first, again) = (try GradientRun(probe, kind), try GradientRun(probe, kind))
            #expect(first.gradients == again.gradients, "\(count) threads do not repeat their bits")
            return first
        }
        ThreadTeam.use(1)
        for run in runs.dropFirst() { expectClose(run, runs[0], probe) { 2 * Self.tolerance($0) } }
    }

    private func expectClose(
        _ left: GradientRun, _ right: GradientRun, _ probe: Subject, _ tolerance: ([Float]) -> Double
    ) {
        #expect(left.gradients.count == right.gradients.count)
        for (id, gradient) in left.gradients {
            guard let other = right.gradients[id] else { continue }
            let error = zip(gradient, other).map { abs(Double($0 - $1)) }.max() ?? .infinity
            #expect(error <= tolerance(other), "\(probe.graph[id].name)")
        }
    }
}

extension Subject {
    /// The loss's slope along a direction of one parameter, by a central difference of length 1e-7.
    func slope(
        _ kind: LossKind, along direction: [Double], of id: Graph.ParameterID, _ values: [[Double]]
    ) -> Double {
        let length = direction.reduce(0) { $0 + $1 * $1 }.squareRoot()
        let h = 1e-7 / length
        let ends = [h, -h].map { h in loss(kind, moving: id, by: direction.map { $0 * h }, values) }
        return (ends[0] - ends[1]) / (2 * h)
    }
}
