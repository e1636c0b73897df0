import Graph
import JSON
import Tensor
import Testing

@Suite("Layers name one another, and a wrong name is answered") struct ReferenceTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let layers: String
        let pointer: String
        let code: String
        let detail: String
        var input = [8, 4, 4]
        var testDescription: String { "\(pointer): \(detail)" }
    }

    static let cases: [Case] = [
        Case(
            layers: #"{"type": "relu", "name": "first"}, {"type": "add", "inputs": ["frist", "input"]}"#,
            pointer: "/1/inputs/0", code: "unknown_layer",
            detail: #"unknown layer "frist"; did you mean "first"?"#),
        Case(
            layers: #"{"type": "relu", "inputs": "later"}, {"type": "relu", "name": "later"}"#,
            pointer: "/0/inputs", code: "unknown_layer",
            detail: #""later" is not complete before this layer"#),
        Case(
            layers: #"{"type": "residual", "name": "r", "layers": [{"type": "relu", "inputs": "r"}]}"#,
            pointer: "/0/layers/0/inputs", code: "unknown_layer",
            detail: #""r" is not complete before this layer"#),
        Case(
            layers: """
                {"type": "sequential", "layers": [{"type": "relu", "name": "inner"}]},
                {"type": "add", "inputs": ["inner", "sequential1"]}
                """, pointer: "/1/inputs/0", code: "unknown_layer",
            detail: #"unknown layer "inner"; known: sequential1, input"#),
        Case(
            layers: #"{"type": "relu"}, {"type": "gelu", "inputs": "input"}"#, pointer: "/0",
            code: "unused_layer", detail: #"nothing reads "relu1" and it is not the last"#),
        Case(
            layers: #"{"type": "add"}"#, pointer: "/0/inputs", code: "missing_field",
            detail: #""inputs" is required"#),
        Case(
            layers: #"{"type": "add", "inputs": "input"}"#, pointer: "/0/inputs", code: "invalid_value",
            detail: "expected 2 inputs or more, found 1"),
        Case(
            layers: #"{"type": "relu", "inputs": ["input", "input"]}"#, pointer: "/0/inputs",
            code: "invalid_value", detail: "expected one input, found 2"),
        Case(
            layers: #"{"type": "relu", "inputs": 7}"#, pointer: "/0/inputs", code: "wrong_type",
            detail: "expected a name or an array of names, found 7"),
        Case(
            layers: #"{"type": "relu", "name": "input"}"#, pointer: "/0/name", code: "invalid_value",
            detail: #""input" has a meaning of its own here"#),
        Case(
            layers: #"{"type": "residual", "layers": [{"type": "relu", "name": "shortcut"}]}"#,
            pointer: "/0/layers/0/name", code: "invalid_value",
            detail: #""shortcut" has a meaning of its own here"#),
        Case(
            layers: """
                {"type": "relu", "name": "a"},
                {"type": "linear", "out_features": 4, "tied_to": "a"}
                """, pointer: "/1/tied_to", code: "invalid_value",
            detail: #""a" is no embedding and no linear layer"#),
        Case(
            layers: """
                {"type": "embedding", "name": "e", "vocabulary": 9, "width": 4},
                {"type": "linear", "out_features": 8, "tied_to": "e"}
                """, pointer: "/1/tied_to", code: "shape_mismatch",
            detail: #"the weight of "e" is 9x4, fc1 needs 8x4"#, input: [5]),
        Case(
            layers: """
                {"type": "flatten"}, {"type": "linear", "name": "a", "out_features": 128},
                {"type": "linear", "out_features": 128, "tied_to": "a"}
                """, pointer: "/2/tied_to", code: "invalid_value",
            detail: #""a" reads a flattened image; its weight is its own"#),
        Case(
            layers: """
                {"type": "embedding", "name": "e", "vocabulary": 9, "width": 4},
                {"type": "relu", "inputs": "input"}, {"type": "add", "inputs": ["e", "relu1"]}
                """, pointer: "/1", code: "shape_mismatch",
            detail: "relu1 cannot read tokens; put an embedding layer before it", input: [5]),
        Case(
            layers: #"{"type": "relu"}, {"type": "embedding", "vocabulary": 9, "width": 4}"#, pointer: "/1",
            code: "shape_mismatch",
            detail: "embedding1 needs the model's input, and that it is tokens", input: [5]),
        Case(
            layers: """
                {"type": "residual", "layers": [{"type": "relu"},
                  {"type": "sequential", "layers": [
                    {"type": "conv2d", "out_channels": 8, "kernel_size": 7}]}]}
                """, pointer: "/0/layers/1/layers/0/kernel_size", code: "shape_mismatch",
            detail: "kernel 7 does not fit the 4x4 input"),
        Case(
            layers: """
                {"type": "residual", "layers": [{"type": "conv2d", "out_channels": 4, "kernel_size": 1}]}
                """, pointer: "/0", code: "shape_mismatch",
            detail: "the layers of residual1 give 4x4x4, the way round them 8x4x4"),
        Case(
            layers:
                #"{"type": "max_pool2d", "kernel_size": 2}, {"type": "add", "inputs": ["pool1", "input"]}"#,
            pointer: "/1/inputs", code: "shape_mismatch", detail: "add1 cannot join 8x2x2 and 8x4x4"),
        Case(
            layers: #"{"type": "conv2d", "out_channels": 8, "kernel_size": 2, "padding": "same"}"#,
            pointer: "/0/padding", code: "invalid_value",
            detail: "\"same\" padding needs a kernel of odd extents"),
        Case(
            layers: #"{"type": "conv2d", "out_channels": 8, "kernel_size": 3, "padding": "valid"}"#,
            pointer: "/0/padding", code: "invalid_value",
            detail: #"expected a number, a pair or "same", found "valid""#),
        Case(
            layers: #"{"type": "group_norm", "groups": 3}"#, pointer: "/0/groups", code: "shape_mismatch",
            detail: "3 groups do not divide 8 channels"),
        Case(
            layers: #"{"type": "reshape", "shape": [-1, 3]}"#, pointer: "/0/shape", code: "shape_mismatch",
            detail: "8x4x4 has 128 elements, which are not [-1, 3]"),
        Case(
            layers: #"{"type": "reshape", "shape": [-1, -1]}"#, pointer: "/0/shape", code: "invalid_value",
            detail: "expected extents of at least 1, of which one may be -1, found [-1, -1]"),
        Case(
            layers: #"{"type": "transpose", "dims": [0, 0, 1]}"#, pointer: "/0/dims",
            code: "shape_mismatch", detail: "[0, 0, 1] is no order of the 3 axes of 8x4x4"),
        Case(
            layers: #"{"type": "flatten", "start_dim": 3}"#, pointer: "/0/start_dim", code: "shape_mismatch",
            detail: "8x4x4 has no axis 3"),
        Case(
            layers: #"{"type": "multi_head_attention", "heads": 2}"#, pointer: "/0", code: "shape_mismatch",
            detail: "attention1 needs a sequence [tokens, width], found 8x4x4"),
        Case(
            layers: #"{"type": "transformer_block", "heads": 3}"#, pointer: "/0/heads",
            code: "shape_mismatch", detail: "3 heads do not divide the width 4", input: [5, 4]),
        Case(
            layers: #"{"type": "multi_head_attention", "heads": 4, "rotary": 10000}"#, pointer: "/0/rotary",
            code: "shape_mismatch", detail: "rotary embeddings need heads of an even width, found 1",
            input: [5, 4]),
        Case(
            layers: #"{"type": "transformer_block", "heads": 2, "head_dim": 3, "rotary": 10000}"#,
            pointer: "/0/head_dim", code: "shape_mismatch",
            detail: "rotary embeddings need heads of an even width, found 3", input: [5, 4]),
        Case(
            layers: #"{"type": "multi_head_attention", "heads": 4096, "head_dim": 65536}"#,
            pointer: "/0", code: "too_large",
            detail: "the weight of attention1.in_proj cannot be: The shape [805306368, 65536] has more than "
                + "1099511627776 elements.", input: [5, 65_536]),
        Case(
            layers: #"{"type": "multi_head_attention", "heads": 2, "head_dim": 0}"#,
            pointer: "/0/head_dim", code: "out_of_range",
            detail: "expected an integer from 1 to 65536, found 0", input: [5, 4]),
        Case(
            layers: #"{"type": "select_token", "index": -6}"#, pointer: "/0/index", code: "shape_mismatch",
            detail: "5x4 has no token -6", input: [5, 4]),
        Case(
            layers: #"{"type": "embedding", "width": 4}"#, pointer: "/0/vocabulary", code: "missing_field",
            detail: #""vocabulary" is required without a dataset of tokens"#, input: [5]),
        Case(
            layers: """
                {"type": "conv_transpose2d", "out_channels": 1, "kernel_size": 2, "output_padding": 1}
                """, pointer: "/0/output_padding", code: "shape_mismatch",
            detail: "output_padding must be below the stride or the dilation"),
    ]

    @Test("one fault", arguments: cases)
    func oneFault(_ fault: Case) throws {
        let (model, violations) = try readModel(
            "{\"input\": \(fault.input), \"layers\": [\(fault.layers)]}", data: DataShape())
        #expect(model == nil)
        #expect(
            violations == [
                Violation(
                    pointer: "/model/layers" + fault.pointer, code: fault.code, detail: fault.detail)
            ])
    }

    @Test("faults of names, fields and shapes are told at once")
    func allAtOnce() throws {
        let (_, violations) = try readModel(
            """
            {"input": [8, 4, 4], "layers": [
              {"type": "conv2d", "out_channels": 8, "kernel_size": 9},
              {"type": "sequential", "layers": [{"type": "dropout", "p": 2}, {"type": "nothing"}]},
              {"type": "relu", "name": "a b"}]}
            """, data: DataShape())
        #expect(
            violations.map(\.pointer) == [
                "/model/layers/1/layers/0/p", "/model/layers/1/layers/1/type", "/model/layers/2/name",
                "/model/layers/0/kernel_size",
            ])
    }

    @Test("an inner name hides an outer one, and a layer may read what is around its list")
    func scopes() throws {
        let graph = try readGraph(
            [4, 3, 3],
            """
            {"type": "relu", "name": "a"}, {"type": "tanh", "name": "b"},
            {"type": "sequential", "name": "s", "layers": [
              {"type": "silu", "name": "a"}, {"type": "add", "inputs": ["a", "b", "input"]}]},
            {"type": "add", "inputs": ["a", "s"]}
            """)
        let names = graph.nodes.map { node in
            node.inputs.map { graph.producer(of: $0)?.name ?? "input" }
        }
        #expect(graph.nodes.map(\.name) == ["a", "b", "s.a", "s.add1.sum1", "s.add1", "add1"])
        #expect(
            names == [["input"], ["a"], ["b"], ["s.a", "b"], ["s.add1.sum1", "b"], ["a", "s.add1"]])
    }

    @Test("two linear layers may share a weight, each with a bias of its own")
    func tiedLinear() throws {
        let graph = try readGraph(
            [6],
            """
            {"type": "linear", "name": "a", "out_features": 6}, {"type": "relu"},
            {"type": "linear", "name": "b", "out_features": 6, "tied_to": "a"}
            """)
        #expect(graph.parameters.map(\.name) == ["a.weight", "a.bias", "b.bias"])
        #expect(graph.nodes[0].parameters[0] == graph.nodes[2].parameters[0])
        #expect(CostModel(of: graph).parameters == 36 + 6 + 6)
        #expect(CostModel(of: graph).macsPerSample == 72)
    }
}

@Suite("A model must agree with its data") struct DataShapeTests {
    private static let decoder =
        #"{"type": "embedding", "width": 4}, {"type": "linear", "out_features": 9}"#

    @Test("a language model foretells one of the vocabulary at each place, whatever its context")
    func language() throws {
        let good = try readModel(
            "{\"input\": [7], \"layers\": [\(Self.decoder)]}", data: .text(vocabulary: 9))
        #expect(good.violations.isEmpty)
        let graph = try #require(good.model).graph
        #expect(graph[graph.input].element == .token)
        let bad = try readModel(
            "{\"input\": [7], \"layers\": [\(Self.decoder)]}", data: .text(vocabulary: 8))
        #expect(
            bad.violations.map(\.detail) == [
                "the next of 8 tokens is foretold at each place, the model's output is 7x9"
            ])
        let free = try readModel("{\"layers\": [\(Self.decoder)]}", data: .text(vocabulary: 9))
        #expect(free.violations.map(\.pointer) == ["/model/input"])
    }

    @Test("classes of tokens need an output for each of them")
    func perToken() throws {
        let data = DataShape(
            input: try Shape([7]), isTokens: true, vocabulary: 9, target: .perToken(classes: 9))
        #expect(try readModel("{\"layers\": [\(Self.decoder)]}", data: data).violations.isEmpty)
        let pooled = try readModel(
            "{\"layers\": [\(Self.decoder), {\"type\": \"global_avg_pool\"}]}", data: data)
        #expect(
            pooled.violations.map(\.detail) == [
                "the dataset has one of 9 classes for each token, the model's output is 9"
            ])
    }

    @Test("images are not embedded and tokens are not convolved")
    func kinds() throws {
        let tokens = DataShape(input: try Shape([7]), isTokens: true, vocabulary: 9)
        #expect(
            try readModel(#"{"layers": [{"type": "relu"}]}"#, data: tokens).violations.map(\.pointer) == [
                "/model/layers/0"
            ])
        let numbers = DataShape.images(try Shape([7]), classes: nil)
        #expect(
            try readModel(
                #"{"layers": [{"type": "embedding", "vocabulary": 9, "width": 4}]}"#, data: numbers
            ).violations.map(\.detail) == ["the dataset's samples are numbers, no tokens to embed"])
    }

    @Test("features and sequences reach a loss in PyTorch's order, images as they lie")
    func lossOrder() throws {
        #expect(
            try readGraph([3, 2, 2], #"{"type": "flatten"}"#).nodes.last?.operation == .permute(axes: [0]))
        #expect(try readGraph([3, 2, 2], #"{"type": "relu"}"#).nodes.count == 1)
        let signal = try readGraph([3, 9], #"{"type": "conv1d", "out_channels": 2, "kernel_size": 1}"#)
        #expect(signal[signal.output].order == .plain)
    }
}
