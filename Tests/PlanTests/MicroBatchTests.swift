import Graph
import JSON
import Plan
import Tensor
import Testing

@Suite("The planner's parts of a batch")
struct MicroBatchTests {
    private func graph(_ model: JSONValue) throws -> Graph {
        let log = ViolationLog()
        let spec = ModelSpec.read(
            model, at: "/model", datasetInput: try Shape([3, 32, 32]), classes: 10, log: log)
        return try #require(spec).graph
    }

    @Test("are taken where activations are large, and keep products tall")
    func large() throws {
        let graph = try graph(["preset": "vit_tiny"])
        // 65 tokens a sample: 16 samples have 1,040 rows, 8 would have 520.
        #expect(MicroBatch.size(of: 64, graph, .float32) == 16)
        #expect(MicroBatch.size(of: 8, graph, .float32) == 8, "its products are short already")
        #expect(MicroBatch.size(of: 1, graph, .float32) == 1)
    }

    @Test("are the whole batch where that is small")
    func small() throws {
        let graph = try graph(["layers": [["type": "flatten"], ["type": "linear", "out_features": 10]]])
        #expect(MicroBatch.size(of: 65_536, graph, .float32) == 65_536)
    }

    @Test("are larger of smaller numbers")
    func halves() throws {
        // A little more than 64 KiB a sample in float32, of 128 MiB.
        let graph = try graph([
            "layers": [
                ["type": "conv2d", "out_channels": 16, "kernel_size": 1, "bias": false],
                ["type": "global_avg_pool"], ["type": "linear", "out_features": 10],
            ]
        ])
        #expect(MicroBatch.size(of: 4000, graph, .float32) == 2000)
        #expect(MicroBatch.size(of: 4000, graph, .bfloat16) == 4000)
        #expect(MicroBatch.size(of: 4097, graph, .bfloat16) == 2049)
    }

    @Test("get smaller than that when asked to, down to 256 rows")
    func further() throws {
        let graph = try graph(["preset": "vit_tiny"])
        #expect(MicroBatch.size(below: 16, graph) == 8)
        #expect(MicroBatch.size(below: 8, graph) == 4)
        #expect(MicroBatch.size(below: 4, graph) == nil)
    }

    @Test("are no smaller than the batch where its samples see each other")
    func mixing() throws {
        let graph = try graph(["preset": "resnet20"])
        #expect(graph.mixesSamples)
        #expect(MicroBatch.size(of: 4096, graph, .float32) == 4096)
        #expect(MicroBatch.size(below: 4096, graph) == nil)
    }
}
