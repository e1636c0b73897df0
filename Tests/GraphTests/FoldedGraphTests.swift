import Graph
import JSON
import Tensor
import Testing

@Suite("A graph with folded normalisations") struct FoldedGraphTests {
    private static func graph() throws -> Graph {
        var conv = LayerKind.Conv2d(outChannels: 4, kernelSize: Pair(3, 3))
        conv.bias = false
        let kinds: [LayerKind] = [
            .conv2d(conv), .batchNorm(.init()), .relu, .conv2d(.init(outChannels: 2, kernelSize: Pair(1, 1))),
            .batchNorm(.init()), .flatten, .linear(.init(outFeatures: 3)),
        ]
        let layers = kinds.enumerated().map { LayerSpec($1, name: "layer\($0)") }
        return try ModelSpec(input: Shape([1, 6, 5]), layers: layers).graph
    }

    @Test("loses them, keeps names, and gives a bias to what has none")
    func folds() throws {
        let graph = try Self.graph()
        let ids = Dictionary(grouping: graph.nodeIDs) { graph[$0].name }.compactMapValues(\.first)
        let (front, norm) = (try #require(ids["layer0"]), try #require(ids["layer1"]))
        let folded = FoldedGraph(graph, folding: [front: norm])
        #expect(folded.graph.nodes.count == graph.nodes.count - 1)
        #expect(folded.graph.nodes.map(\.name) == graph.nodes.map(\.name).filter { $0 != "layer1" })
        let new = try #require(folded.nodes[front])
        #expect(folded.nodes[norm] == new && folded.norms == [new: norm])
        let names = folded.graph.parameters.map(\.name)
        #expect(names.contains("layer0.bias") && !names.contains { $0.hasPrefix("layer1.") })
        #expect(names.contains("layer4.running_mean") && names.filter { $0 == "layer3.bias" }.count == 1)
        let bias = try #require(folded.graph.parameter(.bias, of: folded.graph[new]))
        #expect(folded.graph[bias].shape.dimensions == [4])
        guard case .convolution(let window) = folded.graph[new].operation else {
            Issue.record("the convolution is another one")
            return
        }
        #expect(window.bias)
        // What stood behind the normalisation reads the convolution.
        let reader = try #require(folded.graph.consumers(of: folded.graph[new].output).first)
        #expect(folded.graph[reader].name == "layer2")
        #expect(
            folded.graph.outputShape == graph.outputShape && folded.graph.layers.count == graph.layers.count)
    }

    @Test("without any to fold is the same graph")
    func nothing() throws {
        let graph = try Self.graph()
        let folded = FoldedGraph(graph, folding: [:])
        #expect(folded.graph.nodes == graph.nodes && folded.graph.parameters == graph.parameters)
        #expect(folded.norms.isEmpty)
    }
}
