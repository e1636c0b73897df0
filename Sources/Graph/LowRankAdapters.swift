public import JSON
internal import Tensor

/// Low-rank adapters beside a model's products, which alone are trained (Hu et al., 2021).
///
/// A product `W x` becomes `W x + scale · B A x`, with A `[rank, in]` and B `[out, rank]`.
public struct LowRankAdapters: Sendable, Hashable {
    public var rank: Int
    public var alpha: Double
    /// Names of linear layers, in which `*` stands for any characters; none for all of them but the one that
    /// makes the output.
    public var targets: [String]
    /// Whether biases are trained too.
    public var trainsBias = false
    /// Whether the scales and shifts of normalisations are trained too.
    public var trainsNorm = false

    public static let rankMax = 1024

    /// Takes `alpha` for the rank where it is not given, so that the scale is 1.
    public init(rank: Int, alpha: Double? = nil, targets: [String] = []) {
        (self.rank, self.alpha, self.targets) = (rank, alpha ?? Double(rank), targets)
    }

    /// What the adapters' products are multiplied by.
    public var scale: Double { alpha / Double(rank) }

    /// Whether a parameter of the adapted model is trained beside the adapters.
    func trains(_ parameter: Graph.Parameter) -> Bool {
        switch parameter.role {
        case .bias: trainsBias
        case .scale, .shift: trainsNorm
        case .weight, .embedding, .runningMean, .runningVariance: false
        }
    }

    /// Whether a name is what a pattern describes.
    static func matches(_ name: String, _ pattern: String) -> Bool {
        let (name, pattern) = (Array(name.utf8), Array(pattern.utf8))
        let star = UInt8(ascii: "*")
        var (at, reading) = (0, 0)
        // Behind the last star, and up to where it reaches.
        var resume: (pattern: Int, name: Int)?
        while at < name.count {
            if reading < pattern.count, pattern[reading] == star {
                reading += 1
                resume = (reading, at)
            } else if reading < pattern.count, pattern[reading] == name[at] {
                (at, reading) = (at + 1, reading + 1)
            } else if let star = resume {
                (reading, at) = (star.pattern, star.name + 1)
                resume = (star.pattern, at)
            } else {
                return false
            }
        }
        return pattern[reading...].allSatisfy { $0 == star }
    }
}

extension Graph {
    /// A low-rank product beside a layer's own.
    public struct Adapter: Sendable, Hashable {
        public let layer: String
        /// The layer's own weight, `[out, in]`.
        public let weight: ParameterID
        /// A, `[rank, in]`, and B, `[out, rank]`.
        public let down: ParameterID
        public let up: ParameterID
    }

    /// Whether a parameter belongs to an adapter: of low rank, or of a feature.
    public func isAdapter(_ id: ParameterID) -> Bool {
        adapters.contains { $0.down == id || $0.up == id } || isFeatureAdapter(id)
    }

    /// The same model with adapters beside some of its products, and everything else frozen.
    ///
    /// The model's parameters keep their identifiers; those of the adapters follow behind them. Throws every
    /// violation: a target that no layer has, or a rank too large for one; `pointer` is where the adapters
    /// are described.
    public func adapted(by adapters: LowRankAdapters, at pointer: String) throws(InvalidInput) -> Graph {
        let targets = try targets(of: adapters, at: Place(pointer: pointer))
        var rewriting = Adaptation(self, adapters)
        for id in nodeIDs {
            do throws(TensorError) { try rewriting.append(self[id], isTarget: targets.contains(id)) } catch {
                throw InvalidInput(
                    pointer: pointer, code: "too_large",
                    detail: "the adapters of \(self[id].name) cannot be: \(error)")
            }
        }
        let graph = rewriting.finished()
        guard graph.nodes.reduce(0, { $0 + $1.macs }) <= ShapeInference.macsMax else {
            throw InvalidInput(
                pointer: pointer, code: "too_large",
                detail: "with the adapters a sample takes more than 2^44 multiply-accumulates")
        }
        return graph
    }

    /// Linear layers whose weight is nobody else's: what is merged into it changes no other layer.
    private var adaptable: [NodeID] {
        var uses = [Int](repeating: 0, count: parameters.count)
        for node in nodes { for id in node.parameters { uses[id.index] += 1 } }
        return nodeIDs.filter { id in
            guard case .linear = self[id].operation, let weight = parameter(.weight, of: self[id]) else {
                return false
            }
            return uses[weight.index] == 1
        }
    }

    /// The product that makes the output, if nothing with parameters stands behind it.
    private var head: String? {
        var value = output
        while let node = producer(of: value) {
            if case .linear = node.operation { return node.name }
            let isAlone = node.inputs.count == 1 || node.operation == .mean
            guard isAlone, node.parameters.isEmpty else { return nil }
            value = node.inputs[0]
        }
        return nil
    }

