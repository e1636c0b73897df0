public import Tensor

/// A model as a typed graph: pure values that nothing has to run to understand.
///
/// Nodes stand in an order in which every input is computed before it is used. Shapes are of one sample,
/// as PyTorch writes them without the batch: `[channels, height, width]`, `[tokens, width]`, `[features]`;
/// the batch is the plan's affair.
public struct Graph: Sendable {
    /// An index into `values`.
    public struct ValueID: Hashable, Sendable { public let index: Int }
    /// An index into `parameters`.
    public struct ParameterID: Hashable, Sendable { public let index: Int }
    /// An index into `nodes`.
    public struct NodeID: Hashable, Sendable {
        public let index: Int

        public init(index: Int) { self.index = index }
    }

    /// One activation.
    public struct Value: Sendable, Hashable {
        /// What its elements are.
        public enum Element: Sendable, Hashable {
            case real
            /// Indices into a vocabulary, as Int32.
            case token
        }

        public let shape: Shape
        /// How a sample's elements lie in memory.
        public let order: Order
        public let element: Element

        public init(shape: Shape, order: Order, element: Element = .real) {
            self.shape = shape
            self.order = order
            self.element = element
        }

        /// The innermost extent in memory: channels, width, features.
        public var channels: Int {
            switch order {
            case .plain: shape.dimensions.last ?? 1
            case .channelsLast: shape[0]
            case .flattened: shape.elementCount
            }
        }

        /// Places that each have `channels` elements.
        public var positions: Int { shape.elementCount / channels }
    }

    /// How the elements of one sample lie in memory.
    public enum Order: Sendable, Hashable {
        /// Row-major, the last axis innermost: `[tokens, width]`, `[features]`.
        case plain
        /// The first axis, the channels, innermost: `[channels, height, width]`, `[channels, length]`.
        case channelsLast
        /// Features of an image that was flattened and still lies channels last.
        case flattened(Shape)
    }

    /// One learned tensor, or one that training tracks without learning it.
    public struct Parameter: Sendable, Hashable {
        public enum Role: String, Sendable {
            case weight, bias, scale, shift
            /// A table whose rows are picked or added: tokens, positions, a class token.
            case embedding
            case runningMean = "running_mean"
            case runningVariance = "running_var"

            /// Whether the optimiser changes it.
            public var isLearned: Bool { self != .runningMean && self != .runningVariance }
            /// Biases and normalisation parameters do not decay unless asked (compression.md, pitfall 40).
            public var isBiasOrNorm: Bool { self != .weight && self != .embedding }
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
        /// The deviation of the normal distribution that it starts from, whatever the model's rule; 0 for
        /// zeros, nil for the rule.
        public let initialDeviation: Double?
        /// Whether the optimiser may change it; false for what adapters are trained beside.
        public var isFrozen = false

        public init(
            name: String, shape: Shape, role: Role, fanIn: Int = 0, fanOut: Int = 0,
            initialDeviation: Double? = nil
        ) {
            self.name = name
            self.shape = shape
            self.role = role
            self.fanIn = fanIn
            self.fanOut = fanOut
            self.initialDeviation = initialDeviation
        }

        /// Whether a step changes it by its gradient.
        public var isTrained: Bool { role.isLearned && !isFrozen }
    }

    /// One layer of the description, or of a list within it.
    public struct Layer: Sendable, Hashable {
        /// `block1.conv1`.
        public let name: String
        public let output: ValueID
    }

    /// One operation at work.
    public struct Node: Sendable, Hashable {
        /// `conv1`, `block2.attention`; unique, but for views and reorders.
        public let name: String
        public let operation: Operation
        public let inputs: [ValueID]
        public let output: ValueID
        /// A parameter may belong to several nodes: tied weights.
        public let parameters: [ParameterID]
        /// Multiply-accumulates of one sample's forward pass.
        public let macs: Int
    }

    public private(set) var values: [Value] = []
    public private(set) var parameters: [Parameter] = []
    public private(set) var nodes: [Node] = []
    public let input: ValueID
    public internal(set) var output: ValueID
    /// What stands beside products that are kept as they are.
    public internal(set) var adapters: [Adapter] = []
    /// The layers by their names, those inside others first.
    public internal(set) var layers: [Layer] = []
    /// What training compares with a teacher.
    public internal(set) var features: [Feature] = []
    private var readers: [[NodeID]] = [[]]
    private var makers: [NodeID?] = [nil]

    init(input value: Value) {
        values = [value]
        input = ValueID(index: 0)
        output = input
    }

    public subscript(value: ValueID) -> Value { values[value.index] }
    public subscript(node: NodeID) -> Node { nodes[node.index] }
    public subscript(parameter: ParameterID) -> Parameter { parameters[parameter.index] }

    public var inputShape: Shape { self[input].shape }
    public var outputShape: Shape { self[output].shape }

    /// Every node, in order.
    public var nodeIDs: [NodeID] { nodes.indices.map { NodeID(index: $0) } }
    /// Every parameter, in order.
    public var parameterIDs: [ParameterID] { parameters.indices.map { ParameterID(index: $0) } }

    /// The nodes that read a value, each once for every time that it does.
    public func consumers(of value: ValueID) -> [NodeID] { readers[value.index] }

    /// The node that computes a value; nil for the input.
    public func producer(of value: ValueID) -> Node? { makers[value.index].map { self[$0] } }

    /// The node's parameter with a role, if it has one.
    public func parameter(_ role: Parameter.Role, of node: Node) -> ParameterID? {
        node.parameters.first { self[$0].role == role }
    }

    /// What a convolution or product multiplies by: its own weight, or the table that it shares.
    public func weight(of node: Node) -> ParameterID? {
        parameter(.weight, of: node) ?? parameter(.embedding, of: node)
    }

    mutating func addParameter(_ parameter: Parameter) -> ParameterID {
        parameters.append(parameter)
        return ParameterID(index: parameters.count - 1)
    }

    /// Appends a node behind its inputs and returns its output.
    @discardableResult
    mutating func addNode(
        _ name: String, _ operation: Operation, _ inputs: [ValueID], _ output: Value,
        parameters: [ParameterID] = [], macs: Int = 0
    ) -> ValueID {
        let id = NodeID(index: nodes.count)
        let result = addValue(output, from: id)
        for input in inputs { readers[input.index].append(id) }
        nodes.append(
            Node(
                name: name, operation: operation, inputs: inputs, output: result, parameters: parameters,
                macs: macs))
        return result
    }

    /// Makes a node that is none of the graph's: only training runs it, beside the others.
    mutating func makeNode(
        _ name: String, _ operation: Operation, _ input: ValueID, _ output: Value,
        parameters: [ParameterID], macs: Int
    ) -> Node {
        Node(
            name: name, operation: operation, inputs: [input], output: addValue(output, from: nil),
            parameters: parameters, macs: macs)
    }

    private mutating func addValue(_ value: Value, from maker: NodeID?) -> ValueID {
        values.append(value)
        readers.append([])
        makers.append(maker)
        return ValueID(index: values.count - 1)
    }

    /// Keeps a parameter as it is while others are trained.
    mutating func freeze(_ id: ParameterID) { parameters[id.index].isFrozen = true }
}
