public import Graph
internal import Tensor

/// Layers that compute over float32 what they would over bytes.
///
/// What they read and what they multiply by takes the values of codes, and gradients pass straight through
/// the rounding (Jacob et al., 2018).
///
/// Each activation that such layers read has a range, which follows the batches that are trained on.
public struct RoundedLayers: Sendable, Hashable {
    /// Convolutions and products whose weights are their own.
    public var layers: Set<Graph.NodeID>
    /// How far a batch moves the bounds of a range.
    public var rate = 0.01
    /// Whether zero lies in the middle of the activations' codes.
    public var isSymmetric = false
    /// The greatest code of an activation.
    public var codeMax = UInt8.max
    /// Whether all weights of a layer have one scale.
    public var sharesScales = false

    /// Names the layers.
    public init(layers: Set<Graph.NodeID>) { self.layers = layers }

    /// The values that have ranges, in the graph's order.
    public func owners(in graph: Graph) -> [Graph.ValueID] {
        let flow = ByteFlow(graph)
        return Set(layers.map { flow.owner(of: graph[$0].inputs[0]) }).sorted { $0.index < $1.index }
    }

    /// Asks for the ranges, and lets weights lie row by row: a row has a scale, and what is multiplied by is
    /// a copy.
    func place(
        in graph: Graph, _ layouts: inout [ParameterLayout], _ needs: inout ParameterStore.Needs
    ) {
        needs.ranges = owners(in: graph)
        for id in weights(in: graph).keys {
            layouts[id.index].stored = layouts[id.index].plain
            (layouts[id.index].copy, layouts[id.index].others) = (nil, [])
        }
    }

    /// The layer that each weight belongs to.
    func weights(in graph: Graph) -> [Graph.ParameterID: Graph.NodeID] {
        var weights: [Graph.ParameterID: Graph.NodeID] = [:]
        for id in layers {
            guard let weight = graph.quantizableWeight(of: id) else {
                preconditionFailure("\(graph[id].name) cannot be computed in bytes")
            }
            weights[weight] = id
        }
        return weights
    }
}
