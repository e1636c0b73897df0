internal import Graph
internal import Kernels
internal import Tensor

/// What a student's layers are compared with.
extension Lowering {
    /// Lowers the comparison of a feature with the teacher's; returns the gradient of the feature's value.
    ///
    /// All of it stands in the backward pass, where the gradient is needed: so it takes no memory before, and
    /// may read what was computed again.
    mutating func compare(_ place: Int, needsGradient: Bool) throws(PlanError) -> BufferID? {
        let feature = graph.features[place]
        guard let maker = makers[feature.value] else { return nil }
        current = Graph.NodeID(index: maker)
        try recompute(for: current)
        current = Graph.NodeID(index: maker)
        owner = feature.adapter?.name ?? "features[\(place)]"
        defer { owner = nil }
        guard let adapter = feature.adapter else {
            let gradient =
                needsGradient
                ? addBuffer("\(graph[current].name) feature gradient", like: feature.value) : nil
            measure(feature, place, gradient)
            return gradient
        }
        try forwardWeighted(adapter)
        // What has been adapted is read by nobody else.
        let gradient = activation(adapter.output)
        measure(feature, place, gradient)
        return try backwardWeighted(adapter, gradient, needsGradient)
    }

    /// The distance, which is added to the loss.
    private mutating func measure(_ feature: Graph.Feature, _ place: Int, _ gradient: BufferID?) {
        let compared = graph[feature.compared]
        let loss = FeatureLoss(
            feature.comparison.loss.kernelKind, weight: Float(feature.comparison.weight),
            positions: compared.positions, channels: compared.channels,
            teacherChannels: feature.teacherChannels)
        let kernel = loss.prepare(
            batch: batch, element: element(feature.compared), gradient: gradient != nil)
        let teacher = addBuffer("teacher's \(feature.comparison.teacher)", home: .external(.feature(place)))
        let scratch = addBuffer("features[\(place)] losses")
        let operands = [state, activation(feature.compared), teacher, scratch, result]
        emit("features[\(place)] loss", kernel, operands + [gradient].compactMap(\.self))
    }
}

extension FeatureComparison.Loss {
    fileprivate var kernelKind: FeatureLoss.Kind {
        switch self {
        case .mse: .squaredError
        case .cosine: .cosine
        case .attention: .attention
        }
    }
}
