internal import JSON
internal import Tensor

// Layers with several inputs, and those that go round others.
extension ShapeInference {
    mutating func appendSum(_ inputs: [Graph.ValueID], _ site: Site) throws(InvalidInput) -> Graph.ValueID {
        for input in inputs.dropFirst() { try checkShapes(inputs[0], input, site) }
        return try fold(alike(inputs, site), .add, "sum", site)
    }

    mutating func appendMultiply(
        _ inputs: [Graph.ValueID], _ site: Site
    ) throws(InvalidInput) -> Graph.ValueID {
        let shape = graph[inputs[0]].shape
        if inputs.count == 2, graph[inputs[1]].shape != shape {
            let factor = graph[inputs[1]].shape
            let isImage = graph[inputs[0]].order == .channelsLast
            let isFactor = factor.rank == 1 || factor.rank == 3 && factor.elementCount == factor[0]
            guard shape.rank >= 2, isFactor, factor[0] == graph[inputs[0]].channels,
                isImage || factor.rank == 1
            else { throw mismatch(inputs[0], inputs[1], site) }
            let factors = try plain(inputs[1], site)
            return try emit(
                site.name, .multiply, [inputs[0], factors], shape.dimensions, graph[inputs[0]].order,
                at: site.place)
        }
        for input in inputs.dropFirst() { try checkShapes(inputs[0], input, site) }
        return try fold(alike(inputs, site), .multiply, "product", site)
    }

    mutating func appendConcat(
        _ inputs: [Graph.ValueID], _ axis: Int, _ site: Site
    ) throws(InvalidInput) -> Graph.ValueID {
        let first = graph[inputs[0]].shape
        let axis = try self.axis(axis, of: first, "dim", site)
        var extents = first.dimensions
        for input in inputs.dropFirst() {
            var other = graph[input].shape.dimensions
            guard other.count == extents.count else { throw mismatch(inputs[0], input, site) }
            extents[axis] += other[axis]
            other[axis] = first[axis]
            guard other == first.dimensions else { throw mismatch(inputs[0], input, site) }
        }
        // The axis has to be the innermost in memory, or the outermost.
        var sources: [Graph.ValueID] = []
        let isImage = first.rank > 1 && inputs.contains { graph[$0].order == .channelsLast }
        let staysImage = first.rank == 3 ? axis < 2 && (isImage || axis == 1) : isImage
        for input in inputs {
            sources.append(staysImage ? try channelsLast(input, site) : try plain(input, site))
        }
        let isInner = staysImage ? axis == 0 : axis == first.rank - 1
        guard isInner || axis == (staysImage ? 1 : 0) else {
            throw site.place.refusal(
                "dim", "shape_mismatch", "axis \(axis) of \(first) is neither the first nor the last")
        }
        return try emit(
            site.name, .concat(isInner: isInner), sources, extents, staysImage ? .channelsLast : .plain,
            at: site.place)
    }

    mutating func appendResidual(
        _ layers: [LayerSpec], _ shortcut: [LayerSpec], _ site: Site, _ input: Graph.ValueID
    ) throws(InvalidInput) -> Graph.ValueID {
        let main = try expand(layers, at: site.place.member("layers"), prefix: site.name + ".", input)
        var way = input
        if shortcut.isEmpty {
            try checkReal(input, site)
        } else {
            way = try expand(
                shortcut, at: site.place.member("shortcut"),
                prefix: site.part(LayerSpec.shortcutName).name + ".", input)
        }
        guard graph[main].shape == graph[way].shape else {
            throw site.place.refusal(
                "shape_mismatch",
                "the layers of \(site.name) give \(graph[main].shape), the way round them "
                    + "\(graph[way].shape)")
        }
        return try fold(alike([main, way], site), .add, "sum", site)
    }

    mutating func appendSqueezeExcite(
        _ layer: LayerKind.SqueezeExcite, _ site: Site, _ input: Graph.ValueID
    ) throws(InvalidInput) -> Graph.ValueID {
        guard graph[input].shape.rank >= 2 else {
            throw site.place.refusal(
                "shape_mismatch", "\(site.name) needs an image, found \(graph[input].shape)")
        }
        let image = try channelsLast(input, site)
        let channels = graph[image].channels
        var value = try appendMean(site.part("mean"), image)
        value = try appendProduct(
            Product(outFeatures: max(1, channels / layer.reduction)), site.part("fc1"), value)
        if let activation = layer.activation.operation {
            value = try appendPointwise(.activation(activation), site.part("activation"), value)
        }
        value = try appendProduct(Product(outFeatures: channels), site.part("fc2"), value)
        value = try appendPointwise(.activation(.sigmoid), site.part("gate"), value)
        return try emit(
            site.name, .multiply, [image, value], graph[image].shape.dimensions, .channelsLast,
            at: site.place)
    }

    /// Two at a time; the last is called as the layer.
    private mutating func fold(
        _ inputs: [Graph.ValueID], _ operation: Operation, _ part: String, _ site: Site
    ) throws(InvalidInput) -> Graph.ValueID {
        var result = inputs[0]
        for (index, input) in inputs.enumerated().dropFirst() {
            let name = index == inputs.count - 1 ? site.name : site.part("\(part)\(index)").name
            result = try emit(
                name, operation, [result, input], graph[result].shape.dimensions, graph[result].order,
                at: site.place)
        }
        return result
    }

    private func checkShapes(
        _ left: Graph.ValueID, _ right: Graph.ValueID, _ site: Site
    ) throws(InvalidInput) {
        guard graph[left].shape == graph[right].shape else { throw mismatch(left, right, site) }
    }

    private func mismatch(_ left: Graph.ValueID, _ right: Graph.ValueID, _ site: Site) -> InvalidInput {
        site.place.refusal(
            "inputs", "shape_mismatch",
            "\(site.name) cannot join \(graph[left].shape) and \(graph[right].shape)")
    }
}
