import Compression
import Graph
import JSON
import Tensor
import TestSupport
import Testing

/// A model of layers in JSON that must be right.
func layered(_ input: String, _ layers: String) throws -> ModelSpec {
    try model(#"{"input": \#(input), "layers": [\#(layers)]}"#)
}

/// A model as a request describes it.
func model(_ text: String) throws -> ModelSpec {
    let log = ViolationLog()
    let spec = ModelSpec.read(try JSONValue(parsing: text), at: "/model", data: DataShape(), log: log)
    try log.throwIfAny()
    return try #require(spec)
}

/// Options as a request describes them, and what was wrong.
func pruneOptions(_ text: String) throws -> (options: PruneOptions, violations: [Violation]) {
    let log = ViolationLog()
    var reader = ObjectReader(try JSONValue(parsing: text), as: PruneFields.schema, at: "/prune", log: log)
    let options = PruneOptions.read(&reader)
    reader.finish()
    return (options, log.violations)
}

/// The layer names and pointers of a refusal.
func violations<Result>(_ body: () throws -> Result) -> [Violation] {
    do { _ = try body() } catch let error as InvalidInput { return error.violations } catch {}
    return []
}

/// Seeded parameters, weights by their fan-in and running variances above 0.
func randomParameters(_ graph: Graph, seed: UInt64) -> [[Float]] {
    graph.parameters.enumerated().map { index, parameter in
        let values = randomFloats(parameter.shape.elementCount, seed: seed &* 1000 &+ UInt64(index))
        let bound = 1.7 / Float(max(parameter.fanIn, 1)).squareRoot()
        return switch parameter.role {
        case .runningVariance: values.map { 0.5 + abs($0) }
        case .weight: values.map { $0 * bound }
        case .bias, .scale, .shift, .embedding, .runningMean: values
        }
    }
}

/// Parameters by their identifier.
func byParameter(_ graph: Graph, _ values: [[Float]]) -> [Graph.ParameterID: [Float]] {
    Dictionary(uniqueKeysWithValues: zip(graph.parameterIDs, values))
}

/// What a model computes, in evaluation and double precision.
func outputs(_ graph: Graph, _ parameters: [[Float]], batch: Int = 2, seed: UInt64 = 5) -> [Double] {
    var reference = ReferenceModel(graph, parameters: parameters.map { $0.map { Double($0) } })
    reference.usesRunningStatistics = true
    let count = batch * graph.inputShape.elementCount
    guard graph[graph.input].element == .token else {
        return reference.forward(randomFloats(count, seed: seed).map { Double($0) }, batch: batch)
    }
    let vocabulary = graph.parameters.first.map { $0.shape[0] } ?? 1
    var random = CounterRandom(seed: seed, purpose: .test)
    return reference.forward(
        (0..<count).map { _ in Double(random.below(UInt32(vocabulary))) }, batch: batch)
}

/// Checks that a smaller model computes what the whole one does.
///
/// Both run in double precision over the same numbers but for terms that are exactly zero; their sums differ
/// by the order of at most a few thousand additions: 1e-9 of the outputs' size, which is around 1 to 1e4.
func expectEqual(_ left: [Double], _ right: [Double], within tolerance: Double = 1e-9) {
    #expect(left.count == right.count && !left.isEmpty)
    let size = max(1, left.map(abs).max() ?? 1)
    let distance = zip(left, right).map { abs($0 - $1) }.max() ?? .infinity
    #expect(distance <= tolerance * size, "they differ by \(distance) of \(size)")
}

/// Values under their masks.
func masked(_ parameters: [[Float]], _ choice: ChannelChoice) -> [[Float]] {
    var result = parameters
    for (id, mask) in choice.masks { mask.apply(to: &result[id.index]) }
    return result
}
