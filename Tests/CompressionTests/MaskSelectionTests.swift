import Compression
import Graph
import JSON
import Tensor
import TestSupport
import Testing

@Suite("Masks are exact, nested and within their limits") struct MaskSelectionTests {
    static let mlp = """
        {"type": "linear", "name": "fc1", "out_features": 40}, {"type": "relu"},
        {"type": "linear", "name": "fc2", "out_features": 25}, {"type": "relu"},
        {"type": "linear", "name": "fc3", "out_features": 3}
        """

    private func selection(
        _ options: PruneOptions, _ graph: Graph, seed: UInt64 = 1
    ) throws -> MaskSelection {
        MaskSelection(
            options, targets: try options.targets(in: graph, at: "/prune"), graph: graph, seed: seed)
    }

    private func zeros(_ masks: [Graph.ParameterID: Mask]) -> Int {
        masks.values.reduce(0) { $0 + $1.count - $1.keptCount }
    }

    @Test("counts are of the original, to the nearest", arguments: [0.0, 0.1, 0.333, 0.5, 0.87, 0.97])
    func countsAreExact(target: Double) throws {
        let graph = try layered("[30]", Self.mlp).graph
        var options = PruneOptions()
        options.targetSparsity = target
        let numbers = byParameter(graph, randomParameters(graph, seed: 3))
        for scope in PruneOptions.Scope.allCases {
            options.scope = scope
            let masks = try selection(options, graph).masks(numbers)
            let (first, second) = ((1200 * target).rounded(), (1000 * target).rounded())
            let wanted = scope == .global ? (2200 * target).rounded() : first + second
            #expect(zeros(masks) == Int(wanted))
        }
    }

