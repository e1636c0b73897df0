public import Graph
public import JSON

/// What becomes of a model's layers as bytes.
public struct QuantizeOptions: Sendable, Hashable {
    /// What has one scale.
    public enum Granularity: String, Sendable, CaseIterable {
        /// The weights of each output channel.
        case perChannel = "per_channel"
        /// All weights of a layer.
        case perTensor = "per_tensor"
    }

    /// How a model is trained to lose less.
    public struct Training: Sendable, Hashable {
        public var epochs = 1
        /// What the learning rate is multiplied by.
        public var rateFactor = 0.1
        /// The part of the steps after which ranges stay as they are.
        public var freezesRangesAfter = 0.5

        public init() {}
    }

    /// Set where the model is trained as its layers in bytes will compute; nil where scales alone are found.
    public var training: Training?
    public var granularity = Granularity.perChannel
    /// How the ranges of activations are found.
    public var rule = RangeRule.minmax
    /// Whether zero lies in the middle of the activations' codes.
    public var isSymmetric = false
    /// Whether activations take 7 bits; nil where the processor decides.
    public var reducesRange: Bool?
    /// Training samples that ranges are found with.
    public var calibrationSamples = 512
    /// Whether batch normalisations become part of the weights in front of them.
    public var foldsNorms = true
    /// Names of layers that stay in float32.
    public var exclude: [String] = []

    /// The defaults.
    public init() {}

    /// The name that stands for the layer which makes the model's output.
    public static let outputName = PruneOptions.outputName

    /// The layers that become bytes.
    ///
    /// - Parameters:
    ///   - graph: The model.
    ///   - candidates: Those that can.
    ///   - pointer: Where the options stand in the request.
    /// - Returns: Those that shall, in the graph's order.
    /// - Throws: A name that no layer has, or nothing left.
    public func layers(
        of graph: Graph, among candidates: [Graph.NodeID], at pointer: String
    ) throws(InvalidInput) -> [Graph.NodeID] {
        let log = ViolationLog()
        var excluded: Set<Graph.NodeID> = []
        let output = candidates.last { graph.leads($0, to: graph.output) }
        let place = JSONPointer.member("exclude", of: pointer)
        for (index, text) in exclude.enumerated() {
            // A layer that is made of others stands for all of them.
            let (pattern, inside) = (NamePattern(text), NamePattern(text + ".*"))
            var found = candidates.filter {
                pattern.matches(graph[$0].name) || inside.matches(graph[$0].name)
            }
            if found.isEmpty, text == Self.outputName, let output { found = [output] }
            excluded.formUnion(found)
            guard found.isEmpty else { continue }
            let names = candidates.map { graph[$0].name }
            log.add(
                JSONPointer.element(index, of: place), "unknown_layer",
                Spelling.complaint(unknown: "layer with weights", text, among: names))
        }
        let left = candidates.filter { !excluded.contains($0) }
        if left.isEmpty, log.isEmpty {
            log.add(
                pointer, "invalid_value",
                candidates.isEmpty
                    ? "the model has no convolution or product that can be computed in bytes"
                    : "nothing is left to quantize: every layer is excluded")
        }
        try log.throwIfAny()
        return left
    }
}

extension Graph {
    /// Whether a node's output becomes a value through views, activations and normalisations alone.
    fileprivate func leads(_ id: NodeID, to value: ValueID) -> Bool {
        var value = value
        while let maker = producer(of: value) {
            if maker.output == self[id].output { return true }
            guard maker.inputs.count == 1 else { return false }
            switch maker.operation {
            case .view, .activation, .softmax, .dropout, .batchNorm, .scale, .mean, .adaptiveAveragePooling,
                .pooling:
                value = maker.inputs[0]
            default: return false
            }
        }
        return false
    }
}
