import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("A large normalised image is made again for its weight gradient") struct RepeatedNormTests {
    private static let loss = LossKind.crossEntropy(labelSmoothing: 0)

    /// Blocks of convolution, normalisation and activation, the second with a stride.
    private static func subject(_ activation: String = "relu", more: String = "") throws -> Subject {
        let layers = [8, 40, 32].enumerated().map { index, channels in
            """
            {"type": "conv2d", "name": "c\(index)", "out_channels": \(channels), "kernel_size": 3,
             "padding": 1, "stride": \(index == 1 ? 2 : 1)},
            {"type": "batch_norm", "name": "n\(index)"}, {"type": "\(activation)", "name": "a\(index)"}\(more)
            """
        }
        let head = #"{"type": "global_avg_pool"}, {"type": "linear", "out_features": 3}"#
        return try Subject(
            #"{"input": [3, 10, 9], "layers": [\#(layers.joined(separator: ", ")), \#(head)]}"#, batch: 4)
    }

    private static func options(_ byteCountMax: Int, _ precision: ElementType = .float32) -> LoweringOptions {
        var options = LoweringOptions()
        (options.normByteCountMax, options.precision) = (byteCountMax, precision)
        return options
    }

    private static func again(_ run: GradientRun) -> [String] {
        run.plan.overview.steps.map(\.label).filter { $0.hasSuffix(" again") }
    }

    @Test("to the same gradients, bit for bit", arguments: [ElementType.float32, .bfloat16])
    func sameBits(precision: ElementType) throws {
        for activation in ["relu", "relu6"] {
            let probe = try Self.subject(activation)
            let kept = try GradientRun(probe, Self.loss, Self.options(.max, precision))
            let made = try GradientRun(probe, Self.loss, Self.options(0, precision))
            // 9 * 32 products for each of n1's elements; 9 * 40 / 4 for those of n0, in front of the stride.
            #expect(Self.again(made) == ["n1 + a1 again"] && Self.again(kept).isEmpty)
            #expect(kept.gradients == made.gradients)
            #expect(kept.gradients.values.joined().contains { abs($0) > 0.001 })
        }
    }

    @Test("takes less memory where it pays, and leaves small images alone")
    func memory() throws {
        let text = #"""
            {"input": [3, 64, 64], "layers": [
             {"type": "conv2d", "name": "c1", "out_channels": 40, "kernel_size": 3, "padding": 1},
             {"type": "batch_norm", "name": "n1"}, {"type": "relu", "name": "a1"},
             {"type": "conv2d", "name": "c2", "out_channels": 32, "kernel_size": 3, "padding": 1},
             {"type": "batch_norm", "name": "n2"}, {"type": "relu", "name": "a2"},
             {"type": "conv2d", "name": "c3", "out_channels": 32, "kernel_size": 3, "padding": 1},
             {"type": "global_avg_pool"}, {"type": "linear", "out_features": 3}]}
            """#
        let probe = try Subject(text, batch: 8)
        let kept = try GradientRun(probe, Self.loss, Self.options(.max))
        let made = try GradientRun(probe, Self.loss, LoweringOptions())
        // 8 images of 64 by 64 by 40 and by 32 floats: 5.2 and 4.2 MB; the limit is 4.2.
        #expect(Self.again(made) == ["n1 + a1 again"])
        #expect(made.plan.end < kept.plan.end)
        #expect(kept.gradients == made.gradients)
    }

    @Test("is kept where something else reads it, where a residual is added, and in repeated segments")
    func isKept() throws {
        let forked = try Self.subject(more: #", {"type": "residual", "layers": [{"type": "tanh"}]}"#)
        #expect(try Self.again(GradientRun(forked, Self.loss, Self.options(0))).isEmpty)
        var cut = Self.options(0)
        cut.segments = 3
        #expect(try Self.again(GradientRun(Self.subject(), Self.loss, cut)).isEmpty)
        var apart = Self.options(0)
        apart.fuses = false
        #expect(try Self.again(GradientRun(Self.subject(), Self.loss, apart)).isEmpty)
    }
}
