import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

@Suite("A depthwise convolution between two normalisations runs backward in one sweep")
struct BetweenNormsTests {
    private static let loss = LossKind.crossEntropy(labelSmoothing: 0)

    private static func subject(_ depthwise: String, batch: Int = 8) throws -> Subject {
        let front = """
            {"type": "conv2d", "name": "c", "out_channels": 16, "kernel_size": 1},
            {"type": "batch_norm", "name": "n"}, {"type": "relu", "name": "y"}
            """
        let head = #"{"type": "global_avg_pool"}, {"type": "linear", "out_features": 3}"#
        return try Subject(
            #"{"input": [3, 6, 5], "layers": [\#(front), \#(depthwise), \#(head)]}"#, batch: batch)
    }

    private static func depthwise(stride: Int = 1, bias: Bool = false) -> String {
        #"{"type": "depthwise_conv2d", "name": "dw", "kernel_size": 3, "padding": 1, "stride": \#(stride), "#
            + #""bias": \#(bias)}"#
    }

    private static let norm = #"{"type": "batch_norm", "name": "m"}"#
    private static let relu6 = #"{"type": "relu6"}"#

    private static func options(fuses: Bool = true, _ precision: ElementType = .float32) -> LoweringOptions {
        var options = LoweringOptions()
        (options.fuses, options.precision) = (fuses, precision)
        return options
    }

    private static func labels(_ subject: Subject) throws -> [String] {
        try GradientRun(subject, loss).plan.overview.steps.map { "\($0.label): \($0.kernel)" }
    }

    @Test("with the second pass of the one and the sums of the other")
    func isOneSweep() throws {
        let labels = try Self.labels(try Self.subject("\(Self.depthwise()), \(Self.norm), \(Self.relu6)"))
        #expect(labels.contains("m backward sums: ck_batch_norm_backward_sums"))
        #expect(labels.contains("m + dw backward: ck_depthwise_between"))
        #expect(labels.contains("n backward: ck_batch_norm_backward_input"))
        #expect(!labels.contains { $0.hasPrefix("dw backward") })
    }

    @Test(
        "but in passes where that cannot be",
        arguments: [
            // No normalisation behind, one that adds a residual, too few images for the threads.
            (depthwise(), 8),
            ("\(depthwise()), \(norm), {\"type\": \"add\", \"inputs\": [\"m\", \"c\"]}", 8),
            ("\(depthwise()), \(norm)", 1),
        ])
    func isApart(layers: String, batch: Int) throws {
        let labels = try Self.labels(try Self.subject(layers, batch: batch))
        #expect(labels.contains("dw backward data: ck_depthwise_backward_data"))
        #expect(!labels.contains { $0.hasSuffix("ck_depthwise_between") })
    }

    // In float32 sums in another order, some 2^8 terms that cancel behind two normalisations; in bfloat16 as
    // many tensors on the way are rounded by 2^-9 of their size as DeferredNormTests counts. There nothing
    // may follow that has a kink: rounding the image in front moves what comes out, and decides on which
    // side an element lies.
    @Test(
        "to the gradients of the passes on their own", arguments: [ElementType.float32, .bfloat16],
        [(1, false), (1, true), (2, false)])
    func sameGradients(precision: ElementType, form: (stride: Int, hasBias: Bool)) throws {
        let layer = Self.depthwise(stride: form.stride, bias: form.hasBias)
        let tail = precision == .float32 ? ", \(Self.relu6)" : ""
        let probe = try Self.subject("\(layer), \(Self.norm)\(tail)")
        let fused = try GradientRun(probe, Self.loss, Self.options(fuses: true, precision))
        let apart = try GradientRun(probe, Self.loss, Self.options(fuses: false, precision))
        try fused.expectGradients(of: apart, probe.graph, precision)
    }
}
