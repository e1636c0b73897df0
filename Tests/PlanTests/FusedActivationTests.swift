import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("An activation runs with what it reads") struct FusedActivationTests {
    private static let loss = LossKind.crossEntropy(labelSmoothing: 0)
    private static let kinds = [
        #""relu""#, #""relu6""#, #""leaky_relu", "negative_slope": 0.2"#, #""gelu""#,
        #""gelu", "approximate": "tanh""#, #""silu""#, #""sigmoid""#, #""tanh""#, #""hard_swish""#,
    ]

    private static func options(fuses: Bool, _ precision: ElementType = .float32) -> LoweringOptions {
        var options = LoweringOptions()
        (options.fuses, options.precision) = (fuses, precision)
        return options
    }

    private static func calls(_ run: GradientRun) -> [String] { run.plan.overview.steps.map(\.kernel) }

    @Test("inside a normalisation, to the same gradients, bit for bit", arguments: kinds)
    func norms(kind: String) throws {
        let image = #"{"type": "conv2d", "out_channels": 6, "kernel_size": 2}"#
        let probes = [
            try Subject(
                """
                {"input": [3, 5, 6], "layers": [
                 \(image), {"type": "group_norm", "groups": 3}, {"type": \(kind)},
                 \(image), {"type": "batch_norm"}, {"type": \(kind)},
                 {"type": "flatten"}, {"type": "linear", "out_features": 3}]}
                """, batch: 4),
            try Subject(
                """
                {"input": [5, 7], "layers": [
                 {"type": "linear", "out_features": 9}, {"type": "layer_norm"}, {"type": \(kind)},
                 {"type": "linear", "out_features": 6}, {"type": "rms_norm"}, {"type": \(kind)},
                 {"type": "flatten"}, {"type": "linear", "out_features": 3}]}
                """, batch: 4),
        ]
        for probe in probes {
            for precision in [ElementType.float32, .bfloat16] {
                let fused = try GradientRun(probe, Self.loss, Self.options(fuses: true, precision))
                let apart = try GradientRun(probe, Self.loss, Self.options(fuses: false, precision))
                #expect(!Self.calls(fused).contains { $0.hasPrefix("ck_activation") })
                #expect(Self.calls(apart).count { $0.hasPrefix("ck_activation") } == 4)
                // Behind a batch normalisation a ReLU's sign is that of what is not yet rounded.
                if precision == .float32 || !kind.contains("relu") {
                    #expect(fused.gradients == apart.gradients && fused.loss == apart.loss)
                }
                #expect(fused.gradients.values.joined().contains { abs($0) > 0.001 })
                #expect(fused.plan.end <= apart.plan.end)
            }
        }
    }

    @Test("with a sum and its normalisation in one pass, and again in a repeated segment")
    func sums() throws {
        let block = #"""
            {"type": "residual", "layers": [{"type": "linear", "out_features": 8}]},
            {"type": "layer_norm"}, {"type": "silu"}
            """#
        let blocks = [String](repeating: block, count: 4).joined(separator: ", ")
        let head = #"{"type": "flatten"}, {"type": "linear", "out_features": 3}"#
        let probe = try Subject(#"{"input": [5, 8], "layers": [\#(blocks), \#(head)]}"#, batch: 3)
        let fused = try GradientRun(probe, Self.loss, Self.options(fuses: true))
        #expect(!Self.calls(fused).contains { $0.hasPrefix("ck_activation") })
        var cut = Self.options(fuses: true)
        cut.segments = 3
        let again = try GradientRun(probe, Self.loss, cut)
        #expect(again.gradients == fused.gradients && again.plan.macs > fused.plan.macs)
    }

    /// In float32 an activation inside a layer reads the number that a pass of its own would read.
    ///
    /// 23 images of 8 x 128 x 128 floats are 12 MB, several slices; oneDNN's own activations differ from ours
    /// by some ulps, which the network may grow a few times.
    @Test(
        "inside a layer with weights, in one step less, to the same gradients", arguments: kinds,
        [
            #"{"type": "linear", "name": "w", "out_features": 24}"#,
            #"{"type": "conv2d", "name": "w", "out_channels": 6, "kernel_size": 1}"#,
            #"{"type": "conv2d", "name": "w", "out_channels": 6, "kernel_size": 4, "stride": 2}"#,
            #"{"type": "conv2d", "name": "w", "out_channels": 16, "kernel_size": 3, "padding": 1}"#,
            #"{"type": "depthwise_conv2d", "name": "w", "kernel_size": 3, "padding": 1}"#,
            #"{"type": "conv_transpose2d", "name": "w", "out_channels": 6, "kernel_size": 2, "stride": 2}"#,
        ])
    func layers(kind: String, layer: String) throws {
        let isFlat = layer.contains("linear")
        let probe = try Subject(
            """
            {"input": \(isFlat ? "[16]" : "[16, 12, 12]"), "layers": [
             \(layer), {"type": \(kind), "name": "a"},
             {"type": "flatten"}, {"type": "linear", "out_features": 3}]}
            """, batch: 16)
        for precision in [ElementType.float32, .bfloat16] {
            let fused = try GradientRun(probe, Self.loss, Self.options(fuses: true, precision))
            let apart = try GradientRun(probe, Self.loss, Self.options(fuses: false, precision))
            let labels = fused.plan.overview.steps.map(\.label)
            #expect(labels.contains("w + a forward") && !labels.contains("a forward"))
            #expect(apart.plan.overview.steps.map(\.label).contains("a forward"))
            #expect(labels.count < apart.plan.overview.steps.count)
            try fused.expectGradients(of: apart, probe.graph, precision)
            #expect(abs(fused.loss - apart.loss) <= (precision == .float32 ? 1e-5 : 2e-2) * abs(apart.loss))
        }
    }

    @Test("inside a transposed convolution, slice by slice, to the same gradients")
    func slices() throws {
        for kind in ["relu", "hard_swish", "sigmoid"] {
            let probe = try Subject(
                """
                {"input": [2, 64, 64], "layers": [
                 {"type": "conv_transpose2d", "name": "t", "out_channels": 8, "kernel_size": 2, "stride": 2},
                 {"type": "\(kind)", "name": "a"}, {"type": "global_avg_pool"},
                 {"type": "linear", "out_features": 3}]}
                """, batch: 23)
            let fused = try GradientRun(probe, Self.loss, Self.options(fuses: true))
            let apart = try GradientRun(probe, Self.loss, Self.options(fuses: false))
            let step = try #require(fused.plan.overview.steps.first { $0.label == "t + a forward" })
            #expect(step.kernel.contains("ck_activation") && step.kernel.contains("slices"))
            try fused.expectGradients(of: apart, probe.graph, .float32)
        }
    }

    @Test("beside its derivative, which takes the input's place", arguments: kinds[3...5])
    func derivatives(kind: String) throws {
        let probe = try Subject(
            """
            {"input": [9], "layers": [{"type": "linear", "out_features": 11}, {"type": \(kind)},
             {"type": "linear", "out_features": 3}]}
            """, batch: 5)
        let fused = try GradientRun(probe, Self.loss, Self.options(fuses: true))
        let apart = try GradientRun(probe, Self.loss, Self.options(fuses: false))
        #expect(Self.calls(fused).contains { $0.hasSuffix("+ ck_activation:derivative") })
        #expect(!Self.calls(fused).contains("ck_activation_backward"))
        #expect(Self.calls(apart).contains("ck_activation_backward"))
        #expect(fused.gradients == apart.gradients && fused.loss == apart.loss)
        #expect(fused.plan.end <= apart.plan.end)
    }
}
