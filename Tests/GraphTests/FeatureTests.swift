import Graph
import JSON
import Tensor
import Testing

@Suite("Layers that are compared with a teacher's") struct FeatureTests {
    private static func graph(_ input: String, _ layers: String) throws -> Graph {
        let log = ViolationLog()
        let json = try JSONValue(parsing: Array(#"{"input": \#(input), "layers": [\#(layers)]}"#.utf8))
        let model = ModelSpec.read(json, at: "", data: DataShape(), log: log)
        return try #require(model, "\(log.violations)").graph
    }

    private static func image(_ channels: Int, stride: Int = 1) throws -> Graph {
        try graph(
            "[2, 4, 6]",
            """
            {"type": "dropout", "name": "drop"},
            {"type": "conv2d", "name": "conv", "out_channels": \(channels), "kernel_size": 1,
             "stride": \(stride)},
            {"type": "sequential", "name": "part", "layers": [{"type": "relu", "name": "relu"}]},
            {"type": "flatten", "name": "flat"}, {"type": "linear", "name": "hidden", "out_features": 24},
            {"type": "linear", "name": "out", "out_features": 3}
            """)
    }

    /// The first violation of comparing an image net of 4 channels with another.
    private static func refusal(
        _ teacher: Graph, _ comparison: FeatureComparison, student: Graph? = nil
    ) throws -> String {
        let student = try student ?? image(4)
        let error = #expect(throws: InvalidInput.self) {
            try student.comparing([comparison], with: teacher, at: "/f")
        }
        let violation = try #require(error?.violations.first)
        #expect(error?.violations.count == 1)
        return "\(violation.pointer) \(violation.code): \(violation.detail)"
    }

    @Test("keep the model as it is; the adapters' parameters follow behind its own")
    func appended() throws {
        let (student, teacher) = (try Self.image(4), try Self.image(7))
        let graph = try student.comparing(
            [
                .init(student: "part.relu", teacher: "conv", adapter: .conv1x1),
                .init(student: "conv", teacher: "part", loss: .attention),
                .init(student: "flat", teacher: "flat"),
            ], with: teacher, at: "")
        #expect(graph.nodes == student.nodes && graph.output == student.output)
        #expect(Array(graph.parameters.prefix(student.parameters.count)) == student.parameters)
        let added = graph.parameters.dropFirst(student.parameters.count)
        #expect(
            added.map { "\($0.name) \($0.shape) \($0.role.rawValue)" } == [
                "features[0].weight 7x4x1x1 weight", "features[0].bias 7 bias",
                "features[2].weight 168x96 weight", "features[2].bias 168 bias",
            ])
        #expect(added.map(\.fanIn) == [4, 4, 96, 96] && added.allSatisfy { $0.isTrained })
        #expect(graph.parameterIDs.map { graph.isAdapter($0) }.suffix(5) == [false, true, true, true, true])
        #expect(
            graph.features.map { graph[$0.compared].shape.dimensions } == [[7, 4, 6], [4, 4, 6], [168]])
        #expect(graph.features.map(\.teacherChannels) == [7, 7, 168])
        #expect(graph.features[0].adapter?.macs == 4 * 7 * 24)
        let sums = Gradients(of: graph).steps.filter { if case .accumulate = $0 { true } else { false } }
        #expect(sums.count == 3, "each meets what comes from the loss")
        #expect(CostModel(of: graph).macsPerSample == CostModel(of: student).macsPerSample)
    }

    @Test("have the weights and adapters that their losses are used with")
    func defaults() {
        let all = FeatureComparison.Loss.allCases.map {
            FeatureComparison(student: "a", teacher: "b", loss: $0)
        }
        #expect(all.map(\.weight) == [100, 0.25, 1000] && all.map(\.adapter) == [.linear, .none, .none])
    }

    @Test("bring a gradient only where something before them learns")
    func gradients() throws {
        let model = try Self.graph(
            "[6]",
            #"{"type": "tanh", "name": "t"}, {"type": "linear", "name": "l", "out_features": 3}"#)
        let graph = try model.comparing(
            [
                .init(student: "t", teacher: "t"),
                .init(student: "l", teacher: "l", adapter: FeatureComparison.Adapter.none),
            ],
            with: model, at: "")
        let brings = Gradients(of: graph).steps.compactMap { step in
            if case .compare(let place, let outgoing) = step { "\(place) \(outgoing != nil)" } else { nil }
        }
        #expect(brings == ["1 true", "0 false"])
    }

    @Test("are refused by name where a model has no such layer")
    func unknown() throws {
        let teacher = try Self.image(4)
        #expect(
            try Self.refusal(teacher, .init(student: "cnov", teacher: "conv"))
                == "/f/0/student unknown_layer: the student has no layer \"cnov\"; did you mean \"conv\"?")
        #expect(
            try Self.refusal(teacher, .init(student: "conv", teacher: "nothing like it"))
                == "/f/0/teacher unknown_layer: the teacher has no layer \"nothing like it\"; it has drop, "
                + "conv, part.relu, part, flat, hidden, out")
    }

    @Test("are refused where the positions differ, and without an adapter where the channels do")
    func sizes() throws {
        let (smaller, wider) = (try Self.image(4, stride: 2), try Self.image(7))
        #expect(
            try Self.refusal(smaller, .init(student: "conv", teacher: "conv"))
                == "/f/0/teacher shape_mismatch: conv makes 4x4x6, the teacher's conv 4x2x3: nothing "
                + "but their channels may differ")
        for loss in [FeatureComparison.Loss.mse, .cosine] {
            let adapter = FeatureComparison.Adapter.none
            #expect(
                try Self.refusal(wider, .init(student: "conv", teacher: "part", loss: loss, adapter: adapter))
                    == "/f/0/adapter shape_mismatch: conv makes 4x4x6, the teacher's part 7x4x6: "
                    + "without an adapter they must agree")
        }
        #expect(
            try Self.refusal(wider, .init(student: "flat", teacher: "conv")).hasPrefix(
                "/f/0/teacher shape_mismatch: "), "an image and a vector")
    }

    @Test("are refused where an adapter does not fit")
    func adapters() throws {
        let teacher = try Self.image(7)
        #expect(
            try Self.refusal(teacher, .init(student: "hidden", teacher: "hidden", adapter: .conv1x1))
                == "/f/0/adapter invalid_value: conv1x1 is for images, and hidden makes 24; linear fits")
        #expect(
            try Self.refusal(
                teacher, .init(student: "conv", teacher: "conv", loss: .attention, adapter: .linear))
                == "/f/0/adapter invalid_value: attention takes no adapter: it has maps alone")
        // 2^23 by 2^23 products are more than 2^44.
        let wide = try Self.graph("[8388608]", #"{"type": "relu", "name": "r"}"#)
        #expect(
            try Self.refusal(wide, .init(student: "r", teacher: "r"), student: wide)
                == "/f/0/adapter too_large: with the adapter a sample takes more than 2^44 "
                + "multiply-accumulates")
        // 2^21 by 2^21 are within that, and one more weight than a tensor may have.
        let large = try Self.graph("[2097152]", #"{"type": "relu", "name": "r"}"#)
        #expect(
            try Self.refusal(large, .init(student: "r", teacher: "r"), student: large).hasPrefix(
                "/f/0/adapter too_large: the adapter cannot be: "))
    }

    @Test("are refused where there is nothing to compare")
    func nothing() throws {
        let teacher = try Self.image(4)
        #expect(
            try Self.refusal(teacher, .init(student: "hidden", teacher: "hidden", loss: .attention))
                == "/f/0/loss invalid_value: hidden makes 24, the teacher's hidden 24: attention needs "
                + "several positions, as images have")
        #expect(
            try Self.refusal(teacher, .init(student: "conv", teacher: "drop"))
                == "/f/0/teacher invalid_value: drop of the teacher hands the input on as it is")
        // 24 numbers of a flattened image of 2 by 3 by 4 and of a product.
        let flat = try Self.graph(
            "[2, 3, 4]", #"{"type": "relu", "name": "r"}, {"type": "flatten", "name": "flat"}"#)
        #expect(
            try Self.refusal(
                teacher, .init(student: "flat", teacher: "hidden", loss: .cosine), student: flat
            ).contains("one of them is a flattened image whose elements lie in another order"))
        #expect(
            try flat.comparing([.init(student: "flat", teacher: "hidden")], with: teacher, at: "").features
                .count == 1, "what is learned finds its own order")
    }

    @Test("are all looked at before they are refused")
    func severalViolations() throws {
        let graph = try Self.image(4)
        let error = #expect(throws: InvalidInput.self) {
            try graph.comparing(
                [
                    .init(student: "no", teacher: "conv"), .init(student: "conv", teacher: "conv"),
                    .init(student: "conv", teacher: "conv", loss: .attention, adapter: .conv1x1),
                ], with: graph, at: "/f")
        }
        #expect(error?.violations.map(\.pointer) == ["/f/0/student", "/f/2/adapter"])
    }
}
