import Compression
import Graph
import JSON
import Tensor
import TestSupport
import Testing

@Suite("Channels are chosen as asked, and what cannot be is said at once") struct ChannelSelectionTests {
    static let lenet = #"{"preset": "lenet5_caffe", "input": [1, 28, 28], "classes": 10}"#
    static let resnet = #"{"preset": "resnet8", "input": [3, 8, 8], "classes": 10}"#

    private func selection(_ text: String, _ model: ModelSpec) throws -> ChannelSelection {
        let (options, wrong) = try pruneOptions(text)
        #expect(wrong.isEmpty, "\(wrong)")
        return try ChannelSelection(options, graph: model.graph, at: "/prune", seed: 1)
    }

    private func counts(_ choice: ChannelChoice, _ layers: [String]) -> [Int] {
        let graph = choice.groups.graph
        return layers.map { layer in
            guard let id = graph.parameterIDs.first(where: { graph[$0].name == layer + ".weight" }) else {
                return -1
            }
            return choice.kept(id, axis: 0)?.count ?? graph[id].shape[0]
        }
    }

    @Test("ratios, limits, rounding and own targets") func ratiosAndLimits() throws {
        let lenet = try model(Self.lenet)
        let numbers = byParameter(lenet.graph, randomParameters(lenet.graph, seed: 5))
        let layers = ["conv1", "conv2", "fc1"]
        let halves = try selection(#"{"structure": "channel", "scope": "layer"}"#, lenet).choose(numbers)
        #expect(counts(halves, layers) == [10, 25, 250])
        let own = try selection(
            #"{"structure": "channel", "scope": "layer", "per_layer": {"conv1": 0.1}, "exclude": ["fc*"]}"#,
            lenet
        ).choose(numbers)
        #expect(counts(own, layers) == [18, 25, 500])
        let rounded = try selection(
            #"{"structure": "channel", "scope": "layer", "round_to": 8, "min_channels": 16}"#, lenet
        ).choose(numbers)
        #expect(counts(rounded, layers) == [16, 32, 256])
        let global = try selection(#"{"structure": "channel", "target_sparsity": 0.3}"#, lenet)
            .choose(numbers)
        #expect(counts(global, layers).reduce(0, +) == 570 - 171)
    }

    @Test("the smallest filters go", arguments: PruneOptions.Norm.allCases)
    func smallestFiltersGo(norm: PruneOptions.Norm) throws {
        let resnet = try model(Self.resnet)
        var parameters = randomParameters(resnet.graph, seed: 5)
        // Channels 3 and 7 of the two layers that the first residual sum joins.
        for name in ["conv1.weight", "block1.conv2.weight"] {
            let index = try #require(resnet.graph.parameters.firstIndex { $0.name == name })
            let size = parameters[index].count / 16
            for channel in [3, 7] {
                for element in (channel * size)..<((channel + 1) * size) { parameters[index][element] *= 0.1 }
            }
        }
        let text = """
            {"structure": "channel", "norm": "\(norm.rawValue)", "scope": "layer",
             "per_layer": {"conv1": 0.125}}
            """
        let choice = try selection(text, resnet).choose(byParameter(resnet.graph, parameters))
        let kept = choice.kept(resnet.graph.parameterIDs[0], axis: 0)
        #expect(kept == (0..<16).filter { $0 != 3 && $0 != 7 })
    }

    @Test("batch normalisation factors rank the layers that have one") func batchNormScales() throws {
        let resnet = try model(Self.resnet)
        let numbers = byParameter(resnet.graph, randomParameters(resnet.graph, seed: 6))
        let choice = try selection(
            #"{"structure": "channel", "criterion": "bn_scale", "scope": "layer"}"#, resnet
        ).choose(numbers)
        let scale = try #require(
            resnet.graph.parameterIDs.first { id in
                resnet.graph[id].name == "block1.bn1.weight"
            })
        let sizes = (numbers[scale] ?? []).map(abs)
        let median = sizes.sorted()[8]
        #expect(choice.kept(scale, axis: 0) == sizes.indices.filter { sizes[$0] >= median })
        let lenet = try model(Self.lenet)
        let found = violations {
            try selection(#"{"structure": "channel", "criterion": "bn_scale"}"#, lenet)
        }
        #expect(found.first?.detail.contains("no layer has a batch normalisation") == true)
    }

    @Test("steps are nested") func stepsAreNested() throws {
        let resnet = try model(Self.resnet)
        let selection = try selection(
            #"{"structure": "channel", "target_sparsity": 0.8, "schedule": "linear"}"#, resnet)
        var previous: ChannelChoice?
        for step in 1...4 {
            let numbers = byParameter(resnet.graph, randomParameters(resnet.graph, seed: UInt64(step)))
            let choice = try selection.choose(
                numbers, previous: previous, sparsity: { $0 * Double(step) / 4 })
            #expect(choice.removed.isSuperset(of: previous?.removed ?? []))
            #expect(choice.removed.count > (previous?.removed.count ?? 0))
            previous = choice
        }
    }

    @Test("bad requests are pointed at") func badRequests() throws {
        let lenet = try model(Self.lenet)
        let faults = [
            (#"{"structure": "channel", "per_layer": {"fc2": 0.5}}"#, "/prune/per_layer/fc2"),
            (
                #"{"structure": "channel", "per_layer": {"fc2": 0.5}, "exclude": []}"#,
                "/prune/per_layer/fc2"
            ),
            (#"{"structure": "channel", "exclude": ["pool1"]}"#, "/prune/exclude/0"),
            (
                #"{"structure": "channel", "target_sparsity": 0.9999, "max_per_layer": 1}"#,
                "/prune/target_sparsity"
            ),
        ]
        for (text, pointer) in faults {
            let found = violations { try selection(text, lenet) }
            #expect(found.first?.pointer == pointer, "\(text): \(found)")
        }
    }

    static let constraints: [(String, PruneOptions.Constraint.Metric)] = [
        (#"{"macs": "50%"}"#, .macs), (#"{"params": 100000}"#, .params), (#"{"bytes": "30%"}"#, .bytes),
        (#"{"macs": "40%", "params": "60%"}"#, .macs),
    ]

    @Test("a constraint is met, and one channel less would not meet it", arguments: constraints.indices)
    func constraintIsMetTightly(index: Int) throws {
        let lenet = try model(Self.lenet)
        let numbers = byParameter(lenet.graph, randomParameters(lenet.graph, seed: 8))
        let selection = try selection(
            #"{"structure": "channel", "constraint": \#(Self.constraints[index].0)}"#, lenet)
        let search = try ConstraintSearch(selection, of: lenet, numbers: numbers)
        let found = try search.run { _ in 0 }
        func meets(_ model: ModelSpec) -> Bool {
            let (before, after) = (CostModel(of: lenet.graph), CostModel(of: model.graph))
            return selection.options.constraints.allSatisfy { constraint in
                switch constraint.metric {
                case .macs:
                    Double(after.macsPerSample) <= constraint.limit(of: Double(before.macsPerSample))
                case .params: Double(after.parameters) <= constraint.limit(of: Double(before.parameters))
                case .bytes, .latencyMilliseconds:
                    Double(after.parameterBytes) <= constraint.limit(of: Double(before.parameterBytes))
                }
            }
        }
        #expect(meets(found.shrinking.model))
        let units = selection.groups.groups.reduce(0) { $0 + $1.units.count }
        let fewer = Double(found.choice.removed.count - 1) / Double(units)
        let larger = try Shrinking(selection.choose(numbers, target: fewer), of: lenet)
        #expect(!meets(larger.model))
    }

    @Test("a constraint that cannot be met names the least that can") func constraintOutOfReach() throws {
        let lenet = try model(Self.lenet)
        let numbers = byParameter(lenet.graph, randomParameters(lenet.graph, seed: 8))
        let selection = try selection(
            #"{"structure": "channel", "constraint": {"macs": "0.001%"}, "max_per_layer": 0.5}"#, lenet)
        let search = try ConstraintSearch(selection, of: lenet, numbers: numbers)
        // Halves of everything: 10, 25 and 250 channels.
        let least = 24 * 24 * 25 * 10 + 8 * 8 * 25 * 250 + 25 * 16 * 250 + 250 * 10
        do {
            _ = try search.run { _ in 0 }
            Issue.record("a thousandth of a percent was met")
        } catch CompressionError.constraintOutOfReach(let metric, let asked, let found) {
            #expect(metric == .macs && found == Double(least))
            #expect(abs(asked - 22.93) < 1e-9)
        }
    }

    @Test("a latency is what the caller measures") func latencyIsMeasured() throws {
        let lenet = try model(Self.lenet)
        let numbers = byParameter(lenet.graph, randomParameters(lenet.graph, seed: 8))
        let selection = try selection(
            #"{"structure": "channel", "constraint": {"latency_ms": "25%"}}"#, lenet)
        let search = try ConstraintSearch(selection, of: lenet, numbers: numbers)
        let found = try search.run { Double(CostModel(of: $0.graph).parameters) }
        let parameters = CostModel(of: found.shrinking.model.graph).parameters
        #expect(parameters * 4 <= 431_080 && parameters * 4 > 390_000)
    }
}
