public import Compression
public import Graph
internal import Plan
internal import Tensor

/// How a run trains its model for layers in bytes.
///
/// Batch normalisations behind such layers become part of their weights before the first step, with the
/// statistics that they have: what is trained is what will be stored.
public struct ByteTraining: Sendable {
    public let options: QuantizeOptions
    /// What becomes bytes, of the model's own graph.
    public let layers: [Graph.NodeID]
    /// What is trained.
    public let folded: FoldedGraph

    /// Folds what can be folded.
    ///
    /// - Parameters:
    ///   - options: They say how it is trained.
    ///   - layers: Some of the graph's `Quantizer.candidates`.
    ///   - graph: The model's own.
    public init(_ options: QuantizeOptions, layers: [Graph.NodeID], of graph: Graph) {
        (self.options, self.layers) = (options, layers)
        var norms: [Graph.NodeID: Graph.NodeID] = [:]
        if options.foldsNorms { for id in layers { norms[id] = graph.foldableNorm(behind: id) } }
        folded = FoldedGraph(graph, folding: norms)
    }

    /// What is rounded.
    var rounded: RoundedLayers {
        var rounded = RoundedLayers(layers: Set(layers.compactMap { folded.nodes[$0] }))
        if case .movingAverage(let constant) = options.rule { rounded.rate = constant }
        rounded.isSymmetric = options.isSymmetric
        rounded.codeMax = Quantizer.codeMax(options)
        rounded.sharesScales = options.granularity == .perTensor
        return rounded
    }

    /// Steps in which ranges follow the batches.
    func rangeSteps(of steps: Int) -> Int {
        let part = options.training?.freezesRangesAfter ?? 1
        return Int((part * Double(steps)).rounded(.up))
    }
}
