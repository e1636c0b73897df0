import Graph
import JSON
import Tensor
import Testing

/// Random models with numbers that break things.
private struct Malice {
    var random: CounterRandom

    mutating func pick<T>(_ values: [T]) -> T { values[Int(random.below(UInt32(values.count)))] }

    mutating func number() -> JSONValue {
        pick([
            0, 1, 2, 3, 5, -1, 1024, 65_535, 65_536, 65_537, 1_048_576, 16_777_216, .integer(.max),
            .integer(.min),
            .number(1e300), .number(0.5), .number(-0.0), "auto", .null, [], [1, 2], [1_024, 1_024],
            [1, 2, 3],
            [[1]], [:], true,
        ])
    }

    mutating func layer() -> JSONValue {
        var layer: JSONObject = [
            "type": .string(pick(LayerType.allCases.map(\.rawValue) + ["conv", ""]))
        ]
        let keys = [
            "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias", "out_features",
            "p", "eps", "momentum", "count_include_pad", "name", "oops", "inputs", "shape", "dims", "dim",
            "heads", "head_dim", "width", "vocabulary", "reduction", "multiplier", "index", "output_size",
            "rotary",
            "mlp_ratio", "output_padding", "tied_to", "init_std", "start_dim", "end_dim",
        ]
        for key in keys where random.below(3) == 0 { layer[key] = number() }
        for key in ["layers", "shortcut"] where random.below(8) == 0 { layer[key] = [self.layer()] }
        return .object(layer)
    }

    /// Mostly valid: every number that is allowed, up to the largest.
    mutating func plausibleLayer() -> JSONValue {
        let extent = pick([1, 2, 3, 64, 1024])
        let wide = pick([1, 8, 1024, 65_536])
        return switch random.below(24) {
        case 0, 1:
            [
                "type": "conv2d", "out_channels": JSONValue(wide), "kernel_size": JSONValue(extent),
                "padding": JSONValue(pick([0, 1, 512, 1024])), "dilation": JSONValue(pick([1, 1, 1024])),
            ]
        case 2:
            [
                "type": "max_pool2d", "kernel_size": JSONValue(extent),
                "stride": JSONValue(pick([1, 2, 1024])),
            ]
        case 3: ["type": "batch_norm"]
        case 4:
            [
                "type": "flatten", "start_dim": JSONValue(pick([0, 1, -1, 7])),
                "end_dim": JSONValue(pick([-1, 1])),
            ]
        case 5, 6: ["type": "linear", "out_features": JSONValue(wide)]
        case 7:
            [
                "type": "reshape",
                "shape": .array((0...random.below(4)).map { _ in JSONValue(pick([-1, 1, 4, 1 << 40])) }),
            ]
        case 8:
            ["type": "transpose", "dims": pick([[0], [1, 0], [2, 0, 1], [1, 2, 0], [0, 2, 1], [7, 7]])]
        case 9:
            [
                "type": "multi_head_attention", "heads": JSONValue(pick([1, 8, 4096])),
                "head_dim": pick([.null, 1, 65_536]), "rotary": pick([false, 1e4]),
            ]
        case 10: ["type": "transformer_block", "heads": 1, "mlp_ratio": pick([0.01, 4, 64])]
        case 11:
            ["type": "embedding", "vocabulary": JSONValue(pick([1, 1 << 24])), "width": JSONValue(wide)]
        case 12:
            [
                "type": pick([
                    "positional_embedding", "class_token", "select_token", "softmax", "global_avg_pool",
                ])
            ]
        case 13: ["type": "squeeze_excite", "reduction": JSONValue(wide)]
        case 14:
            [
                "type": "conv_transpose2d", "out_channels": JSONValue(wide), "kernel_size": JSONValue(extent),
                "stride": JSONValue(extent), "padding": JSONValue(pick([0, 1024])), "groups": JSONValue(wide),
            ]
        case 15:
            ["type": "depthwise_conv2d", "kernel_size": JSONValue(extent), "multiplier": JSONValue(wide)]
        case 16:
            [
                "type": "separable_conv2d", "out_channels": JSONValue(wide), "kernel_size": JSONValue(extent),
                "padding": "same",
            ]
        case 17: ["type": "conv1d", "out_channels": JSONValue(wide), "kernel_size": JSONValue(extent)]
        case 18:
            [
                "type": pick(["add", "multiply", "concat"]),
                "inputs": ["input", pick(["relu1", "bn1", "input"])],
            ]
        case 19: ["type": "group_norm", "groups": JSONValue(wide)]
        case 20: ["type": pick(["layer_norm", "rms_norm"])]
        case 21: ["type": "residual", "layers": [plausibleLayer(), plausibleLayer()]]
        case 22: ["type": "sequential", "layers": [plausibleLayer()]]
        default: ["type": pick(["relu", "gelu", "hard_swish"])]
        }
    }

