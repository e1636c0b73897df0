public import Graph
import Tensor

extension ReferenceModel {
    /// Mean and biased variance.
    private static func moments(_ x: [Double]) -> (mean: Double, variance: Double) {
        let mean = x.reduce(0, +) / Double(x.count)
        return (mean, x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(x.count))
    }

    func batchNorm(_ norm: Operation.BatchNorm, _ node: Graph.Node, _ x: [Double], _ batch: Int) -> [Double] {
        let axis = innermost(node.inputs[0], batch)
        let (scale, shift) = (parameter(.scale, of: node), parameter(.shift, of: node))
        var y = x
        for c in 0..<axis.extent {
            let places = (0..<(axis.outer * axis.inner)).map {
                ($0 / axis.inner * axis.extent + c) * axis.inner + $0 % axis.inner
            }
            var (mean, variance) = Self.moments(places.map { x[$0] })
            if usesRunningStatistics {
                mean = parameter(.runningMean, of: node)?[c] ?? 0
                variance = parameter(.runningVariance, of: node)?[c] ?? 1
            }
            let factor = (scale?[c] ?? 1) / (variance + norm.epsilon).squareRoot()
            for place in places { y[place] = factor * (x[place] - mean) + (shift?[c] ?? 0) }
        }
        return y
    }

    /// A batch normalisation's running statistics after a training step on `x`, its input.
    ///
    /// The variance enters unbiased, as in PyTorch.
    public func runningStatistics(
        after x: [Double], of node: Graph.Node, batch: Int
    ) -> (mean: [Double], variance: [Double]) {
        guard case .batchNorm(let norm) = node.operation else { return ([], []) }
        let axis = innermost(node.inputs[0], batch)
        let count = Double(axis.outer * axis.inner)
        var (means, variances) = ([Double](), [Double]())
        for c in 0..<axis.extent {
            let (mean, variance) = Self.moments(
                x.indices.filter { $0 / axis.inner % axis.extent == c }.map { x[$0] })
            let (oldMean, oldVariance) = (
                parameter(.runningMean, of: node)?[c] ?? 0, parameter(.runningVariance, of: node)?[c] ?? 1
            )
            means.append(oldMean + norm.momentum * (mean - oldMean))
            variances.append(
                oldVariance + norm.momentum * (variance * count / max(count - 1, 1) - oldVariance))
        }
        return (means, variances)
    }

    func layerNorm(_ epsilon: Double, _ node: Graph.Node, _ x: [Double], _ batch: Int) -> [Double] {
        let (scale, shift) = (parameter(.scale, of: node), parameter(.shift, of: node))
        return innermost(node.inputs[0], batch).mapLines(x) { line in
            let (mean, variance) = Self.moments(line)
            let factor = 1 / (variance + epsilon).squareRoot()
            return line.enumerated().map { c, value in
                (value - mean) * factor * (scale?[c] ?? 1) + (shift?[c] ?? 0)
            }
        }
    }

    func rmsNorm(_ epsilon: Double, _ node: Graph.Node, _ x: [Double], _ batch: Int) -> [Double] {
        let scale = parameter(.scale, of: node)
        return innermost(node.inputs[0], batch).mapLines(x) { line in
            let square = line.reduce(0) { $0 + $1 * $1 } / Double(line.count)
            let factor = 1 / (square + epsilon).squareRoot()
            return line.enumerated().map { c, value in value * factor * (scale?[c] ?? 1) }
        }
    }

    func groupNorm(
        _ groups: Int, _ epsilon: Double, _ node: Graph.Node, _ x: [Double], _ batch: Int
    ) -> [Double] {
        let (scale, shift) = (parameter(.scale, of: node), parameter(.shift, of: node))
        let axis = innermost(node.inputs[0], batch)
        let sampleCount = graph[node.inputs[0]].shape.elementCount
        var y = x
        func group(_ index: Int) -> Int {
            index / sampleCount * groups + index / axis.inner % axis.extent / (axis.extent / groups)
        }
        let members = Dictionary(grouping: x.indices, by: group)
        for places in members.values {
            let (mean, variance) = Self.moments(places.map { x[$0] })
            let factor = 1 / (variance + epsilon).squareRoot()
            for place in places {
                let c = place / axis.inner % axis.extent
                y[place] = (x[place] - mean) * factor * (scale?[c] ?? 1) + (shift?[c] ?? 0)
            }
        }
        return y
    }
}
