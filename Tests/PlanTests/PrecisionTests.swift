import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("Gradients in bfloat16") struct PrecisionTests {
    private static func length(_ values: [Float]) -> Double {
        values.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
    }

    /// Every stored activation, gradient and weight is rounded to 8 bits.
    ///
    /// That is an error of 2^-9 of its size and of random sign; those of the layers that a gradient passes
    /// add like independent errors. What is measured against is at least the typical size of the model's
    /// gradients: where a gradient is a difference of larger numbers (a bias in front of a normalisation),
    /// its error is theirs. The factor of 8 is what a layer that enlarges its input's errors may add, and a
    /// pooling that finds another of two near winners.
    @Test("are float32's up to the rounding of what is stored", arguments: GradientTests.cases)
    func agreeWithFloat32(subject: ModelCase) throws {
        var half = LoweringOptions()
        half.precision = .bfloat16
        let probe = try Subject(subject.model, batch: subject.batch)
        let kind = LossKind.crossEntropy(labelSmoothing: 0)
        let (exact, rounded) = (try GradientRun(probe, kind), try GradientRun(probe, kind, half))
        #expect(abs(exact.loss - rounded.loss) < 0.02 * max(1, exact.loss))
        let roundings = Double(4 * probe.graph.nodes.count).squareRoot() * 0x1p-9
        let typical =
            exact.gradients.values.map { Self.length($0) / Double($0.count).squareRoot() }.max() ?? 0
        for (id, gradient) in exact.gradients {
            let other = try #require(rounded.gradients[id])
            let error = Self.length(zip(gradient, other).map { $0 - $1 })
            let size = max(Self.length(gradient), typical * Double(gradient.count).squareRoot())
            #expect(error <= 8 * roundings * size, "\(probe.graph[id].name): \(error) of \(size)")
        }
    }
}
