internal import JSON
internal import Tensor

// Layers that only say how elements are arranged.
extension ShapeInference {
    mutating func appendFlatten(
        _ start: Int, _ end: Int, _ site: Site, _ input: Graph.ValueID
    ) throws(InvalidInput) -> Graph.ValueID {
        let value = graph[input]
        let first = try axis(start, of: value.shape, "start_dim", site)
        let last = try axis(end, of: value.shape, "end_dim", site)
        guard first <= last else {
            throw site.place.refusal(
                "end_dim", "shape_mismatch", "start_dim \(start) is behind end_dim \(end)")
        }
        let extents = value.shape.dimensions
        let merged =
            extents[..<first] + [extents[first...last].reduce(1, *)] + extents[(last + 1)...]
        return try view(value, input, Array(merged), site)
    }

    mutating func appendReshape(
        _ shape: [Int], _ site: Site, _ input: Graph.ValueID
    ) throws(InvalidInput) -> Graph.ValueID {
        let value = graph[input]
        let place = site.place.member("shape")
        let known = shape.filter { $0 != -1 }
        guard known.count >= shape.count - 1, known.allSatisfy({ $0 >= 1 }) else {
            throw place.refusal(
                "invalid_value", "expected extents of at least 1, of which one may be -1, found \(shape)")
        }
        let mismatch = place.refusal(
            "shape_mismatch",
            "\(value.shape) has \(value.shape.elementCount) elements, which are not \(shape)")
        guard let product = try? Shape(known).elementCount, value.shape.elementCount % product == 0 else {
            throw mismatch
        }
        let rest = value.shape.elementCount / product
        guard known.count < shape.count || rest == 1 else { throw mismatch }
        return try view(value, input, shape.map { $0 == -1 ? rest : $0 }, site)
    }

    /// The input under another shape, after a permutation only where its order in memory demands one.
    private mutating func view(
        _ value: Graph.Value, _ input: Graph.ValueID, _ extents: [Int], _ site: Site
    ) throws(InvalidInput) -> Graph.ValueID {
        var (source, order) = (input, Graph.Order.plain)
        let isSame = extents == value.shape.dimensions
        switch value.order {
        case .plain: break
        case .channelsLast where isSame: order = .channelsLast
        case .channelsLast where extents.count == 1: if !value.liesPlain { order = .flattened(value.shape) }
        // The channels stay, their places become one axis.
        case .channelsLast where extents.count == 2 && extents[0] == value.shape[0]: order = .channelsLast
        case .channelsLast: source = try plain(input, site)
        case .flattened where isSame: order = value.order
        case .flattened(let image) where extents == image.dimensions: order = .channelsLast
        case .flattened: source = try plain(input, site)
        }
        return try emit(site.name, .view, [source], extents, order, at: site.place)
    }

    mutating func appendTranspose(
        _ axes: [Int], _ site: Site, _ input: Graph.ValueID
    ) throws(InvalidInput) -> Graph.ValueID {
        let value = graph[input]
        guard axes.sorted() == Array(0..<value.shape.rank) else {
            throw site.place.refusal(
                "dims", "shape_mismatch",
                "\(axes) is no order of the \(value.shape.rank) axes of \(value.shape)")
        }
        let extents = axes.map { value.shape[$0] }
        if axes == Array(axes.indices) {
            return try emit(site.name, .view, [input], extents, value.order, at: site.place)
        }
        let rotated = Array(1..<axes.count) + [0]
        if value.order == .channelsLast, axes == rotated {
            // `[channels, height, width]` channels last is `[height, width, channels]`.
            return try emit(site.name, .view, [input], extents, .plain, at: site.place)
        }
        if value.order == .plain, axes.map({ ($0 + 1) % axes.count }) == Array(axes.indices), axes.count <= 3
        {
            return try emit(site.name, .view, [input], extents, .channelsLast, at: site.place)
        }
        return try emit(site.name, .permute(axes: axes), [input], extents, .plain, at: site.place)
    }

    /// An axis counted from the start.
    func axis(_ axis: Int, of shape: Shape, _ field: String, _ site: Site) throws(InvalidInput) -> Int {
        let index = axis < 0 ? axis + shape.rank : axis
        guard (0..<shape.rank).contains(index) else {
            throw site.place.refusal(field, "shape_mismatch", "\(shape) has no axis \(axis)")
        }
        return index
    }
}