    mutating func model() -> JSONValue {
        let input = pick(
            [
                [1, 28, 28], [3, 1, 1], [65_536, 65_536, 256], [1, 16_777_216, 65_536],
                [256, 16_384, 16_384], [16_777_216], [64, 192], [16_777_216, 65_536], [64],
            ] as [[Int]])
        let isPlausible = random.below(2) == 0
        let layers = (0..<(1 + random.below(12))).map { _ in isPlausible ? plausibleLayer() : layer() }
        return [
            "input": random.below(9) == 0 ? number() : .array(input.map { JSONValue($0) }),
            "layers": random.below(20) == 0 ? number() : .array(layers),
        ]
    }
}

@Suite("Hostile models never trap") struct HostileModelTests {
    @Test("whatever numbers they bring, they are read or refused", arguments: 0..<40 as Range<UInt64>)
    func randomModels(seed: UInt64) {
        var malice = Malice(random: CounterRandom(seed: seed, purpose: .test))
        for _ in 0..<25 {
            let log = ViolationLog()
            let text = malice.model()
            let model = ModelSpec.read(text, at: "/model", data: DataShape(), log: log)
            #expect((model == nil) == !log.isEmpty, "\(text.encoded())")
            guard let model else { continue }
            let again = ModelSpec.read(model.json, at: "", data: DataShape(), log: log)
            #expect(again == model, "\(text.encoded()) \(log.violations)")
            let cost = CostModel(of: model.graph)
            #expect(cost.parameters >= 0 && cost.trainingMacsPerSample >= cost.macsPerSample)
        }
    }

    @Test("nesting and the number of layers in all lists have their limits")
    func limits() throws {
        var nested = #"{"type": "relu"}"#
        for _ in 0..<8 { nested = "{\"type\": \"sequential\", \"layers\": [\(nested)]}" }
        let deep = try readModel("{\"layers\": [\(nested)]}")
        #expect(deep.violations.map(\.code) == ["too_large"])
        #expect(
            deep.violations.first?.pointer == "/model" + String(repeating: "/layers/0", count: 8) + "/layers")
        let list = Array(repeating: #"{"type": "relu"}"#, count: 2100).joined(separator: ",")
        let group = "{\"type\": \"sequential\", \"layers\": [\(list)]}"
        let many = try readModel("{\"layers\": [\(group), \(group)]}")
        #expect(
            many.violations == [
                Violation(
                    pointer: "/model/layers/1/layers", code: "too_large",
                    detail: "the model has more than 4096 layers")
            ])
        let block = #"{"type": "transformer_block", "heads": 1}"#
        let blocks = Array(repeating: block, count: 4096).joined(separator: ",")
        let graph = try readModel("{\"input\": [2, 2], \"layers\": [\(blocks)]}", data: DataShape())
        #expect(graph.violations.map(\.detail) == ["the model has more than 20000 operations"])
    }

    @Test("a thousand of the largest layers are refused, not counted past the end")
    func manyHugeLayers() throws {
        // 2^42 multiply-accumulates each.
        let layer = #"{"type": "conv2d", "out_channels": 64, "kernel_size": 33, "padding": 16}"#
        let layers = Array(repeating: layer, count: 1000).joined(separator: ",")
        let (model, violations) = try readModel(
            "{\"input\": [64, 1024, 1024], \"layers\": [\(layers)]}", dataset: nil, classes: nil)
        #expect(model == nil)
        #expect(
            violations == [
                Violation(
                    pointer: "/model/layers/3", code: "too_large",
                    detail: "up to conv4 a sample takes more than 2^44 multiply-accumulates")
            ])
    }

    @Test("a document with more faults than are kept is refused too")
    func floodOfFaults() throws {
        let layers = Array(repeating: #"{"type": "linear", "out_features": -1}"#, count: 300)
        let (model, violations) = try readModel("{\"layers\": [\(layers.joined(separator: ","))]}")
        #expect(model == nil)
        #expect(violations.count == ViolationLog.countMax)
    }
}
