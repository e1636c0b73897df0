internal import JSON
internal import Tensor

// Products, norms and what else works on features or element by element.
extension ShapeInference {
    /// A product with a learned matrix, however its parameters are called.
    struct Product {
        var outFeatures: Int
        var bias = true
        /// The deviation that the weight starts from, with zeros for the bias; nil for the model's rule.
        var deviation: Double?
        var startsAtZeroBias = false
        var tied: Graph.ParameterID?
        /// Behind the layer's name.
        var suffixes = (weight: ".weight", bias: ".bias")
    }

    mutating func appendLinear(
        _ layer: LayerKind.Linear, _ site: Site, _ input: Graph.ValueID
    ) throws(InvalidInput) -> Graph.ValueID {
        var product = Product(outFeatures: layer.outFeatures)
        (product.bias, product.deviation) = (layer.bias, layer.initialDeviation)
        guard let owner = layer.tiedTo else { return try appendProduct(product, site, input) }
        let weight = try weight(named: owner)
        let value = graph[input]
        let wanted = [layer.outFeatures, value.shape.dimensions.last ?? 0]
        guard graph[weight].shape.dimensions == wanted else {
            throw site.place.refusal(
                "tied_to", "shape_mismatch",
                "the weight of \"\(owner)\" is \(graph[weight].shape), \(site.name) needs "
                    + "\(wanted[0])x\(wanted[1])")
        }
        let isPermuted = graph.nodes.contains { node in
            guard node.parameters.contains(weight), let read = node.inputs.first else { return false }
            if case .flattened = graph[read].order { return true }
            return false
        }
        guard !isPermuted else {
            throw site.place.refusal(
                "tied_to", "invalid_value", "\"\(owner)\" reads a flattened image; its weight is its own")
        }
        product.tied = weight
        return try appendProduct(product, site, try plain(input, site))
    }

    /// Over the last axis.
    ///
    /// Flattened features are read as they lie: the plan orders the weight's columns.
    mutating func appendProduct(
        _ product: Product, _ site: Site, _ input: Graph.ValueID
    ) throws(InvalidInput) -> Graph.ValueID {
        let source = graph[input].shape.rank == 1 ? input : try plain(input, site)
        let shape = graph[source].shape
        guard let inFeatures = shape.dimensions.last else {
            throw site.place.refusal("shape_mismatch", "\(site.name) needs features, found a scalar")
        }
        var parameters: [Graph.ParameterID] = []
        if let tied = product.tied {
            parameters = [tied]
        } else {
            parameters = [
                try learn(
                    site.name + product.suffixes.weight, of: "weight of \(site.name)",
                    [product.outFeatures, inFeatures], .weight, fanIn: inFeatures,
                    fanOut: product.outFeatures, deviation: product.deviation, at: site.place)
            ]
        }
        if product.bias {
            let startsAtZero = product.startsAtZeroBias || product.deviation != nil
            parameters.append(
                try learn(
                    site.name + product.suffixes.bias, of: "bias of \(site.name)", [product.outFeatures],
                    .bias, fanIn: inFeatures, fanOut: product.outFeatures,
                    deviation: startsAtZero ? 0 : nil, at: site.place))
        }
        return try emit(
            site.name, .linear(bias: product.bias), [source],
            shape.dimensions.dropLast() + [product.outFeatures], .plain, parameters: parameters,
            macs: Self.product(shape.elementCount, product.outFeatures), at: site.place)
    }

    /// Layers that keep the shape.
    mutating func appendPointwise(
        _ kind: LayerKind, _ site: Site, _ input: Graph.ValueID
    ) throws(InvalidInput) -> Graph.ValueID {
        switch kind {
        case .activation(let activation): return try keep(.activation(activation), site, input)
        // Among flattened features too: a sum over all of them has no order.
        case .softmax: return try keep(.softmax, site, input)
        case .dropout(let probability): return try keep(.dropout(probability), site, input)
        case .batchNorm(let norm):
            let source = try channels(input, site)
            let parameters = try learnNorm(
                site, [.scale, .shift, .runningMean, .runningVariance], graph[source].channels)
            return try keep(
                .batchNorm(.init(epsilon: norm.epsilon, momentum: norm.momentum)), site, source, parameters)
        case .layerNorm(let norm):
            let roles: [Graph.Parameter.Role] = !norm.isAffine ? [] : norm.bias ? [.scale, .shift] : [.scale]
            let source = try features(input, site)
            return try keep(
                .layerNorm(epsilon: norm.epsilon), site, source,
                try learnNorm(site, roles, graph[source].channels))
        case .rmsNorm(let epsilon):
            let source = try features(input, site)
            return try keep(
                .rmsNorm(epsilon: epsilon), site, source,
                try learnNorm(site, [.scale], graph[source].channels))
        case .groupNorm(let norm):
            let source = try channels(input, site)
            let count = graph[source].channels
            guard count % norm.groups == 0 else {
                throw site.place.refusal(
                    "groups", "shape_mismatch", "\(norm.groups) groups do not divide \(count) channels")
            }
            return try keep(
                .groupNorm(groups: norm.groups, epsilon: norm.epsilon), site, source,
                try learnNorm(site, [.scale, .shift], count))
        default: throw InvalidInput([])
        }
    }

    /// The mean over everything but channels or the width.
    mutating func appendMean(_ site: Site, _ input: Graph.ValueID) throws(InvalidInput) -> Graph.ValueID {
        let rank = graph[input].shape.rank
        guard rank >= 2 else {
            throw site.place.refusal(
                "shape_mismatch",
                "\(site.name) needs an image or a sequence, found \(graph[input].shape)")
        }
        let source = rank == 2 ? input : try channelsLast(input, site)
        return try emit(
            site.name, .mean, withLengths(source), [graph[source].channels], .plain, at: site.place)
    }

    private mutating func keep(
        _ operation: Operation, _ site: Site, _ input: Graph.ValueID,
        _ parameters: [Graph.ParameterID] = []
    ) throws(InvalidInput) -> Graph.ValueID {
        try emit(
            site.name, operation, [input], graph[input].shape.dimensions, graph[input].order,
            parameters: parameters, at: site.place)
    }

    /// PyTorch's state dictionary calls scale and shift weight and bias.
    private mutating func learnNorm(
        _ site: Site, _ roles: [Graph.Parameter.Role], _ count: Int
    ) throws(InvalidInput) -> [Graph.ParameterID] {
        var parameters: [Graph.ParameterID] = []
        for role in roles {
            let suffix = role == .scale ? "weight" : role == .shift ? "bias" : role.rawValue
            parameters.append(
                try learn(
                    "\(site.name).\(suffix)", of: "\(suffix) of \(site.name)", [count], role, at: site.place))
        }
        return parameters
    }

    /// The value with its first axis innermost, as norms of channels need it.
    private mutating func channels(_ id: Graph.ValueID, _ site: Site) throws(InvalidInput) -> Graph.ValueID {
        graph[id].shape.rank == 1 ? try plain(id, site) : try channelsLast(id, site)
    }

    /// The value with what a norm of features works on innermost: the last axis, or an image's channels.
    private mutating func features(_ id: Graph.ValueID, _ site: Site) throws(InvalidInput) -> Graph.ValueID {
        if case .flattened = graph[id].order { return try plain(id, site) }
        return id
    }
}
