import Graph
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

/// Layers in bytes against the double-precision model whose weights are those of the codes and whose layers
/// round what they read to codes.
///
/// All scales are powers of two and all biases multiples of what a sum counts in, so that every float32
/// operation is exact: both sides have to agree bit for bit.
@Suite("A plan in bytes computes whole numbers") struct QuantizedPlanTests {
    static func model(_ layers: String, input: String = "[3, 8, 9]") -> String {
        #"{"input": \#(input), "layers": [\#(layers)]}"#
    }

    private static let head = #"{"type": "flatten"}, {"type": "linear", "out_features": 5}"#
    private static let conv = #"{"type": "conv2d", "out_channels": 6, "kernel_size": 3, "padding": 1}"#
    /// Folded exactly: the variance of 3/4 and epsilon make 1.
    private static let norm = #"{"type": "batch_norm", "eps": 0.25}"#

    static let models: [String] = [
        model("\(conv), \(head)"),
        model(#"\#(conv), {"type": "relu"}, {"type": "max_pool2d", "kernel_size": 2}, \#(head)"#),
        // The activation runs in front of the pooling.
        model(#"\#(conv), {"type": "max_pool2d", "kernel_size": 2}, {"type": "relu"}, \#(head)"#),
        model(
            """
            \(conv), {"type": "max_pool2d", "kernel_size": 3, "stride": 2, "padding": 1},
            {"type": "dropout", "p": 0.5}, \(conv), {"type": "relu6"}, \(head)
            """),
        // Depthwise, pointwise, strided, grouped.
        model(
            """
            \(conv), {"type": "relu"}, {"type": "depthwise_conv2d", "kernel_size": 3, "padding": 1},
            {"type": "relu"}, {"type": "conv2d", "out_channels": 16, "kernel_size": 1}, {"type": "relu6"},
            {"type": "conv2d", "out_channels": 8, "kernel_size": 3, "stride": 2, "groups": 2}, \(head)
            """),
        model("\(conv), \(norm), {\"type\": \"relu\"}, \(conv), \(norm), \(head)"),
        // The sum is read as floats and as codes.
        model(
            """
            \(conv), {"type": "relu"}, {"type": "residual", "layers": [\(conv), {"type": "relu"}, \(conv)]},
            {"type": "relu"}, \(conv), \(head)
            """),
        // What is no clamp runs over floats.
        model(#"\#(conv), {"type": "leaky_relu", "negative_slope": 0.25}, \#(conv), \#(head)"#),
        // One channel of an image that is no square; a product alone.
        model(
            #"{"type": "conv2d", "out_channels": 5, "kernel_size": [3, 2]}, {"type": "relu"}, \#(head)"#,
            input: "[1, 6, 7]"),
        model(
            """
            {"type": "flatten"}, {"type": "linear", "out_features": 19}, {"type": "relu"},
            {"type": "linear", "out_features": 4}
            """),
    ]

    /// What to vary: where zero lies in the codes, how many there are, which layers stay in float32.
    struct Setting: Sendable {
        var zeroPoint: UInt8 = 0
        var codeMax = UInt8.max
        var floatLayer: Int?
    }

    static let settings: [Setting] = [
        Setting(), Setting(zeroPoint: 128), Setting(zeroPoint: 5, codeMax: 127), Setting(floatLayer: 0),
        Setting(zeroPoint: 77, floatLayer: 1),
    ]

    /// A model in bytes with random codes, and the double-precision model of the same numbers.
    private struct Pair {
        var subject: Subject
        var layers: [Graph.NodeID: QuantizedLayer] = [:]

        init(_ model: String, _ setting: Setting, batch: Int) throws {
            subject = try Subject(model, batch: batch, seed: 8)
            subject.reference.usesRunningStatistics = true
            let graph = subject.graph
            var random = CounterRandom(seed: 9, purpose: .test)
            let chosen = graph.nodeIDs.filter { graph.quantizableWeight(of: $0) != nil }
            for id in graph.parameterIDs {
                let count = graph[id].shape.elementCount
                switch graph[id].role {
                case .scale: subject.reference.parameters[id.index] = Array(repeating: 1, count: count)
                case .runningVariance:
                    subject.reference.parameters[id.index] = Array(repeating: 0.75, count: count)
                case .runningMean: subject.reference.parameters[id.index] = Array(repeating: 0, count: count)
                // Eighths: so fine that float32 sums of them stay exact.
                default:
                    subject.reference.parameters[id.index] = (0..<count).map { _ in
                        (Double(random.below(17)) - 8) / 8
                    }
                }
            }
            for (index, id) in chosen.enumerated() where index != setting.floatLayer {
                try add(id, setting, isFirst: index == 0, &random)
            }
        }

        private mutating func add(
            _ id: Graph.NodeID, _ setting: Setting, isFirst: Bool, _ random: inout CounterRandom
        ) throws {
            let graph = subject.graph
            let weight = try #require(graph.quantizableWeight(of: id))
            let rows = graph[weight].shape[0]
            // Sums of many terms need coarser codes to stay among them.
            let input = try #require(
                ActivationScale(
                    scale: isFirst ? 0x1p-6 : 0x1p-1, zeroPoint: setting.zeroPoint, codeMax: setting.codeMax))
            let codes = (0..<graph[weight].shape.elementCount).map { _ in Int8(Int(random.below(33)) - 16) }
            let scales = (0..<rows).map { Float(sign: .plus, exponent: -5 - $0 % 3, significand: 1) }
            let bias = (0..<rows).map { Float(Int(random.below(2000)) - 1000) * scales[$0] * input.scale }
            let norm = graph.foldableNorm(behind: id)
            layers[id] = QuantizedLayer(
                weights: codes, scales: scales, bias: bias, input: input, foldsNorm: norm != nil)
            let width = codes.count / rows
            subject.reference.parameters[weight.index] = codes.enumerated().map {
                Double($1) * Double(scales[$0 / width])
            }
            if let own = graph.parameter(.bias, of: graph[id]) {
                subject.reference.parameters[own.index] = bias.map { Double($0) }
            }
            if let shift = norm.flatMap({ graph.parameter(.shift, of: graph[$0]) }) {
                subject.reference.parameters[shift.index] = bias.map { _ in 0 }
            }
            subject.reference.inputRounding[id] = { Double(input.value(of: input.code(of: Float($0)))) }
        }

        func program() throws -> Program {
            var options = LoweringOptions()
            options.quantized = try QuantizedModel(layers, of: subject.graph)
            let program = try Program(
                subject.graph,
                .init(
                    loss: .crossEntropy(labelSmoothing: 0), optimizer: OptimizerOptions(),
                    trainingBatches: [], evaluationBatches: [subject.batch], lowering: options),
                on: DNNEngine())
            try program.allocate()
            for (id, values) in zip(subject.graph.parameterIDs, subject.reference.parameters) {
                try program.write(values.map { Float($0) }, to: id)
            }
            return program
        }

        func run(_ program: Program) throws -> [Double] {
            let plan = try #require(program.evaluationPlan(batch: subject.batch))
            let batch = try subject.delivered(.crossEntropy(labelSmoothing: 0))
            try plan.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
            _ = try plan.run(subject.state())
            return logicalOrder(
                plan.output().map { Double($0) }, of: subject.graph[subject.graph.output],
                batch: subject.batch)
        }
    }

    @Test("bit for bit, by layers in bytes and in float32 side by side", arguments: models, settings)
    func agrees(model: String, setting: Setting) throws {
        let pair = try Pair(model, setting, batch: 3)
        let found = try pair.run(pair.program())
        let expected = pair.subject.reference.forward(pair.subject.input, batch: 3)
        // A layer that is not in bytes multiplies in float32 and adds in an order of its own.
        let bound = setting.floatLayer == nil ? 0 : 1e-5 * (expected.map(abs).max() ?? 0)
        let error = zip(found, expected).map { abs($0 - $1) }.max() ?? .infinity
        #expect(error <= bound, "off by \(error)")
        #expect(Set(found).count > found.count / 2, "the outputs tell nothing")
    }

    @Test("codes go from layer to layer, and each call is named")
    func steps() throws {
        let pair = try Pair(Self.models[2], Setting(), batch: 3)
        let program = try pair.program()
        let plan = try #require(program.evaluationPlan(batch: 3)).overview
        let labels = plan.steps.map(\.label)
        // Codes of the input, the convolution with its activation, the pooling, the product, the loss.
        #expect(labels.count == 5 && labels[0].hasSuffix("input to bytes"), "\(labels)")
        #expect(labels[1].contains(" + "))
        // Three samples of six channels, a byte an element, in whole lines of 64: 8x9 pixels, then 4x4.
        let expected: [Int] = [1344, 320]
        let outputs: [Int] = plan.buffers.filter { $0.label.hasSuffix(" output") }.map(\.byteCount)
        #expect(Array(outputs.prefix(2)) == expected)
        // Nothing is kept of the weights but their codes.
        for id in pair.subject.graph.parameterIDs { #expect(try program.read(id).isEmpty) }
        #expect(program.constantByteCount > 0 && program.store.byteCount <= 4 * Arena.alignment)
    }

    @Test("a border of another code than 0 takes a copy, and the residual is added by the product")
    func copies() throws {
        let residual = try Pair(Self.models[6], Setting(), batch: 2)
        let labels = try #require(try residual.program().evaluationPlan(batch: 2)).overview.steps.map(\.label)
        #expect(labels.contains { $0.split(separator: "+").count == 3 }, "\(labels)")
        let padded = try Pair(Self.models[0], Setting(zeroPoint: 9), batch: 2)
        let plan = try #require(try padded.program().evaluationPlan(batch: 2)).overview
        #expect(plan.steps[0].bytesWritten == 2 * 3 * 10 * 11)
    }

    @Test("layers that do not fit their graph are refused, with the reason")
    func misfits() throws {
        let pair = try Pair(Self.models[0], Setting(), batch: 1)
        let graph = pair.subject.graph
        let (id, layer) = try #require(pair.layers.first)
        func complaint(_ layer: QuantizedLayer, at id: Graph.NodeID) -> String? {
            do throws(PlanError) {
                _ = try QuantizedModel([id: layer], of: graph)
                return nil
            } catch { return error.description }
        }
        func changed(
            weights: [Int8]? = nil, scales: [Float]? = nil, bias: [Float]? = nil, foldsNorm: Bool = false
        ) -> QuantizedLayer {
            QuantizedLayer(
                weights: weights ?? layer.weights, scales: scales ?? layer.scales, bias: bias ?? layer.bias,
                input: layer.input, foldsNorm: foldsNorm)
        }
        #expect(complaint(changed(), at: id) == nil)
        #expect(complaint(changed(weights: [1]), at: id)?.contains("do not fit") == true)
        #expect(complaint(changed(bias: []), at: id)?.contains("do not fit") == true)
        let zeros = [Float](repeating: 0, count: layer.scales.count)
        #expect(complaint(changed(scales: zeros), at: id)?.contains("mean nothing") == true)
        #expect(complaint(changed(bias: zeros.map { _ in .nan }), at: id)?.contains("nothing") == true)
        #expect(complaint(changed(foldsNorm: true), at: id)?.contains("no batch normalisation") == true)
        let view = try #require(graph.nodeIDs.first { graph[$0].operation.isView })
        #expect(complaint(changed(), at: view)?.contains("cannot be computed in bytes") == true)
    }

    @Test("values that are kept are there behind a run, whatever is computed in place")
    func observation() throws {
        let subject = try Subject(Self.models[6], batch: 2, seed: 3)
        let values = subject.reference.values(subject.input, batch: 2)
        var options = LoweringOptions()
        (options.fuses, options.kept) = (false, Set(subject.graph.nodes.map(\.output)))
        options.kept.insert(subject.graph.input)
        let program = try Program(
            subject.graph,
            .init(
                loss: .crossEntropy(labelSmoothing: 0), optimizer: OptimizerOptions(), trainingBatches: [],
                evaluationBatches: [2], lowering: options), on: DNNEngine())
        try program.allocate()
        for (id, values) in zip(subject.graph.parameterIDs, subject.reference.parameters) {
            try program.write(values.map { Float($0) }, to: id)
        }
        let plan = try #require(program.evaluationPlan(batch: 2))
        let batch = try subject.delivered(.crossEntropy(labelSmoothing: 0))
        try plan.bindBatch(input: batch.input, target: batch.target, in: batch.arena)
        _ = try plan.run(subject.state())
        for value in options.kept {
            let place = try #require(plan.place(of: value))
            let found = place.arena.read(place.slot, as: Float.self).map { Double($0) }
            let logical = logicalOrder(found, of: subject.graph[value], batch: 2)
            let error = zip(logical, values[value.index]).map { abs($0 - $1) }.max() ?? .infinity
            // Sums of at most 2^9 products of this size in float32.
            #expect(error < 1e-5 * max(1, values[value.index].map(abs).max() ?? 0), "value \(value.index)")
        }
    }
}
