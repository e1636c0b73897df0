import Graph
import JSON
import Tensor
import Testing

@Suite("A model's JSON") struct ModelSpecTests {
    private static let everything = #"""
        {"input": [6, 11, 9], "initialization": "he_normal", "layers": [
          {"type": "conv2d", "out_channels": 8, "kernel_size": [3, 2], "stride": [1, 2], "padding": 1,
           "dilation": [2, 1], "groups": 2, "bias": false},
          {"type": "batch_norm", "eps": 0.001, "momentum": 0.25}, {"type": "relu"},
          {"type": "max_pool2d", "kernel_size": 2, "stride": 1},
          {"type": "avg_pool2d", "kernel_size": [2, 3], "padding": 1, "count_include_pad": false},
          {"type": "dropout", "p": 0.125, "name": "drop"}, {"type": "flatten"},
          {"type": "linear", "out_features": 17}, {"type": "relu"}, {"type": "linear", "out_features": 10}]}
        """#

    @Test("reads every layer and every field, and names what has no name")
    func everyLayer() throws {
        let (model, violations) = try readModel(Self.everything, dataset: nil)
        #expect(violations.isEmpty)
        let layers = try #require(model).layers
        #expect(
            layers.map(\.name) == [
                "conv1", "bn1", "relu1", "pool1", "pool2", "drop", "flatten1", "fc1", "relu2", "fc2",
            ])
        var conv = LayerKind.Conv2d(outChannels: 8, kernelSize: Pair(3, 2))
        (conv.stride, conv.padding, conv.dilation) = (Pair(1, 2), Pair(1, 1), Pair(2, 1))
        (conv.groups, conv.bias) = (2, false)
        #expect(layers[0].kind == .conv2d(conv))
        #expect(layers[1].kind == .batchNorm(.init(epsilon: 0.001, momentum: 0.25)))
        #expect(layers[3].kind == .maxPool2d(.init(kernelSize: Pair(2, 2), stride: Pair(1, 1))))
        var pool = LayerKind.Pool2d(kernelSize: Pair(2, 3))
        (pool.padding, pool.countIncludePad) = (Pair(1, 1), false)
        #expect(layers[4].kind == .avgPool2d(pool))
    }

    @Test("is read back as the same model, presets too")
    func roundTrip() throws {
        for (text, dataset) in [
            (Self.everything, nil), (#"{"preset": "lenet5_caffe", "dropout": 0.5}"#, [1, 28, 28]),
            (#"{"preset": "mlp", "hidden": [3], "initialization": "xavier_uniform"}"#, [1, 28, 28]),
        ] as [(String, [Int]?)] {
            let model = try #require(try readModel(text, dataset: dataset).model)
            let again = try readModel(model.json.encoded(), dataset: dataset)
            #expect(again.violations.isEmpty)
            #expect(again.model == model)
            #expect(again.model?.json == model.json)
            #expect(again.model?.graph.parameters == model.graph.parameters)
        }
    }

    @Test("is described by a schema with one alternative for each preset and each layer type")
    func schema() {
        let alternatives = ModelSpec.jsonSchema["oneOf"]?.arrayValue
        #expect(alternatives?.count == Preset.allCases.count + 1)
        #expect(alternatives?[1]["properties"]?["preset"]?["const"] == "mlp")
        let layer = alternatives?.last?["properties"]?["layers"]?["items"]
        let types = layer?["oneOf"]?.arrayValue
        #expect(
            types?.map { $0["properties"]?["type"]?["const"] }
                == LayerType.allCases.map { .string($0.rawValue) })
        let residual = types?.first { $0["title"] == "residual" }
        #expect(residual?["properties"]?["layers"]?["items"]?["$ref"] == layer?["$id"])
    }
}

@Suite("A bad model is refused with the place and the reason") struct BadModelTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let model: String
        let pointer: String
        let code: String
        let detail: String
        var dataset: [Int] = [1, 28, 28]
        var testDescription: String { "\(pointer): \(detail)" }

        /// A model of layers on a `dataset` of 8x5x5 images.
        static func layers(_ layers: String, _ pointer: String, _ code: String, _ detail: String) -> Case {
            Case(
                model: "{\"layers\": [\(layers)]}", pointer: "/model/layers\(pointer)", code: code,
                detail: detail, dataset: [8, 5, 5])
        }
    }

    static let relu = #"{"type": "relu"}"#
    static let cases: [Case] = [
        .layers(
            #"\#(relu), \#(relu), \#(relu), {"type": "conv2d", "out_channels": 4, "kernel_size": 7}"#,
            "/3/kernel_size", "shape_mismatch", "kernel 7 does not fit the 5x5 input"),
        .layers(
            #"{"type": "conv2d", "out_channels": 4, "kernel_size": 3, "dilation": 4, "padding": 1}"#,
            "/0/kernel_size", "shape_mismatch", "kernel 3 does not fit the 5x5 input padded by 1x1"),
        .layers(
            #"{"type": "max_pool2d", "kernel_size": [6, 2]}"#, "/0/kernel_size", "shape_mismatch",
            "kernel 6x2 does not fit the 5x5 input"),
        .layers(
            #"{"type": "conv2d", "out_channels": 9, "kernel_size": 3, "groups": 2}"#, "/0/groups",
            "shape_mismatch", "2 groups do not divide 8 input and 9 output channels"),
        Case(
            model: #"{"layers": [{"type": "linear", "out_features": 10}]}"#, pointer: "/model",
            code: "shape_mismatch", detail: "the dataset has 10 classes, the model's output is 8x5x10",
            dataset: [8, 5, 5]),
        .layers(
            #"{"type": "flatten"}, {"type": "max_pool2d", "kernel_size": 2}"#, "/1", "shape_mismatch",
            "pool1 needs an image [channels, height, width], found 200"),
        .layers(
            #"{"type": "avg_pool2d", "kernel_size": 2, "padding": 2}"#, "/0/padding", "shape_mismatch",
            "padding must be at most half of the kernel"),
        .layers(
            #"{"type": "gleu"}"#, "/0/type", "invalid_value",
            #"unknown layer type "gleu"; did you mean "gelu"?"#),
        .layers(#"{"out_features": 3}"#, "/0/type", "missing_field", #""type" is required"#),
        .layers("7", "/0", "wrong_type", "expected an object, found 7"),
        .layers(
            #"{"type": "linear", "out_feature": 3, "out_features": 3}"#, "/0/out_feature", "unknown_field",
            #"unknown field "out_feature"; did you mean "out_features"?"#),
        .layers(
            #"{"type": "linear", "out_features": 0}"#, "/0/out_features", "out_of_range",
            "expected an integer from 1 to 1048576, found 0"),
        .layers(
            #"{"type": "linear", "out_features": "big"}"#, "/0/out_features", "wrong_type",
            #"expected an integer from 1 to 1048576, found "big""#),
        .layers(
            #"{"type": "relu", "name": "a"}, {"type": "relu", "name": "a"}"#, "/1/name", "invalid_value",
            #"another layer is called "a" already"#),
        .layers(
            #"{"type": "relu", "name": "a.b"}"#, "/0/name", "invalid_value",
            #"expected letters, digits, '_' and '-', found "a.b""#),
        .layers("", "", "out_of_range", "expected 1 to 4096 layers, found 0"),
        .layers(
            Array(repeating: relu, count: 4097).joined(separator: ","), "", "out_of_range",
            "expected 1 to 4096 layers, found 4097"),
        .layers(
            #"{"type": "conv2d", "out_channels": 65536, "kernel_size": 1024, "padding": 1024}"#, "/0",
            "too_large", "up to conv1 a sample takes more than 2^44 multiply-accumulates"),
        Case(
            model: #"{"layers": [{"type": "linear", "out_features": 1048576}]}"#, pointer: "/model/layers/0",
            code: "too_large",
            detail:
                "the weight of fc1 cannot be: The shape [1048576, 16777216] has more than "
                + "1099511627776 elements.",
            dataset: [1 << 24]),
        Case(
            model: #"{"layers": 5}"#, pointer: "/model/layers", code: "wrong_type",
            detail: "expected an array of layers"),
        Case(
            model: "{}", pointer: "/model/layers", code: "missing_field", detail: #""layers" is required"#),
        Case(
            model: #"{"preset": "lenet"}"#, pointer: "/model/preset", code: "invalid_value",
            detail: "expected one of "
                + Preset.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
                + #", found "lenet""#),
        Case(
            model: #"{"preset": "linear", "hidden": [3]}"#, pointer: "/model/hidden", code: "unknown_field",
            detail: #"unknown field "hidden"; known: preset, classes, input, initialization"#),
        Case(
            model: #"{"preset": "lenet5_caffe"}"#, pointer: "/model/preset", code: "shape_mismatch",
            detail: "kernel 5 does not fit the 4x4 input", dataset: [1, 4, 4]),
        Case(
            model: #"{"preset": "linear", "classes": 9}"#, pointer: "/model", code: "shape_mismatch",
            detail: "the dataset has 10 classes, the model's output is 9"),
        Case(
            model: #"{"preset": "linear", "input": [1, 27, 28]}"#, pointer: "/model/input",
            code: "shape_mismatch", detail: "the dataset's samples are 1x28x28, the model takes 1x27x28"),
        Case(
            model: #"{"preset": "linear", "input": [1, 28, 28, 1]}"#, pointer: "/model/input",
            code: "out_of_range", detail: "expected 1 to 3 elements, found 4"),
        Case(
            model: "[]", pointer: "/model", code: "wrong_type",
            detail: "expected an object, found an empty array"),
    ]

    @Test("one fault", arguments: cases)
    func oneFault(_ fault: Case) throws {
        let (model, violations) = try readModel(fault.model, dataset: fault.dataset)
        #expect(model == nil)
        #expect(
            violations.contains(
                Violation(pointer: fault.pointer, code: fault.code, detail: fault.detail)),
            "\(violations)")
    }

    @Test("all faults at once")
    func allFaults() throws {
        let (_, violations) = try readModel(
            #"{"layers": [{"type": "x"}, {"type": "dropout", "p": 1}, {"type": "relu", "q": 1}], "seed": 1}"#)
        #expect(
            violations.map(\.pointer) == [
                "/model/layers/0/type", "/model/layers/1/p", "/model/layers/2/q", "/model/seed",
            ])
    }
}
