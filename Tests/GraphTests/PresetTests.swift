import Graph
import JSON
import Tensor
import Testing

@Suite("Presets") struct PresetTests {
    private func graph(_ text: String) throws -> Graph {
        let (model, violations) = try readModel(text)
        #expect(violations.isEmpty)
        return try #require(model).graph
    }

    /// The pruning literature (Han, 2015) gives LeNet-5 431K and LeNet-300-100 267K parameters.
    @Test("LeNet-5-Caffe has 431,080 parameters and takes 2,293,000 multiply-accumulates")
    func lenet5() throws {
        let graph = try graph(#"{"preset": "lenet5_caffe"}"#)
        let cost = CostModel(of: graph)
        #expect(cost.parameters == 431_080)
        #expect(cost.macsPerSample == 2_293_000)
        #expect(cost.parameterBytes == 4 * 431_080)
        // Weight gradients of all, input gradients of all but the first (288,000 a pass).
        #expect(cost.trainingMacsPerSample == 3 * 2_293_000 - 288_000)
        #expect(
            graph.parameters.map(\.name) == [
                "conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc1.weight", "fc1.bias",
                "fc2.weight", "fc2.bias",
            ])
        #expect(
            graph.nodes.map { graph[$0.output].shape.description } == [
                "20x24x24", "20x12x12", "20x12x12", "50x8x8", "50x4x4", "50x4x4", "800", "500", "500", "10",
            ])
    }

    @Test("784-500-10 has 397,510 parameters, 784-300-100-10 has 266,610")
    func perceptrons() throws {
        #expect(CostModel(of: try graph(#"{"preset": "mlp", "hidden": [500]}"#)).parameters == 397_510)
        #expect(CostModel(of: try graph(#"{"preset": "mlp"}"#)).parameters == 397_510)
        #expect(CostModel(of: try graph(#"{"preset": "lenet_300_100"}"#)).parameters == 266_610)
        let linear = CostModel(of: try graph(#"{"preset": "linear"}"#))
        #expect(linear.parameters == 7850)
        #expect(linear.trainingMacsPerSample == 2 * 7840, "no gradient of the input")
    }

    @Test("take their width and dropout from their fields")
    func fields() throws {
        let model = try #require(
            try readModel(#"{"preset": "mlp", "hidden": [7, 5], "dropout": 0.25, "classes": 10}"#).model)
        #expect(
            model.layers.map(\.name) == [
                "flatten1", "fc1", "relu1", "dropout1", "fc2", "relu2", "dropout2", "fc3",
            ])
        #expect(model.layers[3].kind == .dropout(0.25))
        #expect(CostModel(of: model.graph).parameters == 784 * 7 + 7 + 7 * 5 + 5 + 5 * 10 + 10)
        #expect(
            try readModel(#"{"preset": "linear", "classes": 3}"#, classes: nil).model?.graph.outputShape[0]
                == 3)
    }

    @Test("batch normalisation's running statistics are stored but not learned")
    func runningStatistics() throws {
        let graph = try makeGraph([3, 4, 4], .batchNorm(.init()), .flatten, .linear(.init(outFeatures: 2)))
        let cost = CostModel(of: graph)
        #expect(cost.parameters == 6 + 96 + 2)
        #expect(cost.parameterBytes == 4 * (12 + 96 + 2))
        #expect(
            graph.parameters.prefix(4).map(\.name) == [
                "layer0.weight", "layer0.bias", "layer0.running_mean", "layer0.running_var",
            ])
        #expect(
            cost.trainingMacsPerSample == 3 * 96, "the normalisation in front needs the input's gradient")
    }
}

@Suite("Gradients") struct GradientsTests {
    /// The backward steps as `node` or `node>` where the gradient goes on.
    private func order(_ graph: Graph) -> [String] {
        Gradients(of: graph).steps.map { step in
            switch step {
            case .backward(let node, _, let outgoing): graph[node].name + (outgoing[0] == nil ? "" : ">")
            case .accumulate: "+"
            case .compare(let place, let outgoing): "features[\(place)]" + (outgoing == nil ? "" : ">")
            }
        }
    }

    private let conv = LayerKind.conv2d(.init(outChannels: 2, kernelSize: Pair(2, 2)))
    private let head = LayerKind.linear(.init(outFeatures: 2))

    @Test("run backwards and stop at the first weights")
    func stopAtFirstWeights() throws {
        #expect(
            try order(makeGraph([1, 4, 4], conv, .relu, .flatten, head)) == [
                "layer3>", "layer2>", "layer1>", "layer0",
            ])
    }

    @Test("layers in front of the first weights get none")
    func nothingBeforeWeights() throws {
        #expect(try order(makeGraph([1, 4, 4], .relu, .flatten, .dropout(0.5), head)) == ["layer3"])
        #expect(
            try order(makeGraph([1, 4, 4], .avgPool2d(.init(kernelSize: Pair(2, 2))), .flatten, head)) == [
                "layer2"
            ])
    }

    @Test("a model without weights has none")
    func nothingToLearn() throws {
        #expect(try order(makeGraph([2, 3, 3], .relu, .flatten)).isEmpty)
    }

    @Test("each step's gradient is what the step before left")
    func chain() throws {
        let graph = try makeGraph([1, 4, 4], conv, .batchNorm(.init()), .relu, .flatten, head)
        let gradients = Gradients(of: graph)
        var expected = gradients.seed
        for case .backward(let node, let incoming, let outgoing) in gradients.steps {
            #expect(incoming == expected)
            #expect(gradients[incoming].of == graph[node].output)
            if let next = outgoing[0] { expected = next }
        }
    }
}
