public import Graph
public import Tensor

/// How many samples of a batch run at once where that is left to the planner.
///
/// Activations take memory in proportion to the samples that run at once, and a gradient that is gathered
/// from parts of the batch is the whole batch's (see `PlanMode.accumulation`). So a batch whose activations
/// would take much is cut, as long as the products stay tall enough to run at their full rate. Nothing is cut
/// where a sample's result depends on the others of its batch.
public enum MicroBatch {
    /// Bytes of activations beyond which a batch is cut.
    public static let activationBytesMax = 128 << 20
    /// Rows that products keep, on the average of their multiply-accumulates, so that a cut costs nothing.
    public static let rowsMin = 1024
    /// Rows that they keep where memory is short; fewer would cost more than computing activations again.
    public static let rowsLeast = 256

    /// The samples of the largest part.
    public static func size(of batch: Int, _ graph: Graph, _ element: ElementType) -> Int {
        guard !graph.mixesSamples else { return batch }
        let bytes = graph.activationCount * element.byteCount
        let rows = graph.meanRows
        var size = batch
        while size > 1, Double(size) * Double(bytes) > Double(activationBytesMax),
            Double(size / 2) * rows >= Double(rowsMin)
        {
            size = (size + 1) / 2
        }
        return size
    }

    /// The next smaller part where memory is short; nil where it would cost too much, or change the result.
    public static func size(below size: Int, _ graph: Graph) -> Int? {
        guard !graph.mixesSamples, size > 1, Double(size / 2) * graph.meanRows >= Double(rowsLeast) else {
            return nil
        }
        return (size + 1) / 2
    }
}

extension Graph {
    /// Whether what a sample becomes in training depends on the others of its batch.
    public var mixesSamples: Bool {
        nodes.contains { if case .batchNorm = $0.operation { true } else { false } }
    }

    /// Numbers that a sample's forward pass makes.
    var activationCount: Int {
        nodes.reduce(0) { $0 + ($1.operation.isView ? 0 : self[$1.output].shape.elementCount) }
    }

    /// Rows of a sample's products, each product weighing as much as it computes.
    var meanRows: Double {
        let macs = nodes.reduce(0) { $0 + $1.macs }
        guard macs > 0 else { return 0 }
        return nodes.reduce(0) { $0 + Double($1.macs) * Double(self[$1.output].positions) } / Double(macs)
    }
}
