public import Graph
import Tensor

extension ReferenceModel {
    /// The same bytes: what lies in the input's memory order, read in the output's.
    func view(_ node: Graph.Node, _ x: [Double], _ batch: Int) -> [Double] {
        let bytes = memoryOrder(x, of: graph[node.inputs[0]], batch: batch)
        return logicalOrder(bytes, of: graph[node.output], batch: batch)
    }

    func permute(_ axes: [Int], _ node: Graph.Node, _ x: [Double], _ batch: Int) -> [Double] {
        permuted(x, [batch] + graph[node.inputs[0]].shape.dimensions, by: [0] + axes.map { $0 + 1 })
    }

    /// The second input has the first's shape, or one factor for each channel.
    func multiply(_ node: Graph.Node, _ x: [Double], _ factors: [Double], _ batch: Int) -> [Double] {
        if x.count == factors.count { return zip(x, factors).map { $0 * $1 } }
        let axis = innermost(node.inputs[0], batch)
        let sampleCount = x.count / batch
        return x.enumerated().map { index, value in
            let channel = index / axis.inner % axis.extent
            return value * factors[index / sampleCount * axis.extent + channel]
        }
    }

    func concat(_ isInner: Bool, _ node: Graph.Node, _ inputs: [[Double]], _ batch: Int) -> [Double] {
        let output = graph[node.output]
        let axis: Int
        switch output.order {
        case .channelsLast: axis = isInner ? 0 : 1
        case .plain, .flattened: axis = isInner ? output.shape.rank - 1 : 0
        }
        // Each part of one run of the outer axes, one behind the other.
        let lengths = node.inputs.map { graph[$0].shape.dimensions[axis...].reduce(1, *) }
        return (0..<(batch * output.shape.dimensions[..<axis].reduce(1, *))).flatMap { outer in
            zip(inputs, lengths).flatMap { input, length in
                input[(outer * length)..<((outer + 1) * length)]
            }
        }
    }
}

/// A row-major tensor with its axes in another order: axis i of the result is axis `axes[i]` of `x`.
public func permuted(_ x: [Double], _ extents: [Int], by axes: [Int]) -> [Double] {
    var strides = [Int](repeating: 1, count: extents.count)
    for axis in extents.indices.dropLast().reversed() {
        strides[axis] = strides[axis + 1] * extents[axis + 1]
    }
    let (newExtents, newStrides) = (axes.map { extents[$0] }, axes.map { strides[$0] })
    return x.indices.map { index in
        var (rest, place) = (index, 0)
        for axis in newExtents.indices.reversed() {
            place += rest % newExtents[axis] * newStrides[axis]
            rest /= newExtents[axis]
        }
        return x[place]
    }
}

/// A batch of values from PyTorch's order into the order in which the engine's memory holds them.
public func memoryOrder(_ x: [Double], of value: Graph.Value, batch: Int) -> [Double] {
    guard let image = value.imageInMemory else { return x }
    return permuted(x, [batch, image.channels, image.positions], by: [0, 2, 1])
}

/// The inverse of `memoryOrder`.
public func logicalOrder(_ x: [Double], of value: Graph.Value, batch: Int) -> [Double] {
    guard let image = value.imageInMemory else { return x }
    return permuted(x, [batch, image.positions, image.channels], by: [0, 2, 1])
}

extension Graph.Value {
    /// The channels, and places of each, of what lies channels last in memory.
    fileprivate var imageInMemory: (channels: Int, positions: Int)? {
        switch order {
        case .plain: nil
        case .channelsLast: (shape[0], shape.elementCount / shape[0])
        case .flattened(let image): (image[0], image.elementCount / image[0])
        }
    }
}
