/// A graph whose batch normalisations have become part of the layers in front of them.
///
/// Every parameter keeps its name. A layer without a bias gets one: what the normalisation adds.
public struct FoldedGraph: Sendable {
    public private(set) var graph: Graph
    /// Where each node of the whole graph is in this one; a folded normalisation is where its layer is.
    public private(set) var nodes: [Graph.NodeID: Graph.NodeID] = [:]
    /// The normalisation that each layer of this graph has taken over, as the whole graph knows it.
    public private(set) var norms: [Graph.NodeID: Graph.NodeID] = [:]
    private var places: [Graph.ValueID: Graph.ValueID]
    private var parameters: [Graph.ParameterID: Graph.ParameterID] = [:]

    /// Folds some normalisations.
    ///
    /// - Parameters:
    ///   - source: A graph without adapters or features.
    ///   - folded: The normalisation behind each layer that takes one over: it alone reads the layer's
    ///     output, and the layer is a convolution or product with a weight of its own.
    public init(_ source: Graph, folding folded: [Graph.NodeID: Graph.NodeID]) {
        graph = Graph(input: source[source.input])
        places = [source.input: graph.input]
        let owners = Dictionary(uniqueKeysWithValues: folded.map { ($1, $0) })
        for id in source.nodeIDs {
            let node = source[id]
            if let layer = owners[id] {
                (places[node.output], nodes[id]) = (places[source[layer].output], nodes[layer])
                continue
            }
            let new = Graph.NodeID(index: graph.nodes.count)
            append(node, of: source, biasedBy: folded[id])
            nodes[id] = new
            norms[new] = folded[id]
        }
        graph.output = places[source.output] ?? graph.input
        graph.layers = source.layers.map { layer in
            Graph.Layer(name: layer.name, output: places[layer.output] ?? graph.input)
        }
    }

    private mutating func append(_ node: Graph.Node, of source: Graph, biasedBy norm: Graph.NodeID?) {
        var (operation, own) = (node.operation, node.parameters.map { parameter($0, of: source) })
        if let norm, let shift = source.parameter(.shift, of: source[norm]),
            source.parameter(.bias, of: node) == nil
        {
            let shape = source[shift].shape
            own.append(
                graph.addParameter(Graph.Parameter(name: "\(node.name).bias", shape: shape, role: .bias)))
            operation = operation.addingBias
        }
        places[node.output] = graph.addNode(
            node.name, operation, node.inputs.map { places[$0] ?? graph.input }, source[node.output],
            parameters: own, macs: node.macs)
    }

    private mutating func parameter(_ id: Graph.ParameterID, of source: Graph) -> Graph.ParameterID {
        if let known = parameters[id] { return known }
        let new = graph.addParameter(source[id])
        parameters[id] = new
        return new
    }
}

extension Operation {
    /// The same layer with a bias.
    fileprivate var addingBias: Operation {
        switch self {
        case .linear: return .linear(bias: true)
        case .convolution(var window):
            window.bias = true
            return .convolution(window)
        default: return self
        }
    }
}
