import Graph
import JSON
import Tensor
import Testing

/// The figures are those of the same networks in PyTorch (`Tests/Fixtures/count_presets.py`); the papers give
/// 4.2 M and 569 M for MobileNet, 0.27 M for ResNet-20, 11.69 M and 1.81 G for ResNet-18, 5.72 M and 1.25 G
/// for DeiT-tiny.
@Suite("Presets have their papers' parameters and multiply-accumulates") struct PresetCountTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let model: String
        let data: DataShape
        let parameters: Int
        let macs: Int
        var testDescription: String { model }

        static func image(
            _ model: String, _ input: [Int], _ classes: Int, _ parameters: Int, _ macs: Int
        ) -> Case {
            Case(
                model: model, data: .images(try? Shape(input), classes: classes), parameters: parameters,
                macs: macs)
        }
    }

    static let cases: [Case] = [
        .image(#"{"preset": "mobilenet_v1"}"#, [3, 224, 224], 1000, 4_231_976, 568_740_352),
        .image(#"{"preset": "mobilenet_v1", "width": 0.25}"#, [3, 224, 224], 1000, 470_072, 41_030_272),
        .image(#"{"preset": "mobilenet_v1"}"#, [3, 32, 32], 10, 3_217_226, 46_354_432),
        .image(#"{"preset": "resnet8"}"#, [3, 32, 32], 10, 78_042, 12_501_632),
        .image(#"{"preset": "resnet20"}"#, [3, 32, 32], 10, 272_474, 40_813_184),
        .image(#"{"preset": "resnet18"}"#, [3, 224, 224], 1000, 11_689_512, 1_814_073_344),
        .image(#"{"preset": "resnet18"}"#, [3, 32, 32], 10, 11_173_962, 555_422_720),
        .image(#"{"preset": "ds_cnn"}"#, [1, 49, 10], 12, 23_180, 2_656_768),
        .image(#"{"preset": "separable5"}"#, [3, 32, 32], 10, 136_778, 16_525_824),
        .image(#"{"preset": "standard5"}"#, [3, 32, 32], 10, 1_129_514, 133_007_872),
        .image(#"{"preset": "vit_tiny"}"#, [3, 224, 224], 1000, 5_717_416, 1_253_683_200),
        .image(#"{"preset": "vit_tiny"}"#, [3, 32, 32], 10, 5_362_762, 365_107_584),
        Case(
            model: #"{"preset": "gpt"}"#, data: .text(vocabulary: 65), parameters: 804_096,
            macs: 52_994_048),
        Case(
            model: #"{"preset": "bert"}"#,
            data: DataShape(
                input: try? Shape([64]), isTokens: true, vocabulary: 256, target: .classes(5)),
            parameters: 834_949, macs: 54_526_592),
    ]

    @Test("one preset", arguments: cases)
    func counts(_ preset: Case) throws {
        let (model, violations) = try readModel(preset.model, data: preset.data)
        #expect(violations.isEmpty)
        let cost = CostModel(of: try #require(model).graph)
        #expect(cost.parameters == preset.parameters)
        #expect(cost.macsPerSample == preset.macs)
    }

    @Test("are read back as the same model and graph", arguments: cases)
    func roundTrip(_ preset: Case) throws {
        let model = try #require(try readModel(preset.model, data: preset.data).model)
        let (again, violations) = try readModel(model.json.encoded(), data: preset.data)
        #expect(violations.isEmpty)
        #expect(again == model)
        #expect(again?.graph.nodes == model.graph.nodes)
        #expect(again?.graph.values == model.graph.values)
        #expect(again?.graph.parameters == model.graph.parameters)
    }

    @Test("GPT's head is the embedding's table, unless told otherwise")
    func tied() throws {
        let graph = try #require(try readModel(#"{"preset": "gpt"}"#, data: .text(vocabulary: 65)).model)
            .graph
        let (first, last) = (try #require(graph.nodes.first), try #require(graph.nodes.last))
        #expect(first.operation == .embedding && last.operation == .linear(bias: false))
        #expect(first.parameters == last.parameters)
        #expect(graph.weight(of: last) == graph.parameter(.embedding, of: first))
        #expect(graph.outputShape.dimensions == [64, 65])
        let untied = #"{"preset": "gpt", "tied": false, "context": 32}"#
        let other = try #require(try readModel(untied, data: .text(vocabulary: 65)).model).graph
        #expect(CostModel(of: other).parameters == 804_096 + 65 * 128 - 32 * 128)
    }

    @Test("GPT starts as GPT-2: deviations 0.02, and 0.02 / sqrt(2 layers) for what is added")
    func initialization() throws {
        let graph = try #require(try readModel(#"{"preset": "gpt"}"#, data: .text(vocabulary: 65)).model)
            .graph
        let block = graph.parameters.filter { $0.name.hasPrefix("block1.") }
        #expect(
            block.map(\.name) == [
                "block1.ln1.weight", "block1.attn.in_proj_weight", "block1.attn.out_proj.weight",
                "block1.ln2.weight", "block1.mlp.fc1.weight", "block1.mlp.fc2.weight",
            ])
        let small = 0.02 / 8.0.squareRoot()
        #expect(block.map(\.initialDeviation) == [nil, 0.02, small, nil, 0.02, small])
    }

    @Test("an encoder of tokens with classes keeps its tokens")
    func perToken() throws {
        let data = DataShape(
            input: try Shape([16]), isTokens: true, vocabulary: 30, target: .perToken(classes: 7))
        let model = try #require(try readModel(#"{"preset": "bert", "layers": 1}"#, data: data).model)
        #expect(model.graph.outputShape.dimensions == [16, 7])
    }

    @Test("an encoder of padded texts attends to their tokens and averages them, also when it is read again")
    func padding() throws {
        var data = DataShape(
            input: try Shape([16]), isTokens: true, vocabulary: 30, padding: 0, target: .classes(3))
        let padded = try #require(try readModel(#"{"preset": "bert", "layers": 2}"#, data: data).model)
        let log = ViolationLog()
        let again = ModelSpec.read(padded.json, at: "", data: DataShape(), log: log)
        for graph in [padded.graph, try #require(again).graph] {
            let lengths = graph.nodes.filter { $0.operation == .lengths(padding: 0) }
            #expect(lengths.count == 1)
            let readers = graph.consumers(of: try #require(lengths.first).output).map { graph[$0].operation }
            #expect(readers.count == 3 && readers.last == .mean)
        }
        data.padding = nil
        let whole = try #require(try readModel(#"{"preset": "bert", "layers": 2}"#, data: data).model)
        #expect(whole.graph.nodes.allSatisfy { $0.operation != .lengths(padding: 0) })
    }

    @Test("a padding that is no token is refused, and lengths are lost where tokens become others")
    func paddingPlaces() throws {
        func graph(_ layers: String, padding: Int = 2) throws -> Graph {
            try readGraph(
                [6],
                """
                {"type": "embedding", "vocabulary": 3, "width": 4, "padding_idx": \(padding)}, \(layers)
                """)
        }
        #expect(throws: InvalidInput.self) { try graph(#"{"type": "global_avg_pool"}"#, padding: 3) }
        let kept = try graph(
            #"{"type": "linear", "out_features": 6}, {"type": "relu"}, {"type": "global_avg_pool"}"#)
        #expect(kept.nodes.last?.inputs.count == 2)
        let mixed = try graph(#"{"type": "transpose", "dims": [1, 0]}, {"type": "global_avg_pool"}"#)
        #expect(mixed.nodes.last?.inputs.count == 1)
    }

    @Test(
        "refuse what does not fit them, with the place",
        arguments: [
            (
                #"{"preset": "vit_tiny", "patch": 5}"#,
                DataShape.images(try? Shape([3, 32, 32]), classes: 10),
                "/model/patch", "patches of 5 do not divide the 32x32 image"
            ),
            (
                #"{"preset": "resnet20", "width": 2}"#,
                DataShape.images(try? Shape([3, 32, 32]), classes: 10), "/model/width",
                #"unknown field "width"; known: preset, classes, input, initialization"#
            ),
            (
                #"{"preset": "resnet18"}"#, DataShape.images(try? Shape([784]), classes: 10), "/model/preset",
                "conv1 needs an image [channels, height, width], found 784"
            ),
            (
                #"{"preset": "gpt"}"#, DataShape(), "/model/vocabulary",
                #""vocabulary" is required without a dataset of tokens"#
            ),
            (
                #"{"preset": "gpt", "vocabulary": 3}"#, DataShape.text(vocabulary: 65), "/model/vocabulary",
                "the dataset has 65 tokens, the embedding 3"
            ),
            (
                #"{"preset": "gpt", "context": 9, "input": [8]}"#, DataShape.text(vocabulary: 65),
                "/model/context", "the input is 8, the context 9"
            ),
            (
                #"{"preset": "gpt", "heads": 3}"#, DataShape.text(vocabulary: 65), "/model/preset",
                "3 heads do not divide the width 128"
            ),
            (
                #"{"preset": "mlp"}"#, DataShape(input: try? Shape([8]), isTokens: true, target: .classes(2)),
                "/model/preset", "the dataset's samples are tokens; the first layer must be an embedding"
            ),
            (
                #"{"preset": "gpt", "vocabulary": 9}"#,
                DataShape.images(try? Shape([64]), classes: 2), "/model/preset",
                "the dataset's samples are numbers, no tokens to embed"
            ),
        ] as [(String, DataShape, String, String)])
    func refused(model: String, data: DataShape, pointer: String, detail: String) throws {
        let (read, violations) = try readModel(model, data: data)
        #expect(read == nil)
        #expect(violations.contains { $0.pointer == pointer && $0.detail == detail }, "\(violations)")
    }
}
