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

    @Test("beside its derivative, which takes the input's place", arguments: kinds[3...5])
    func derivatives(kind: String) throws {
        let probe = try Subject(
            """
            {"input": [9], "layers": [{"type": "linear", "out_features": 11}, {"type": \(kind)},
             {"type": "linear", "out_features": 3}]}
            """, batch: 5)
        let fused = try GradientRun(probe, Self.loss, Self.options(fuses: true))
        let apart = try GradientRun(probe, Self.loss, Self.options(fuses: false))
        #expect(Self.calls(fused).contains("ck_activation:derivative"))
        #expect(!Self.calls(fused).contains("ck_activation_backward"))
        #expect(Self.calls(apart).contains("ck_activation_backward"))
        #expect(fused.gradients == apart.gradients && fused.loss == apart.loss)
        #expect(fused.plan.end <= apart.plan.end)
    }
}
