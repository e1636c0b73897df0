/// The backward pass of a graph: which gradients are computed, in which order, and which are summed.
public struct Gradients: Sendable {
    /// An index into `values`.
    public struct GradientID: Hashable, Sendable { public let index: Int }

    /// One contribution to, or the total of, the gradient of an activation.
    public struct GradientValue: Sendable, Hashable {
        public let of: Graph.ValueID
    }

    public enum Step: Sendable, Hashable {
        /// The gradients of a node's parameters, and of its inputs where something before it learns.
        case backward(Graph.NodeID, incoming: GradientID, outgoing: [GradientID?])
        /// left += right, for a value with several consumers.
        case accumulate(into: GradientID, GradientID)
        /// The comparison of a feature, by its place among the graph's, and the gradient that it brings where
        /// something before it learns; stands in front of the backward pass of what makes the value.
        case compare(Int, outgoing: GradientID?)
    }

    public private(set) var values: [GradientValue] = []
    /// In the order in which they have to run.
    public private(set) var steps: [Step] = []
    /// The gradient that the loss delivers: of the graph's output.
    public let seed: GradientID

    /// Derives the backward pass by reverse accumulation.
    public init(of graph: Graph) {
        var needed = [Bool](repeating: false, count: graph.values.count)
        for node in graph.nodes {
            let learns = node.parameters.contains { graph[$0].isTrained }
            needed[node.output.index] = learns || node.inputs.contains { needed[$0.index] }
        }
        values = [GradientValue(of: graph.output)]
        seed = GradientID(index: 0)
        var total: [Graph.ValueID: GradientID] = [graph.output: seed]
        for index in graph.nodes.indices.reversed() {
            let node = graph.nodes[index]
            for (place, feature) in graph.features.enumerated() where feature.value == node.output {
                guard needed[node.output.index] else {
                    steps.append(.compare(place, outgoing: nil))
                    continue
                }
                values.append(GradientValue(of: node.output))
                let contribution = GradientID(index: values.count - 1)
                steps.append(.compare(place, outgoing: contribution))
                if let earlier = total[node.output] {
                    steps.append(.accumulate(into: earlier, contribution))
                } else {
                    total[node.output] = contribution
                }
            }
            guard needed[node.output.index], let incoming = total[node.output] else { continue }
            var outgoing: [GradientID?] = []
            var sums: [Step] = []
            for input in node.inputs {
                guard needed[input.index] else {
                    outgoing.append(nil)
                    continue
                }
                values.append(GradientValue(of: input))
                let contribution = GradientID(index: values.count - 1)
                outgoing.append(contribution)
                if let earlier = total[input] {
                    sums.append(.accumulate(into: earlier, contribution))
                } else {
                    total[input] = contribution
                }
            }
            steps.append(.backward(Graph.NodeID(index: index), incoming: incoming, outgoing: outgoing))
            steps += sums
        }
    }

    public subscript(id: GradientID) -> GradientValue { values[id.index] }
}
