extension Graph {
    /// A graph of one layer of this one, which reads as its input what the layer reads here.
    ///
    /// The layer has one input.
    public func alone(_ id: NodeID) -> Graph {
        let node = self[id]
        precondition(node.inputs.count == 1, "\(node.name) has \(node.inputs.count) inputs")
        var graph = Graph(input: self[node.inputs[0]])
        let parameters = node.parameters.map { graph.addParameter(self[$0]) }
        graph.output = graph.addNode(
            node.name, node.operation, [graph.input], self[node.output], parameters: parameters,
            macs: node.macs)
        graph.layers = [Layer(name: node.name, output: graph.output)]
        return graph
    }
}
