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
            "p", "eps", "momentum", "count_include_pad", "name", "oops",
        ]
        for key in keys where random.below(3) == 0 { layer[key] = number() }
        return .object(layer)
    }

    /// Mostly valid: every number that is allowed, up to the largest.
    mutating func plausibleLayer() -> JSONValue {
        let extent = pick([1, 2, 3, 64, 1024])
        let wide = pick([1, 8, 1024, 65_536])
        return switch random.below(6) {
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
        case 4: ["type": "flatten"]
        default: ["type": "linear", "out_features": JSONValue(wide)]
        }
    }

    mutating func model() -> JSONValue {
        let input = pick(
            [
                [1, 28, 28], [3, 1, 1], [65_536, 65_536, 256], [1, 16_777_216, 65_536],
                [256, 16_384, 16_384], [16_777_216],
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
            let model = ModelSpec.read(text, at: "/model", datasetInput: nil, classes: nil, log: log)
            #expect((model == nil) == !log.isEmpty, "\(text.encoded())")
            guard let model else { continue }
            let cost = CostModel(of: model.graph)
            #expect(cost.parameters >= 0 && cost.trainingMacsPerSample >= cost.macsPerSample)
        }
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