    @Test("equal weights go by index, and no more than asked") func tiesGoByIndex() throws {
        let graph = try layered("[30]", Self.mlp).graph
        let options = try pruneOptions(#"{"target_sparsity": 0.25}"#).options
        let equal = graph.parameters.map { [Float](repeating: -0.5, count: $0.shape.elementCount) }
        let masks = try selection(options, graph).masks(byParameter(graph, equal))
        #expect(zeros(masks) == 550)
        let first = try #require(masks[graph.parameterIDs[0]])
        #expect(first.elements == [UInt8](repeating: 0, count: 550) + [UInt8](repeating: 1, count: 650))
    }

    @Test("what is pruned never comes back", arguments: PruneOptions.Criterion.allCases)
    func masksAreNested(criterion: PruneOptions.Criterion) throws {
        if criterion == .bnScale { return }
        let graph = try layered("[30]", Self.mlp).graph
        for structure in [PruneOptions.Structure.unstructured, .block] {
            var options = PruneOptions()
            (options.criterion, options.structure, options.targetSparsity) = (criterion, structure, 0.9)
            (options.blockRows, options.blockColumns) = (3, 2)
            let selection = try selection(options, graph)
            let schedule = SparsitySchedule(.cubic(power: 3), to: 0.9, endStep: 5, frequency: 1)
            var masks: [Graph.ParameterID: Mask] = [:]
            for step in 0...5 {
                // Other numbers at every step, as training makes them.
                let numbers = byParameter(graph, randomParameters(graph, seed: UInt64(step)))
                let next = try selection.masks(numbers, previous: masks) { target in
                    target == 0 ? 0 : schedule.sparsity(at: step)
                }
                for (id, mask) in masks {
                    let after = try #require(next[id]).elements
                    #expect(zip(mask.elements, after).allSatisfy { $0 >= $1 })
                }
                #expect(zeros(next) > zeros(masks) || step == 0)
                masks = next
            }
        }
    }

    @Test("layers keep to their limits and to their own targets") func limitsHold() throws {
        let graph = try layered("[30]", Self.mlp).graph
        // The first layer's weights are far smaller: without limits it would lose all of them.
        var parameters = randomParameters(graph, seed: 7)
        parameters[0] = parameters[0].map { $0 * 1e-6 }
        let numbers = byParameter(graph, parameters)
        let capped = try pruneOptions(
            #"{"target_sparsity": 0.5, "max_per_layer": 0.6, "min_per_layer": 0.2}"#
        ).options
        let masks = try selection(capped, graph).masks(numbers)
        #expect(masks[graph.parameterIDs[0]]?.sparsity == 0.6)
        #expect(zeros(masks) == 1100)
        let own = try pruneOptions(#"{"target_sparsity": 0.5, "per_layer": {"fc1": 0.1}}"#).options
        let ownMasks = try selection(own, graph).masks(numbers)
        #expect(ownMasks[graph.parameterIDs[0]]?.sparsity == 0.1)
        #expect(ownMasks[graph.parameterIDs[2]]?.sparsity == 0.5)
    }

    @Test("a layer never loses its last weight") func lastWeightStays() throws {
        let graph = try layered("[30]", Self.mlp).graph
        var parameters = randomParameters(graph, seed: 7)
        parameters[0] = parameters[0].map { $0 * 1e-6 }
        let options = try pruneOptions(#"{"target_sparsity": 0.9, "max_per_layer": 1}"#).options
        let masks = try selection(options, graph).masks(byParameter(graph, parameters))
        #expect(masks[graph.parameterIDs[0]]?.keptCount == 1 && zeros(masks) == 1980)
    }

    @Test("2:4 keeps the two largest of every four inputs, of products and convolutions")
    func patternKeepsTheLargest() throws {
        let graph = try layered(
            "[8, 5, 5]",
            """
            {"type": "conv2d", "name": "conv", "out_channels": 6, "kernel_size": 3}, {"type": "flatten"},
            {"type": "linear", "name": "fc", "out_features": 4}
            """
        ).graph
        let options = try pruneOptions(#"{"structure": "n:m", "exclude": ["fc"]}"#).options
        let parameters = randomParameters(graph, seed: 9)
        let mask = try #require(
            try selection(options, graph).masks(byParameter(graph, parameters))[graph.parameterIDs[0]])
        for output in 0..<6 {
            for tap in 0..<9 {
                for group in 0..<2 {
                    let places = (0..<4).map { (output * 8 + group * 4 + $0) * 9 + tap }
                    let sizes = places.map { abs(parameters[0][$0]) }
                    let wanted = sizes.map { size in sizes.count { $0 > size } < 2 }
                    #expect(places.map { mask.elements[$0] == 1 } == wanted)
                }
            }
        }
    }

    @Test("a tile goes as a whole, the weakest first") func tilesGoAsAWhole() throws {
        let graph = try layered("[6]", #"{"type": "linear", "name": "fc", "out_features": 10}"#).graph
        let options = try pruneOptions(
            #"{"structure": "block", "norm": "l2", "target_sparsity": 0.5, "exclude": []}"#
        ).options
        let parameters = randomParameters(graph, seed: 4)
        let mask = try #require(
            try selection(options, graph).masks(byParameter(graph, parameters))[graph.parameterIDs[0]])
        // Three rows of six tiles: 4, 4 and 2 outputs.
        var means: [(Float, Bool)] = []
        for (first, count) in [(0, 4), (4, 4), (8, 2)] {
            for input in 0..<6 {
                let places = (first..<(first + count)).map { $0 * 6 + input }
                #expect(Set(places.map { mask.elements[$0] }).count == 1)
                let square = places.reduce(0) { $0 + parameters[0][$1] * parameters[0][$1] }
                means.append((square / Float(count), mask.elements[places[0]] == 1))
            }
        }
        let ordered = means.sorted { $0.0 < $1.0 }.map(\.1)
        #expect(ordered == [Bool](repeating: false, count: 9) + [Bool](repeating: true, count: 9))
    }

    @Test("random masks follow the seed and the name") func randomMasksFollowTheSeed() throws {
        let graph = try layered("[30]", Self.mlp).graph
        let options = try pruneOptions(#"{"criterion": "random"}"#).options
        let first = try selection(options, graph, seed: 1).masks([:])
        #expect(try selection(options, graph, seed: 1).masks([:]) == first)
        #expect(try selection(options, graph, seed: 2).masks([:]) != first)
    }

    @Test("numbers that are missing are an error") func missingNumbers() throws {
        let graph = try layered("[30]", Self.mlp).graph
        #expect(throws: CompressionError.wrongCount(parameter: "fc1.weight", expected: 1200, found: 0)) {
            try selection(PruneOptions(), graph).masks([:])
        }
    }
}