    private func targets(
        of adapters: LowRankAdapters, at place: Place
    ) throws(InvalidInput) -> Set<NodeID> {
        let log = ViolationLog()
        let known = adaptable
        var chosen: Set<NodeID> = []
        for (index, pattern) in adapters.targets.enumerated() {
            let found = known.filter { LowRankAdapters.matches(self[$0].name, pattern) }
            chosen.formUnion(found)
            guard found.isEmpty else { continue }
            log.add(
                place.member("targets").element(index).pointer, "unknown_layer",
                "no linear layer with a weight of its own is called \"\(pattern)\"" + listing(known))
        }
        if adapters.targets.isEmpty {
            chosen = Set(known.filter { self[$0].name != head })
            if chosen.isEmpty {
                log.add(
                    place.member("targets").pointer, "unknown_layer",
                    "besides the layer that makes the output the model has no linear layer with a weight of "
                        + "its own" + listing(known))
            }
        }
        for id in chosen.sorted(by: { $0.index < $1.index }) {
            let most = parameter(.weight, of: self[id]).map { self[$0].shape.dimensions.min() ?? 0 } ?? 0
            guard adapters.rank > most else { continue }
            log.add(
                place.member("rank").pointer, "out_of_range",
                "\(self[id].name) takes a rank of at most \(most), found \(adapters.rank)")
        }
        try log.throwIfAny()
        return chosen
    }

    private func listing(_ nodes: [NodeID]) -> String {
        let names = nodes.prefix(16).map { "\"\(self[$0].name)\"" }
        guard !names.isEmpty else { return "; there is none at all" }
        return "; there are " + names.joined(separator: ", ") + (nodes.count > names.count ? ", ..." : "")
    }
}

/// The making of an adapted graph, node by node.
private struct Adaptation {
    let source: Graph
    let adapters: LowRankAdapters
    var result: Graph
    /// Where each value of the source is in the result.
    var places: [Graph.ValueID: Graph.ValueID]

    init(_ source: Graph, _ adapters: LowRankAdapters) {
        (self.source, self.adapters) = (source, adapters)
        result = Graph(input: source[source.input])
        places = [source.input: result.input]
        for parameter in source.parameters {
            let id = result.addParameter(parameter)
            if parameter.role.isLearned, !adapters.trains(parameter) { result.freeze(id) }
        }
    }

    mutating func append(_ node: Graph.Node, isTarget: Bool) throws(TensorError) {
        let inputs = node.inputs.map { places[$0] ?? result.input }
        let output = result.addNode(
            node.name, node.operation, inputs, source[node.output], parameters: node.parameters,
            macs: node.macs)
        places[node.output] = output
        guard isTarget, let weight = source.parameter(.weight, of: node) else { return }
        places[node.output] = try adapt(node, weight, inputs[0], output)
    }

    /// Appends the adapter of a product; the scale stands where the values are fewest.
    private mutating func adapt(
        _ node: Graph.Node, _ weight: Graph.ParameterID, _ input: Graph.ValueID, _ output: Graph.ValueID
    ) throws(TensorError) -> Graph.ValueID {
        let (read, made) = (result[input], result[output])
        let (inFeatures, outFeatures) = (read.channels, made.channels)
        let down = result.addParameter(
            Graph.Parameter(
                name: "\(node.name).lora_A.weight", shape: try Shape([adapters.rank, inFeatures]),
                role: .weight, fanIn: inFeatures, fanOut: adapters.rank))
        let up = result.addParameter(
            Graph.Parameter(
                name: "\(node.name).lora_B.weight", shape: try Shape([outFeatures, adapters.rank]),
                role: .weight, fanIn: adapters.rank, fanOut: outFeatures, initialDeviation: 0))
        result.adapters.append(Graph.Adapter(layer: node.name, weight: weight, down: down, up: up))
        let narrow = Graph.Value(
            shape: try Shape(read.shape.dimensions.dropLast() + [adapters.rank]), order: .plain)
        var value = result.addNode(
            "\(node.name).lora_A", .linear(bias: false), [input], narrow, parameters: [down],
            macs: read.shape.elementCount * adapters.rank)
        if adapters.scale != 1 {
            value = result.addNode("\(node.name).lora_scale", .scale(adapters.scale), [value], narrow)
        }
        value = result.addNode(
            "\(node.name).lora_B", .linear(bias: false), [value], made, parameters: [up],
            macs: made.shape.elementCount * adapters.rank)
        return result.addNode("\(node.name).lora_sum", .add, [output, value], made)
    }

    func finished() -> Graph {
        var graph = result
        graph.output = places[source.output] ?? graph.output
        graph.layers = source.layers.map { layer in
            Graph.Layer(name: layer.name, output: places[layer.output] ?? graph.input)
        }
        return graph
    }
}
