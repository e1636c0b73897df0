import Compression
import Graph
import JSON
import Tensor
import TestSupport
import Testing

@Suite("Channels that masks have emptied go, and nothing changes") struct DeadChannelsTests {
    private func index(_ name: String, _ graph: Graph) throws -> Int {
        try #require(graph.parameters.firstIndex { $0.name == name })
    }

    /// Zeros in one output channel of a weight.
    private func emptied(_ values: [Float], _ channel: Int, of count: Int) -> [Float] {
        let size = values.count / count
        return values.enumerated().map { $0 / size == channel ? 0 : $1 }
    }

    /// The shrunk model computes what the given parameters do, to a rounding of the biases to float32: a
    /// relative 6e-8 of each, of at most a hundred.
    private func expectSame(
        _ model: ModelSpec, _ parameters: [[Float]], _ found: DeadChannels
    ) throws {
        let shrinking = try Shrinking(found.choice, of: model)
        let small = try shrinking.slice(found.parameters)
        expectEqual(
            outputs(model.graph, parameters), outputs(shrinking.model.graph, small), within: 6e-6)
    }

    static let lenet = #"{"preset": "lenet5_caffe", "input": [1, 20, 20], "classes": 10}"#

    @Test("a filter of zeros leaves a constant, which is carried into the next bias")
    func constantsAreCarried() throws {
        let model = try model(Self.lenet)
        var parameters = randomParameters(model.graph, seed: 1)
        let (first, second, fc) = try (
            index("conv1.weight", model.graph), index("conv2.weight", model.graph),
            index("fc1.weight", model.graph)
        )
        parameters[first] = emptied(parameters[first], 3, of: 20)
        parameters[second] = emptied(parameters[second], 7, of: 50)
        parameters[fc] = emptied(parameters[fc], 11, of: 500)
        for (name, channel) in [("conv1.bias", 3), ("conv2.bias", 7), ("fc1.bias", 11)] {
            parameters[try index(name, model.graph)][channel] = 0.75
        }
        let found = try DeadChannels(in: ChannelGroups(model.graph), parameters: parameters)
        #expect(found.choice.kept(model.graph.parameterIDs[first], axis: 0)?.count == 19)
        #expect(found.choice.kept(model.graph.parameterIDs[second], axis: 0)?.count == 49)
        #expect(found.choice.kept(model.graph.parameterIDs[fc], axis: 0)?.count == 499)
        #expect(found.parameters != parameters)
        try expectSame(model, parameters, found)
    }

    @Test("what nothing reads goes, whatever it computes") func unreadChannelsGo() throws {
        let model = try model(Self.lenet)
        var parameters = randomParameters(model.graph, seed: 2)
        let second = try index("conv2.weight", model.graph)
        for element in parameters[second].indices where element / 25 % 20 == 4 {
            parameters[second][element] = 0
        }
        let found = try DeadChannels(in: ChannelGroups(model.graph), parameters: parameters)
        #expect(found.choice.kept(model.graph.parameterIDs[0], axis: 0) == (0..<20).filter { $0 != 4 })
        try expectSame(model, parameters, found)
    }

    static let padded = """
        {"type": "conv2d", "name": "first", "out_channels": 6, "kernel_size": 3, "bias": false},
        {"type": "batch_norm", "name": "norm"}, {"type": "relu"},
        {"type": "conv2d", "name": "second", "out_channels": 5, "kernel_size": 3, "padding": 1},
        {"type": "relu"}, {"type": "global_avg_pool"}, {"type": "linear", "name": "head", "out_features": 3}
        """

    @Test("a constant before padding stays, unless it is zero") func paddingKeepsConstants() throws {
        let model = try layered("[2, 7, 7]", Self.padded)
        var parameters = randomParameters(model.graph, seed: 3)
        let (shift, mean) = try (index("norm.bias", model.graph), index("norm.running_mean", model.graph))
        for channel in [1, 4] {
            parameters[0] = emptied(parameters[0], channel, of: 6)
            parameters[mean][channel] = 0
        }
        (parameters[shift][1], parameters[shift][4]) = (0.5, -0.5)
        // Behind the ReLU channel 1 is 0.5 and channel 4 is 0.
        let found = try DeadChannels(in: ChannelGroups(model.graph), parameters: parameters)
        #expect(found.choice.kept(model.graph.parameterIDs[0], axis: 0) == [0, 1, 2, 3, 5])
        try expectSame(model, parameters, found)
    }

    @Test("a sum is dead only when all of it is") func residualSums() throws {
        let model = try model(#"{"preset": "resnet8", "input": [3, 8, 8], "classes": 10}"#)
        var parameters = randomParameters(model.graph, seed: 4)
        let groups = ChannelGroups(model.graph)
        func empty(_ conv: String, _ norm: String, _ channel: Int) throws {
            let weight = try index(conv, model.graph)
            parameters[weight] = emptied(parameters[weight], channel, of: 16)
            for part in ["weight", "bias"] { parameters[try index(norm + part, model.graph)][channel] = 0 }
        }
        try empty("conv1.weight", "bn1.", 5)
        #expect(try DeadChannels(in: groups, parameters: parameters).choice.removed.isEmpty)
        try empty("block1.conv2.weight", "block1.bn2.", 5)
        let found = try DeadChannels(in: groups, parameters: parameters)
        #expect(found.choice.kept(model.graph.parameterIDs[0], axis: 0) == (0..<16).filter { $0 != 5 })
        try expectSame(model, parameters, found)
    }

    @Test("a layer that is all zero keeps a channel") func lastChannelStays() throws {
        let model = try model(Self.lenet)
        var parameters = randomParameters(model.graph, seed: 5)
        parameters[0] = parameters[0].map { _ in 0 }
        let found = try DeadChannels(in: ChannelGroups(model.graph), parameters: parameters)
        #expect(found.choice.kept(model.graph.parameterIDs[0], axis: 0)?.count == 1)
        try expectSame(model, parameters, found)
    }

    @Test("parameters of another model are refused") func otherModel() throws {
        let model = try model(Self.lenet)
        #expect(throws: CompressionError.self) {
            try DeadChannels(in: ChannelGroups(model.graph), parameters: [[0]])
        }
    }
}
