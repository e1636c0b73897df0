import Graph
import JSON
import Kernels
import Plan
import Tensor
import Testing

@Suite("The largest models that are accepted") struct ExtremePlanTests {
    static let models: [(input: [Int], layers: String)] = [
        ([1, 28, 28], #"{"type": "conv2d", "out_channels": 65536, "kernel_size": 1, "padding": 1024}"#),
        (
            [1, 28, 28],
            #"""
            {"type": "flatten"}, {"type": "linear", "out_features": 524288},
            {"type": "linear", "out_features": 524288}
            """#
        ),
        ([3, 32, 32], #"{"type": "conv2d", "out_channels": 4, "kernel_size": 1024, "padding": 512}"#),
        (
            [3, 32, 32],
            #"{"type": "conv2d", "out_channels": 2, "kernel_size": 3, "padding": 1024, "dilation": 999}"#
        ),
        ([1, 28, 28], #"{"type": "max_pool2d", "kernel_size": 28, "stride": 1024}, {"type": "batch_norm"}"#),
        (
            [1, 28, 28],
            #"""
            {"type": "conv2d", "out_channels": 65536, "kernel_size": 1, "padding": 64},
            {"type": "conv2d", "out_channels": 65536, "kernel_size": 3, "groups": 65536, "padding": 1024},
            {"type": "batch_norm"}, {"type": "flatten"}
            """#
        ),
    ]

    @Test(
        "are planned without a trap, and hold at least their weights and largest activation",
        arguments: models, [1, 64, 65_536])
    func planned(model: (input: [Int], layers: String), batch: Int) throws {
        let log = ViolationLog()
        let json = try JSONValue(parsing: Array("{\"layers\": [\(model.layers)]}".utf8))
        let spec = try #require(
            ModelSpec.read(json, at: "", datasetInput: Shape(model.input), classes: nil, log: log),
            "\(log.violations)")
        let options = Program.Options(
            loss: .crossEntropy(labelSmoothing: 0), optimizer: .sgd(momentum: 0.9), trainingBatches: [batch],
            evaluationBatches: [256])
        let program = try Program(spec.graph, options, on: DNNEngine())
        let sizes = spec.graph.nodes.map { spec.graph[$0.output].shape.elementCount }
        #expect(program.byteCount / 4 / batch >= (sizes.max() ?? 0))
        #expect(program.byteCount >= CostModel(of: spec.graph).parameterBytes)
    }
}
