import Graph
import JSON
import Tensor

/// An image, or a signal as an image of one row.
struct Plane {
    let channels: Int
    let height: Int
    let width: Int

    init(_ shape: Shape) {
        (channels, width) = (shape[0], shape[shape.rank - 1])
        height = shape.rank == 3 ? shape[1] : 1
    }

    var area: Int { height * width }
    var elementCount: Int { channels * area }
}

extension Operation.Window {
    /// The place that a tap of a window reads; nil in the padding.
    fileprivate func source(_ y: Int, _ x: Int, _ tap: (Int, Int), in plane: Plane) -> Int? {
        let iy = y * stride.first - padding.first + tap.0 * dilation.first
        let ix = x * stride.second - padding.second + tap.1 * dilation.second
        guard iy >= 0, iy < plane.height, ix >= 0, ix < plane.width else { return nil }
        return iy * plane.width + ix
    }
}

extension ReferenceModel {
    /// Every tap of a convolution from the planes of `wide` to those of `narrow`, of which there are as many
    /// as windows: calls `body` with the offsets within a sample of `wide` and of `narrow`, the channels' and
    /// the tap's place in a weight `[narrow, wide / groups, kh, kw]`.
    private func forEachTap(
        _ window: Operation.Window, wide: Plane, narrow: Plane,
        _ body: (_ wide: Int, _ narrow: Int, _ weight: Int) -> Void
    ) {
        let (kh, kw) = (window.kernelSize.first, window.kernelSize.second)
        let (widePer, narrowPer) = (wide.channels / window.groups, narrow.channels / window.groups)
        for y in 0..<narrow.height {
            for x in 0..<narrow.width {
                for tap in 0..<(kh * kw) {
                    guard let place = window.source(y, x, (tap / kw, tap % kw), in: wide) else { continue }
                    for n in 0..<narrow.channels {
                        for w in 0..<widePer {
                            let channel = n / narrowPer * widePer + w
                            body(
                                channel * wide.area + place, n * narrow.area + y * narrow.width + x,
                                (n * widePer + w) * kh * kw + tap)
                        }
                    }
                }
            }
        }
    }

    func convolution(
        _ window: Operation.Window, _ node: Graph.Node, _ x: [Double], _ batch: Int
    ) -> [Double] {
        let (wide, narrow) = (Plane(graph[node.inputs[0]].shape), Plane(graph[node.output].shape))
        let weight = parameter(.weight, of: node) ?? []
        var y = biases(node, narrow, batch)
        forEachTap(window, wide: wide, narrow: narrow) { from, to, place in
            for n in 0..<batch {
                y[n * narrow.elementCount + to] += weight[place] * x[n * wide.elementCount + from]
            }
        }
        return y
    }

    /// The transpose of the convolution whose weight is `[in, out / groups, kh, kw]`.
    func transposedConvolution(
        _ window: Operation.Window, _ node: Graph.Node, _ x: [Double], _ batch: Int
    ) -> [Double] {
        let (narrow, wide) = (Plane(graph[node.inputs[0]].shape), Plane(graph[node.output].shape))
        let weight = parameter(.weight, of: node) ?? []
        var y = biases(node, wide, batch)
        forEachTap(window, wide: wide, narrow: narrow) { to, from, place in
            for n in 0..<batch {
                y[n * wide.elementCount + to] += weight[place] * x[n * narrow.elementCount + from]
            }
        }
        return y
    }

    private func biases(_ node: Graph.Node, _ plane: Plane, _ batch: Int) -> [Double] {
        let bias = parameter(.bias, of: node)
        return (0..<(batch * plane.elementCount)).map { bias?[$0 / plane.area % plane.channels] ?? 0 }
    }

    func product(_ node: Graph.Node, _ x: [Double], _ batch: Int) -> [Double] {
        let outputs = graph[node.output].channels
        // A head tied to an embedding multiplies by its table.
        let weight = parameter(.weight, of: node) ?? parameter(.embedding, of: node) ?? []
        let bias = parameter(.bias, of: node)
        return innermost(node.inputs[0], batch).mapLines(x, to: outputs) { line in
            (0..<outputs).map { o in
                var sum = bias?[o] ?? 0
                for (i, value) in line.enumerated() { sum += weight[o * line.count + i] * value }
                return sum
            }
        }
    }
}
