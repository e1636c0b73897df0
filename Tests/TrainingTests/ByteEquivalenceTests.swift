import Graph
import JSON
import Plan
import Tensor
import Testing

@testable import Training

@Suite("Layers in bytes are held against whole numbers") struct ByteEquivalenceTests {
    private static let models = [
        // Borders whose zero has a code; a flattened image, whose weights are permuted.
        """
        {"input": [3, 9, 8], "layers": [
         {"type": "conv2d", "out_channels": 6, "kernel_size": 3, "padding": 1}, {"type": "relu"},
         {"type": "conv2d", "out_channels": 8, "kernel_size": [3, 2], "stride": 2, "groups": 2, "padding": 2},
         {"type": "depthwise_conv2d", "kernel_size": 3, "padding": 1, "bias": false},
         {"type": "conv2d", "out_channels": 5, "kernel_size": 2, "dilation": 2},
         {"type": "flatten"}, {"type": "linear", "out_features": 7}]}
        """,
        """
        {"input": [1, 12, 5], "layers": [
         {"type": "reshape", "shape": [12, 5]}, {"type": "linear", "out_features": 9, "bias": false},
         {"type": "transpose", "dims": [1, 0]}, {"type": "conv1d", "out_channels": 4, "kernel_size": 3},
         {"type": "flatten"}, {"type": "linear", "out_features": 300}]}
        """,
    ]

    /// A network whose layers have random codes, scales of many sizes, and zeros in the middle of the codes.
    private static func subject(_ text: String, zeroPoint: UInt8) throws -> (Graph, QuantizedModel) {
        let log = ViolationLog()
        let read = ModelSpec.read(try JSONValue(parsing: text), at: "", data: DataShape(), log: log)
        try log.throwIfAny()
        let graph = try #require(read).graph
        var random = CounterRandom(seed: 4, purpose: .test)
        var layers: [Graph.NodeID: QuantizedLayer] = [:]
        for id in Quantizer.candidates(of: graph) {
            let weight = try #require(graph.parameter(.weight, of: graph[id]))
            let rows = graph[weight].shape[0]
            let scales = (0..<rows).map { _ in 0.001 + 0.03 * Float(random.below(1000)) / 1000 }
            layers[id] = QuantizedLayer(
                weights: (0..<graph[weight].shape.elementCount).map { _ in
                    Int8(Int(random.below(255)) - 127)
                },
                scales: scales, bias: scales.map { _ in Float(random.below(2000)) / 500 - 2 },
                input: try #require(
                    ActivationScale(
                        scale: 0.0173, zeroPoint: zeroPoint,
                        codeMax: Quantizer.supportsAllCodes ? .max : 127)),
                foldsNorm: false)
        }
        return (graph, try QuantizedModel(layers, of: graph))
    }

    @Test("and are equal but for float32's rounding", arguments: models, [UInt8(0), 77])
    func holds(text: String, zeroPoint: UInt8) throws {
        let (graph, model) = try Self.subject(text, zeroPoint: zeroPoint)
        #expect(model.layers.count >= 3)
        let proof = try Equivalence.prove(model, of: graph, seed: 5)
        #expect(proof.holds && proof.samples == 4)
        // A code of the weights or of the input that is off by one moves a sum by at least one step.
        let steps = model.layers.values.map { Double($0.input.scale) * Double($0.scales.max() ?? 0) }
        #expect(proof.tolerance > 0 && proof.tolerance < (steps.max() ?? 0) / 4)
    }

    @Test("and refused with both numbers where one code of a weight is another")
    func refuses() throws {
        let (graph, model) = try Self.subject(Self.models[0], zeroPoint: 77)
        for (id, layer) in model.layers {
            var weights = layer.weights
            weights[weights.count - 1] += weights[weights.count - 1] == 127 ? -1 : 1
            var layers = model.layers
            layers[id] = QuantizedLayer(
                weights: weights, scales: layer.scales, bias: layer.bias, input: layer.input,
                foldsNorm: false)
            let other = try QuantizedModel(layers, of: graph)
            do throws(TrainingError) {
                _ = try Equivalence.prove(other, is: model, of: graph, seed: 5)
                Issue.record("a wrong code in \(graph[id].name) was not seen")
            } catch {
                guard case .notEquivalent(let difference, let tolerance) = error else { throw error }
                #expect(difference > tolerance && tolerance > 0)
            }
        }
    }

    @Test("which one wrong code of a weight or of an input would show")
    func shows() throws {
        let (graph, model) = try Self.subject(Self.models[0], zeroPoint: 77)
        for (id, layer) in model.layers {
            let lone = graph.alone(id)
            let right = ByteReference(lone, layer, batch: 2)
            var weights = layer.weights
            weights[0] += weights[0] == 127 ? -1 : 1
            let wrong = ByteReference(
                lone,
                QuantizedLayer(
                    weights: weights, scales: layer.scales, bias: layer.bias, input: layer.input,
                    foldsNorm: false), batch: 2)
            let codes = [UInt8](repeating: 3, count: right.inputCount)
            let changed = (0..<right.count).count { index in
                let (one, other) = (right.output(index, of: codes), wrong.output(index, of: codes))
                return abs(one.value - other.value) > max(one.tolerance, other.tolerance)
            }
            // The first weight belongs to the first channel alone; on a border it may meet padding.
            let channels = graph[graph[id].output].channels
            #expect(changed > 0 && changed <= right.count / channels)
        }
    }
}
