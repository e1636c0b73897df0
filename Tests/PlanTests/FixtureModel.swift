import Graph
import JSON
import Kernels
import Plan
import Tensor
import TestSupport
import Testing

/// A model that PyTorch has run: its description, its parameters, one batch, and what came of it.
struct FixtureModel {
    let fixture: Fixture
    let name: String
    let graph: Graph
    let labels: [Int32]

    /// Every case of a file, as arguments of a test; one that cannot be found when there are none.
    static func names(in file: String) -> [String] {
        let found = (try? Fixture(file))?.cases.members.map(\.key) ?? []
        return found.isEmpty ? ["no case"] : found
    }

    init(_ name: String, in file: String) throws {
        (self.fixture, self.name) = (try Fixture(file), name)
        graph = try Self.graph(of: fixture, name)
        labels = try fixture.integers("\(name)/target").map { Int32($0) }
    }

    /// The graph of a case's description.
    static func graph(of fixture: Fixture, _ name: String) throws -> Graph {
        let description = try #require(fixture.cases[name]?["model"], "\(name) is not in the fixture")
        let log = ViolationLog()
        let model = ModelSpec.read(description, at: "", data: DataShape(), log: log)
        return try #require(model, "\(name): \(log.violations)").graph
    }

    var batch: Int { get throws { try fixture.shape("\(name)/input")[0] } }
    /// Rows that the loss is a mean over.
    var counted: Int { labels.count { $0 >= 0 } }
    var state: StepState {
        StepState(seed: 0, step: 0, learningRate: 0, inverseCount: 1 / Float(counted))
    }

    /// What rounding to bfloat16 may change: the length of a gradient's error, or with "" the loss's.
    func rounding(of gradient: String) throws -> Double {
        try #require(fixture.cases[name]?["rounding"]?[gradient]?.doubleValue)
    }

    func parameter(_ id: Graph.ParameterID) throws -> [Float] {
        switch graph[id].role {
        case .runningMean: [Float](repeating: 0, count: graph[id].shape.elementCount)
        case .runningVariance: [Float](repeating: 1, count: graph[id].shape.elementCount)
        default: try fixture.floats("\(name)/parameter/\(graph[id].name)")
        }
    }

    /// The batch in an arena of its own, as a prefetcher would deliver it.
    func delivered() throws -> (arena: Arena, input: Slot, target: Slot) {
        let count = try batch * graph.inputShape.elementCount
        let input = Slot(offset: 0, byteCount: count * 4)
        let target = Slot(offset: (input.end + 63) / 64 * 64, byteCount: labels.count * 4)
        let arena = try Arena(byteCount: target.end)
        switch graph[graph.input].element {
        case .token: arena.write(try fixture.integers("\(name)/input").map { Int32($0) }, to: input)
        case .real:
            let values = try fixture.floats("\(name)/input")
            arena.write(Self.inMemory(values, graph[graph.input]), to: input)
        }
        arena.write(labels, to: target)
        return (arena, input, target)
    }

    /// Numbers in PyTorch's order, brought into the order in which the value lies.
    private static func inMemory(_ values: [Float], _ value: Graph.Value) -> [Float] {
        guard value.order == .channelsLast else { return values }
        let channels = value.shape[0]
        let area = value.shape.elementCount / channels
        return channelsLast(values, [values.count / (channels * area), channels, area, 1])
    }
}
