internal import Tensor

/// Exact counts of what a graph takes, before anything runs.
public struct CostModel: Sendable, Equatable {
    /// Learned numbers.
    public let parameters: Int
    /// Multiply-accumulates of one sample's forward pass; convolutions and products alone, as is the habit.
    public let macsPerSample: Int
    /// Multiply-accumulates of one sample's forward and backward pass.
    public let trainingMacsPerSample: Int
    /// Bytes of all parameters and running statistics in float32.
    public let parameterBytes: Int

    public init(of graph: Graph) {
        parameters = graph.parameters.filter(\.role.isLearned).reduce(0) { $0 + $1.shape.elementCount }
        parameterBytes = graph.parameters.reduce(0) { $0 + $1.shape.elementCount * 4 }
        macsPerSample = graph.nodes.reduce(0) { $0 + $1.macs }
        var training = macsPerSample
        for case .backward(let id, _, let outgoing) in Gradients(of: graph).steps {
            // Of each of a product's two factors; attention's are both activations.
            let parameters = graph[id].parameters
            let learns = parameters.isEmpty || parameters.contains { graph[$0].isTrained }
            let products = (outgoing.contains { $0 != nil } ? 1 : 0) + (learns ? 1 : 0)
            training += graph[id].macs * products
        }
        trainingMacsPerSample = training
    }
}
