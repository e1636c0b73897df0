import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("A normalised image that depthwise convolutions alone read") struct DeferredNormTests {
    private static let loss = LossKind.crossEntropy(labelSmoothing: 0)
    private static let depthwise =
        #"{"type": "depthwise_conv2d", "name": "dw", "kernel_size": 3, "padding": 1, "inputs": "y"}"#
    private static let head = #"{"type": "global_avg_pool"}, {"type": "linear", "out_features": 3}"#

    /// A convolution, a normalisation with its ReLU, whose output is `y`, and what reads that.
    private static func subject(_ readers: String, channels: Int = 16) throws -> Subject {
        let front = """
            {"type": "conv2d", "name": "c", "out_channels": \(channels), "kernel_size": 1},
            {"type": "batch_norm", "name": "n"}, {"type": "relu", "name": "y"}
            """
        return try Subject(
            #"{"input": [3, 6, 5], "layers": [\#(front), \#(readers), \#(head)]}"#, batch: 4)
    }

    private static func options(fuses: Bool = true, _ precision: ElementType = .float32) -> LoweringOptions {
        var options = LoweringOptions()
        (options.fuses, options.precision) = (fuses, precision)
        return options
    }

    @Test("is never stored: its readers normalise")
    func isDeferred() throws {
        let run = try GradientRun(try Self.subject(Self.depthwise), Self.loss)
        let labels = run.plan.overview.steps.map { "\($0.label): \($0.kernel)" }
        #expect(labels.contains("n statistics: ck_batch_norm_statistics"))
        #expect(labels.contains("n + y + dw forward: ck_depthwise:normalizing"))
        #expect(labels.contains("dw backward weights: ck_depthwise_backward_weights:normalizing"))
        #expect(!run.plan.overview.buffers.contains { $0.label == "n output" })
    }

    @Test(
        "is stored where something else needs it",
        arguments: [
            // A second reader, too few channels, another kernel.
            (depthwise + #", {"type": "add", "inputs": ["dw", "y"]}"#, 16),
            (depthwise, 8),
            (#"{"type": "depthwise_conv2d", "kernel_size": 5, "padding": 2}"#, 16),
        ])
    func isStored(readers: String, channels: Int) throws {
        let run = try GradientRun(try Self.subject(readers, channels: channels), Self.loss)
        #expect(run.plan.overview.buffers.contains { $0.label == "n output" })
    }

    /// Float32 sums of at most 2^7 terms whose order alone differs; in bfloat16 the stored output is rounded
    /// where the one that is made while reading is not, as is every other tensor on its way: by 2^-9 of its
    /// size, some twenty of them, and errors of random sign add like their root.
    @Test(
        "has the gradients of a stored one", arguments: [ElementType.float32, .bfloat16],
        // An activation that our kernels cannot fuse runs behind them.
        ["", #", {"type": "sigmoid"}"#])
    func sameGradients(precision: ElementType, activation: String) throws {
        let probe = try Self.subject(Self.depthwise + activation)
        let fused = try GradientRun(probe, Self.loss, Self.options(fuses: true, precision))
        let apart = try GradientRun(probe, Self.loss, Self.options(fuses: false, precision))
        #expect(apart.plan.overview.buffers.contains { $0.label == "n output" })
        try fused.expectGradients(of: apart, probe.graph, precision)
    }

    @Test("is made again with its segment, to the same bits", arguments: [2, 3, 5])
    func segments(count: Int) throws {
        let block = #"""
            {"type": "separable_conv2d", "out_channels": 16, "kernel_size": 3, "padding": 1, "bias": false,
             "norm": "batch_norm", "activation": "relu"}
            """#
        let probe = try Self.subject([String](repeating: block, count: 4).joined(separator: ", "))
        for precision in [ElementType.float32, .bfloat16] {
            var options = Self.options(fuses: true, precision)
            let kept = try GradientRun(probe, Self.loss, options)
            options.segments = count
            let again = try GradientRun(probe, Self.loss, options)
            #expect(again.gradients == kept.gradients && again.loss == kept.loss)
            #expect(again.plan.macs > kept.plan.macs)
        }
    }
}
