import Compression
import Graph
import JSON
import Tensor
import TestSupport
import Testing

@Suite("A request's prune object is read whole, with every fault at its place") struct PruneFieldsTests {
    @Test("an empty object is the documented defaults") func defaultsAreTheDocumented() throws {
        let (options, violations) = try pruneOptions("{}")
        #expect(violations.isEmpty)
        #expect(options == PruneOptions())
        #expect(options.targetSparsity == 0.5 && options.frequency == 100 && options.maxPerLayer == 0.98)
        #expect(options.exclude == ["output"] && options.fineTuning.rateFactor == 0.1)
    }

    @Test("every field is read") func everyFieldIsRead() throws {
        let (options, violations) = try pruneOptions(
            """
            {"structure": "channel", "criterion": "magnitude", "norm": "l2", "scope": "layer",
             "constraint": {"macs": "50%", "bytes": 1000}, "schedule": "cubic", "initial_sparsity": 0.1,
             "begin_step": 5, "end_step": 105, "frequency": 10, "power": 2, "rewind": "none",
             "per_layer": {"fc1": 0.25}, "exclude": ["conv*"], "min_per_layer": 0.1, "max_per_layer": 0.9,
             "round_to": 8, "min_channels": 4, "shrink": false, "finetune": {"epochs": 7, "lr_factor": 1}}
            """)
        #expect(violations.isEmpty, "\(violations)")
        #expect(options.structure == .channel && options.norm == .l2 && options.scope == .layer)
        #expect(
            options.constraints == [.init(.macs, .fraction(0.5)), .init(.bytes, .absolute(1000))])
        #expect(options.curve == .cubic(power: 2) && options.rewind == PruneOptions.Rewind.none)
        #expect(options.perLayer == ["fc1": 0.25] && options.exclude == ["conv*"])
        #expect(options.roundTo == 8 && options.minChannels == 4 && !options.shrinks)
        #expect(options.fineTuning.epochs == 7 && options.endStep == 105)
        let timeline = PruneTimeline(options, trainSteps: 200, stepsPerEpoch: 10, isStored: false)
        let schedule = timeline.schedule(to: 0.9)
        #expect(schedule.sparsity(at: 105) == 0.9 && schedule.sparsity(at: 5) == 0.1)
    }

    @Test("n:m says its own target") func patternResolvesItsTarget() throws {
        let (options, violations) = try pruneOptions(#"{"structure": "n:m", "n": 1, "m": 4}"#)
        #expect(violations.isEmpty && options.targetSparsity == 0.75)
    }

    /// One fault each, and where it must be pointed at.
    static let faults: [(text: String, pointer: String, code: String)] = [
        (#"{"structure": "rows"}"#, "/prune/structure", "invalid_value"),
        (#"{"target_sparsity": 1}"#, "/prune/target_sparsity", "out_of_range"),
        (#"{"target_sparsity": 0.99}"#, "/prune/target_sparsity", "invalid_value"),
        (#"{"sparsity": 0.5}"#, "/prune/sparsity", "unknown_field"),
        (#"{"block": 2}"#, "/prune/block", "invalid_value"),
        (#"{"structure": "n:m", "n": 4}"#, "/prune/n", "invalid_value"),
        (#"{"structure": "n:m", "target_sparsity": 0.6}"#, "/prune/target_sparsity", "invalid_value"),
        (#"{"structure": "n:m", "schedule": "linear"}"#, "/prune/schedule", "invalid_value"),
        (#"{"constraint": {"macs": "50%"}}"#, "/prune/constraint", "invalid_value"),
        (#"{"structure": "channel", "constraint": {}}"#, "/prune/constraint", "missing_field"),
        (
            #"{"structure": "channel", "constraint": {"macs": "half"}}"#, "/prune/constraint/macs",
            "invalid_value"
        ),
        (
            #"{"structure": "channel", "constraint": {"macs": "150%"}}"#, "/prune/constraint/macs",
            "invalid_value"
        ),
        (
            #"{"structure": "channel", "constraint": {"macs": 5}, "target_sparsity": 0.5}"#,
            "/prune/target_sparsity", "invalid_value"
        ),
        (#"{"criterion": "bn_scale"}"#, "/prune/criterion", "invalid_value"),
        (#"{"criterion": "movement", "begin_step": 0}"#, "/prune/begin_step", "invalid_value"),
        (#"{"schedule": "iterative", "begin_step": 5}"#, "/prune/begin_step", "invalid_value"),
        (#"{"schedule": "iterative", "end_step": 5}"#, "/prune/end_step", "invalid_value"),
        (#"{"schedule": "linear", "rewind": "init"}"#, "/prune/rewind", "invalid_value"),
        (#"{"rewind": "lr", "begin_step": 5}"#, "/prune/begin_step", "invalid_value"),
        (#"{"rewind": "lr", "finetune": {"epochs": 2}}"#, "/prune/finetune", "invalid_value"),
        (#"{"criterion": "random", "norm": "l2"}"#, "/prune/norm", "invalid_value"),
        (#"{"rounds": 3}"#, "/prune/rounds", "invalid_value"),
        (#"{"rewind": "step:x"}"#, "/prune/rewind", "invalid_value"),
        (#"{"rewind": 3}"#, "/prune/rewind", "wrong_type"),
        (#"{"per_layer": {"fc1": 1}}"#, "/prune/per_layer/fc1", "out_of_range"),
        (#"{"per_layer": [0.5]}"#, "/prune/per_layer", "wrong_type"),
        (#"{"min_per_layer": 0.9, "max_per_layer": 0.8}"#, "/prune/min_per_layer", "invalid_value"),
        (
            #"{"schedule": "linear", "begin_step": 9, "end_step": 3}"#, "/prune/end_step", "invalid_value"
        ),
        (
            #"{"schedule": "linear", "initial_sparsity": 0.8}"#, "/prune/initial_sparsity", "invalid_value"
        ),
        (#"{"finetune": {"epochs": -1}}"#, "/prune/finetune/epochs", "out_of_range"),
    ]

    @Test("a fault is pointed at", arguments: faults.indices)
    func faultIsPointedAt(index: Int) throws {
        let fault = Self.faults[index]
        let (_, violations) = try pruneOptions(fault.text)
        #expect(violations.map(\.pointer) == [fault.pointer], "\(violations)")
        #expect(violations.first?.code == fault.code, "\(violations)")
    }

    @Test("several faults are told at once") func severalFaultsAreToldAtOnce() throws {
        let (_, violations) = try pruneOptions(
            #"{"structure": 1, "frequency": 0, "round_to": 4, "rewind": "never", "zeros": true}"#)
        #expect(
            violations.map(\.pointer).sorted() == [
                "/prune/frequency", "/prune/frequency", "/prune/rewind", "/prune/round_to",
                "/prune/structure", "/prune/zeros",
            ])
    }

    @Test("the schema names every field") func schemaNamesEveryField() {
        let names = PruneFields.schema.jsonSchema()["properties"]?.objectValue?.keys ?? []
        #expect(names.count == 26)
        #expect(Set(names).isSuperset(of: ["structure", "constraint", "per_layer", "finetune", "n", "m"]))
    }
}

@Suite("What a model does not have is refused before any training") struct PruneTargetTests {
    static let lenet = #"{"preset": "lenet5_caffe", "input": [1, 28, 28], "classes": 10}"#

    /// Requests against LeNet-5-Caffe, and where the fault is.
    static let faults: [(text: String, pointer: String, code: String)] = [
        (#"{"exclude": ["conv3"]}"#, "/prune/exclude/0", "unknown_layer"),
        (#"{"exclude": ["conv*", "x*"]}"#, "/prune/exclude/1", "unknown_layer"),
        (#"{"per_layer": {"conv9": 0.5}}"#, "/prune/per_layer/conv9", "unknown_layer"),
        (#"{"per_layer": {"fc2": 0.5}}"#, "/prune/per_layer/fc2", "invalid_value"),
        (#"{"per_layer": {"fc1": 0.99}}"#, "/prune/per_layer/fc1", "out_of_range"),
        (
            #"{"per_layer": {"conv1": 0.9999}, "max_per_layer": 1}"#, "/prune/per_layer/conv1",
            "out_of_range"
        ),
        (
            #"{"target_sparsity": 0.9999, "max_per_layer": 1, "scope": "layer"}"#,
            "/prune/target_sparsity", "out_of_range"
        ),
        (#"{"structure": "n:m"}"#, "/prune/m", "shape_mismatch"),
        (#"{"exclude": ["*"]}"#, "/prune", "invalid_value"),
        (#"{"target_sparsity": 0.05, "min_per_layer": 0.1}"#, "/prune/target_sparsity", "out_of_range"),
    ]

    @Test("a fault is pointed at", arguments: faults.indices)
    func faultIsPointedAt(index: Int) throws {
        let fault = Self.faults[index]
        let (options, wrong) = try pruneOptions(fault.text)
        #expect(wrong.isEmpty, "\(wrong)")
        let graph = try model(Self.lenet).graph
        let found = violations { try options.targets(in: graph, at: "/prune") }
        #expect(found.first?.pointer == fault.pointer, "\(found)")
        #expect(found.first?.code == fault.code, "\(found)")
    }

    @Test("the article's case is one line") func articleCase() throws {
        let graph = try model(Self.lenet).graph
        var options = PruneOptions()
        options.exclude = ["fc*"]
        let targets = try options.targets(in: graph, at: "/prune")
        #expect(targets.map(\.layer) == ["conv1", "conv2"])
        #expect(targets.map(\.pieceCount) == [500, 25_000])
    }

    @Test("2:4 takes every layer that it divides") func patternTakesWhatItDivides() throws {
        let graph = try model(Self.lenet).graph
        let options = try pruneOptions(#"{"structure": "n:m", "exclude": ["conv1", "output"]}"#).options
        #expect(try options.targets(in: graph, at: "/prune").map(\.layer) == ["conv2", "fc1"])
    }

    @Test("a tied table is no target, biases are one when asked") func tiedTablesAndBiases() throws {
        let gpt = try model(
            #"{"preset": "gpt", "layers": 1, "heads": 2, "width": 8, "context": 4, "vocabulary": 11}"#)
        let all = try PruneOptions().targets(in: gpt.graph, at: "").map(\.layer)
        #expect(all.count == 4 && all.allSatisfy { $0.hasPrefix("block1.") })
        var options = PruneOptions()
        options.includesBias = true
        let lenet = try model(Self.lenet).graph
        let targets = try options.targets(in: lenet, at: "")
        #expect(targets.map { lenet[$0.parameter].role == .bias } == [false, true, false, true, false, true])
    }
}
