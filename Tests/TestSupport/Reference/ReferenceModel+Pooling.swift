import Graph
import JSON
import Tensor

extension ReferenceModel {
    func pooling(_ pool: Operation.Pooling, _ node: Graph.Node, _ x: [Double], _ batch: Int) -> [Double] {
        let (i, o) = (Plane(graph[node.inputs[0]].shape), Plane(graph[node.output].shape))
        return (0..<(batch * o.elementCount)).map { index in
            let (ox, oy, plane) = (index % o.width, index / o.width % o.height, index / o.area)
            var window: [Double] = []
            // The window's places inside the padded image, as PyTorch counts them.
            var counted = 0
            for ky in 0..<pool.kernelSize.first {
                for kx in 0..<pool.kernelSize.second {
                    let iy = oy * pool.stride.first - pool.padding.first + ky
                    let ix = ox * pool.stride.second - pool.padding.second + kx
                    if iy < i.height + pool.padding.first, ix < i.width + pool.padding.second { counted += 1 }
                    if iy >= 0, iy < i.height, ix >= 0, ix < i.width {
                        window.append(x[(plane * i.height + iy) * i.width + ix])
                    }
                }
            }
            return switch pool.kind {
            case .maximum: window.max() ?? -.infinity
            case .average(let countsPadding):
                window.reduce(0, +) / Double(countsPadding ? counted : window.count)
            }
        }
    }

    /// Window `k` of `outputs` reaches from ⌊k · inputs / outputs⌋ to ⌈(k + 1) · inputs / outputs⌉.
    func adaptivePooling(_ node: Graph.Node, _ x: [Double], _ batch: Int) -> [Double] {
        func window(_ k: Int, _ inputs: Int, _ outputs: Int) -> Range<Int> {
            (k * inputs / outputs)..<(((k + 1) * inputs + outputs - 1) / outputs)
        }
        let (i, o) = (Plane(graph[node.inputs[0]].shape), Plane(graph[node.output].shape))
        return (0..<(batch * o.elementCount)).map { index in
            let (ox, oy, plane) = (index % o.width, index / o.width % o.height, index / o.area)
            let (rows, columns) = (window(oy, i.height, o.height), window(ox, i.width, o.width))
            var sum = 0.0
            for iy in rows { for ix in columns { sum += x[(plane * i.height + iy) * i.width + ix] } }
            return sum / Double(rows.count * columns.count)
        }
    }

    func mean(_ node: Graph.Node, _ x: [Double], lengths: [Double]?, _ batch: Int) -> [Double] {
        let value = graph[node.inputs[0]]
        let axis = innermost(node.inputs[0], batch)
        var sums = [Double](repeating: 0, count: batch * value.channels)
        for (index, number) in x.enumerated() {
            let sample = index / value.shape.elementCount
            // A sequence has its tokens outermost.
            let token = index % value.shape.elementCount / value.channels
            if let lengths, token >= Int(lengths[sample]) { continue }
            sums[sample * axis.extent + index / axis.inner % axis.extent] += number
        }
        return sums.enumerated().map { index, sum in
            sum / (lengths?[index / value.channels] ?? Double(value.positions))
        }
    }
}
