public import Tensor

/// A model as a typed graph: pure values that nothing has to run to understand.
///
/// Nodes stand in an order in which every input is computed before it is used. Shapes are of one sample,
/// `[channels, height, width]` or `[features]`; the batch is the plan's affair.
public struct Graph: Sendable {
    /// An index into `values`.
    public struct ValueID: Hashable, Sendable { public let index: Int }
    /// An index into `parameters`.
    public struct ParameterID: Hashable, Sendable { public let index: Int }
    /// An index into `nodes`.
    public struct NodeID: Hashable, Sendable { public let index: Int }

    /// One activation.
    public struct Value: Sendable, Hashable {
        public let shape: Shape
    }

    /// One learned tensor, or one that training tracks without learning it.
    public struct Parameter: Sendable, Hashable {
        public enum Role: String, Sendable {
            case weight, bias, scale, shift
            case runningMean = "running_mean"
            case runningVariance = "running_var"

            /// Whether the optimiser changes it.
            public var isLearned: Bool { self != .runningMean && self != .runningVariance }
            /// Biases and normalisation parameters do not decay unless asked (compression.md, pitfall 40).
            public var isBiasOrNorm: Bool { self != .weight }
        }

        /// `conv1.weight`, as in a PyTorch state dictionary.
        public let name: String
        /// PyTorch's extents: `[out, in / groups, height, width]`, `[out, in]`, `[channels]`.
        public let shape: Shape
        public let role: Role
        /// Inputs that one output is a sum of; 0 where it means nothing.
        public let fanIn: Int
        /// Outputs that one input enters; 0 where it means nothing.
        public let fanOut: Int
    }

    /// One layer at work.
    public struct Node: Sendable, Hashable {
        public let name: String
        public let kind: LayerKind
        public let inputs: [ValueID]
        public let output: ValueID
        public let parameters: [ParameterID]
        /// Multiply-accumulates of one sample's forward pass.
        public let macs: Int
    }

    public internal(set) var values: [Value] = []
    public internal(set) var parameters: [Parameter] = []
    public internal(set) var nodes: [Node] = []
    public let input: ValueID
    public internal(set) var output: ValueID

    init(input shape: Shape) {
        values = [Value(shape: shape)]
        input = ValueID(index: 0)
        output = input
    }

    public subscript(value: ValueID) -> Value { values[value.index] }
    public subscript(parameter: ParameterID) -> Parameter { parameters[parameter.index] }
    public subscript(node: NodeID) -> Node { nodes[node.index] }

    public var inputShape: Shape { self[input].shape }
    public var outputShape: Shape { self[output].shape }

    /// Every node, in order.
    public var nodeIDs: [NodeID] { nodes.indices.map { NodeID(index: $0) } }
    /// Every parameter, in order.
    public var parameterIDs: [ParameterID] { parameters.indices.map { ParameterID(index: $0) } }

    /// The nodes that read a value.
    public func consumers(of value: ValueID) -> [NodeID] {
        nodeIDs.filter { self[$0].inputs.contains(value) }
    }

    /// The node that computes a value; nil for the input.
    public func producer(of value: ValueID) -> Node? { nodes.first { $0.output == value } }

    /// The node's parameter with a role, if it has one.
    public func parameter(_ role: Parameter.Role, of node: Node) -> ParameterID? {
        node.parameters.first { self[$0].role == role }
    }

    mutating func addValue(_ shape: Shape) -> ValueID {
        values.append(Value(shape: shape))
        return ValueID(index: values.count - 1)
    }

    mutating func addParameter(_ parameter: Parameter) -> ParameterID {
        parameters.append(parameter)
        return ParameterID(index: parameters.count - 1)
    }
}
