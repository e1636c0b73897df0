public import Graph
internal import JSON
internal import Tensor

/// A model without the channels of a choice, and how its parameters are cut from the old ones.
///
/// What is cut alike stays consistent: values, the optimiser's state, averages, masks.
public struct Shrinking: Sendable {
    /// One parameter of the smaller model.
    public struct Cut: Sendable, Hashable {
        /// The whole one, in the model before.
        public let source: Graph.ParameterID
        /// The cut one, in `model`.
        public let target: Graph.ParameterID
        /// The indices that stay along each axis; nil where all do.
        public let kept: [[Int]?]
    }

    /// The smaller model.
    public let model: ModelSpec
    /// One for each of its parameters, in its graph's order.
    public let cuts: [Cut]
    private let source: Graph

    /// Removes channels from a model.
    ///
    /// - Parameters:
    ///   - choice: Channels of `model`'s graph.
    ///   - model: The model before.
    /// - Throws: `CompressionError` when shape inference does not find the cut shapes in the smaller model: a
    ///   mistake of the analysis, by which nothing was changed.
    public init(_ choice: ChannelChoice, of model: ModelSpec) throws(CompressionError) {
        source = model.graph
        let layers = LayerCutting(choice).cut(model.layers, prefix: "")
        do throws(InvalidInput) {
            self.model = try ModelSpec(
                input: model.input, layers: layers, initialization: model.initialization)
        } catch { throw .invalidModel(error.description) }
        cuts = try Self.cuts(choice, from: model.graph, to: self.model.graph)
        guard self.model.graph.outputShape == model.graph.outputShape else {
            throw .unequalShapes(
                parameter: "output", expected: model.graph.outputShape.dimensions,
                found: self.model.graph.outputShape.dimensions)
        }
    }

    private static func cuts(
        _ choice: ChannelChoice, from source: Graph, to target: Graph
    ) throws(CompressionError) -> [Cut] {
        let named = Dictionary(
            source.parameterIDs.map { (source[$0].name, $0) }, uniquingKeysWith: { first, _ in first })
        guard target.parameters.count == source.parameters.count else {
            throw .invalidModel(
                "it has \(target.parameters.count) parameters, expected \(source.parameters.count)")
        }
        var cuts: [Cut] = []
        for id in target.parameterIDs {
            guard let whole = named[target[id].name] else {
                throw .invalidModel("there was no \(target[id].name) before")
            }
            let extents = source[whole].shape.dimensions
            let kept = extents.indices.map { choice.kept(whole, axis: $0) }
            let expected = extents.indices.map { kept[$0]?.count ?? extents[$0] }
            guard expected == target[id].shape.dimensions else {
                throw .unequalShapes(
                    parameter: target[id].name, expected: expected, found: target[id].shape.dimensions)
            }
            cuts.append(Cut(source: whole, target: id, kept: kept))
        }
        return cuts
    }

    /// What stays of the elements of a whole parameter, in PyTorch's order.
    public func slice<Element>(
        _ elements: [Element], _ cut: Cut
    ) throws(CompressionError) -> [Element] {
        let shape = source[cut.source].shape
        guard elements.count == shape.elementCount else {
            throw .wrongCount(
                parameter: source[cut.source].name, expected: shape.elementCount, found: elements.count)
        }
        var (result, extents) = (elements, shape.dimensions)
        for (axis, kept) in cut.kept.enumerated() {
            guard let kept else { continue }
            let inner = extents[(axis + 1)...].reduce(1, *)
            let outer = extents[..<axis].reduce(1, *)
            var sliced: [Element] = []
            sliced.reserveCapacity(outer * kept.count * inner)
            for block in 0..<outer {
                for index in kept {
                    let first = (block * extents[axis] + index) * inner
                    sliced += result[first..<(first + inner)]
                }
            }
            (result, extents[axis]) = (sliced, kept.count)
        }
        return result
    }

    /// The parameters of the smaller model, in its graph's order, from all of the model before.
    public func slice<Element>(_ parameters: [[Element]]) throws(CompressionError) -> [[Element]] {
        guard parameters.count == source.parameters.count else {
            throw .wrongCount(
                parameter: "the model", expected: source.parameters.count, found: parameters.count)
        }
        var result: [[Element]] = []
        for cut in cuts { result.append(try slice(parameters[cut.source.index], cut)) }
        return result
    }
}
