internal import JSON
internal import Tensor

/// Turns layer descriptions into a graph, or says which field of which layer cannot be.
///
/// Each family of layers has its rules in a file of its own. A rule throws the first thing wrong: what
/// stands behind it has no known input.
struct ShapeInference {
    /// More multiply-accumulates a sample are refused, so that no count made of them overflows: three
    /// passes over a batch of 2^16 samples stay below 2^62.
    static let macsMax = 1 << 44
    /// More operations are refused.
    static let nodeCountMax = 20_000
    /// More learned numbers are refused; one tensor of them may have 2^40.
    static let parameterCountMax = 1 << 41

    /// One layer at its place.
    struct Site {
        /// `block1.conv1`.
        let name: String
        let place: Place

        /// A part of a layer that is made of several.
        func part(_ part: String) -> Site { Site(name: "\(name).\(part)", place: place) }
    }

    /// A list of layers at work.
    private struct Frame {
        let input: Graph.ValueID
        var values: [String: Graph.ValueID] = [:]
        var weights: [String: Graph.ParameterID] = [:]
    }

    private struct Reorder: Hashable {
        let value: Graph.ValueID
        let order: Graph.Order
    }

    var graph: Graph
    /// Multiply-accumulates of the layers so far.
    private var macs = 0
    private var parameterCount = 0
    private var frames: [Frame] = []
    /// How many tokens each padded sequence has.
    private var lengths: [Graph.ValueID: Graph.ValueID] = [:]
    /// Values in another order, so that each is permuted once.
    private var reordered: [Reorder: Graph.ValueID] = [:]

    /// Infers the graph of a model's layers; nil after a violation.
    static func graph(
        of layers: [LayerSpec?], input: Graph.Value, at place: Place, log: ViolationLog
    ) -> Graph? {
        var inference = ShapeInference(graph: Graph(input: input))
        do throws(InvalidInput) {
            let output = try inference.expand(layers, at: place, prefix: "", inference.graph.input)
            inference.graph.output = try inference.lossOrder(of: output, at: place)
            return inference.graph
        } catch {
            for violation in error.violations {
                log.add(violation.pointer, violation.code, violation.detail)
            }
            return nil
        }
    }

    private init(graph: Graph) { self.graph = graph }

    /// Appends a list of layers and returns its last one's output.
    mutating func expand(
        _ layers: [LayerSpec?], at place: Place, prefix: String, _ input: Graph.ValueID
    ) throws(InvalidInput) -> Graph.ValueID {
        frames.append(Frame(input: input))
        defer { frames.removeLast() }
        var latest = input
        for (index, layer) in layers.enumerated() {
            // What could not be read is in the log already.
            guard let layer else { throw InvalidInput([]) }
            let site = Site(name: prefix + layer.name, place: place.element(index))
            var inputs: [Graph.ValueID] = []
            for name in layer.inputs { inputs.append(try value(named: name)) }
            if inputs.isEmpty { inputs = [latest] }
            latest = try append(layer.kind, site, inputs)
            graph.layers.append(Graph.Layer(name: site.name, output: latest))
            frames[frames.count - 1].values[layer.name] = latest
            if layer.kind.sharesWeight, let node = graph.producer(of: latest),
                let weight = graph.weight(of: node)
            {
                frames[frames.count - 1].weights[layer.name] = weight
            }
        }
        return latest
    }

    /// Names are checked by `References`, which has complained of what is not found here.
    private func value(named name: String) throws(InvalidInput) -> Graph.ValueID {
        if name == LayerSpec.inputName, let frame = frames.last { return frame.input }
        for frame in frames.reversed() {
            if let value = frame.values[name] { return value }
        }
        throw InvalidInput([])
    }

    func weight(named name: String) throws(InvalidInput) -> Graph.ParameterID {
        for frame in frames.reversed() {
            if let weight = frame.weights[name] { return weight }
        }
        throw InvalidInput([])
    }

    private mutating func append(
        _ kind: LayerKind, _ site: Site, _ inputs: [Graph.ValueID]
    ) throws(InvalidInput) -> Graph.ValueID {
        guard let input = inputs.first else { throw InvalidInput([]) }
        switch kind {
        case .sequential(let layers):
            return try expand(layers, at: site.place.member("layers"), prefix: site.name + ".", input)
        case .residual(let layers, let shortcut): return try appendResidual(layers, shortcut, site, input)
        case .embedding(let layer): return try appendEmbedding(layer, site, input)
        default: break
        }
        for input in inputs { try checkReal(input, site) }
        switch kind {
        case .sequential, .residual, .embedding: throw InvalidInput([])
        case .conv2d, .depthwiseConv2d, .separableConv2d, .conv1d, .convTranspose2d, .maxPool2d, .avgPool2d,
            .maxPool1d, .avgPool1d, .adaptiveAvgPool2d, .globalAvgPool, .squeezeExcite:
            return try appendImageLayer(kind, site, input)
        case .activation, .softmax, .dropout, .batchNorm, .layerNorm, .rmsNorm, .groupNorm:
            return try appendPointwise(kind, site, input)
        case .linear(let layer): return try appendLinear(layer, site, input)
        case .flatten: return try appendFlatten(0, -1, site, input)
        case .flattenAxes(let start, let end): return try appendFlatten(start, end, site, input)
        case .reshape(let shape): return try appendReshape(shape, site, input)
        case .transpose(let axes): return try appendTranspose(axes, site, input)
        case .add: return try appendSum(inputs, site)
        case .multiply: return try appendMultiply(inputs, site)
        case .concat(let axis): return try appendConcat(inputs, axis, site)
        case .positionalEmbedding, .classToken, .selectToken, .multiHeadAttention, .transformerBlock:
            return try appendSequenceLayer(kind, site, input)
        }
    }

    /// Refuses tokens where numbers are needed.
    func checkReal(_ value: Graph.ValueID, _ site: Site) throws(InvalidInput) {
        guard graph[value].element == .token else { return }
        throw site.place.refusal(
            "shape_mismatch", "\(site.name) cannot read tokens; put an embedding layer before it")
    }

    // MARK: - What the rules are made of

    /// Appends an operation.
    mutating func emit(
        _ name: String, _ operation: Operation, _ inputs: [Graph.ValueID], _ dimensions: [Int],
        _ order: Graph.Order, parameters: [Graph.ParameterID] = [], macs: Int? = 0, at place: Place
    ) throws(InvalidInput) -> Graph.ValueID {
        let shape = try checkedShape(dimensions, "output of \(name)", place)
        guard let macs, macs <= Self.macsMax - self.macs else {
            throw place.refusal(
                "too_large", "up to \(name) a sample takes more than 2^44 multiply-accumulates")
        }
        guard graph.nodes.count < Self.nodeCountMax else {
            throw place.refusal("too_large", "the model has more than \(Self.nodeCountMax) operations")
        }
        self.macs += macs
        let output = graph.addNode(
            name, operation, inputs, Graph.Value(shape: shape, order: order), parameters: parameters,
            macs: macs)
        if operation.keepsTokens, graph[inputs[0]].shape.rank == 2, graph[inputs[0]].shape[0] == shape[0] {
            lengths[output] = inputs.compactMap { lengths[$0] }.first
        }
        return output
    }

    /// The value and, where it is a padded sequence, its samples' lengths.
    func withLengths(_ value: Graph.ValueID) -> [Graph.ValueID] {
        [value] + (lengths[value].map { [$0] } ?? [])
    }

    /// Says that a sequence made of tokens ends in padding.
    mutating func pad(
        _ sequence: Graph.ValueID, of tokens: Graph.ValueID, with padding: Int, _ site: Site
    ) throws(InvalidInput) {
        guard graph[tokens].shape.rank == 1 else { return }
        let name = site.part("lengths").name
        let shape = try checkedShape([1], "output of \(name)", site.place)
        let value = Graph.Value(shape: shape, order: .plain, element: .token)
        lengths[sequence] = graph.addNode(name, .lengths(padding: padding), [tokens], value)
    }

    /// Adds a parameter.
    mutating func learn(
        _ name: String, of what: String, _ dimensions: [Int], _ role: Graph.Parameter.Role, fanIn: Int = 0,
        fanOut: Int = 0, deviation: Double? = nil, at place: Place
    ) throws(InvalidInput) -> Graph.ParameterID {
        let shape = try checkedShape(dimensions, what, place)
        guard shape.elementCount <= Self.parameterCountMax - parameterCount else {
            throw place.refusal("too_large", "up to the \(what) there are more than 2^41 learned numbers")
        }
        parameterCount += shape.elementCount
        return graph.addParameter(
            Graph.Parameter(
                name: name, shape: shape, role: role, fanIn: fanIn, fanOut: fanOut,
                initialDeviation: deviation))
    }

    private func checkedShape(
        _ dimensions: [Int], _ what: String, _ place: Place
    ) throws(InvalidInput) -> Shape {
        do throws(TensorError) { return try Shape(dimensions) } catch {
            throw place.refusal("too_large", "the \(what) cannot be: \(error)")
        }
    }

    /// The product of factors from outside; nil where it would overflow.
    static func product(_ factors: Int...) -> Int? {
        var product = 1
        for factor in factors {
            let (next, overflow) = product.multipliedReportingOverflow(by: factor)
            if overflow { return nil }
            product = next
        }
        return product
    }

    // MARK: - Orders

    /// The value in PyTorch's order.
    mutating func plain(_ id: Graph.ValueID, _ site: Site) throws(InvalidInput) -> Graph.ValueID {
        let value = graph[id]
        switch value.order {
        case .plain: return id
        case .channelsLast: return try reorder(id, .plain, isView: value.liesPlain, site)
        case .flattened: return try reorder(id, .plain, isView: false, site)
        }
    }

    /// The image or signal with its channels innermost.
    mutating func channelsLast(_ id: Graph.ValueID, _ site: Site) throws(InvalidInput) -> Graph.ValueID {
        let value = graph[id]
        if value.order == .channelsLast { return id }
        let target = Graph.Value(shape: value.shape, order: .channelsLast)
        return try reorder(id, .channelsLast, isView: target.liesPlain, site)
    }

    private mutating func reorder(
        _ id: Graph.ValueID, _ order: Graph.Order, isView: Bool, _ site: Site
    ) throws(InvalidInput) -> Graph.ValueID {
        let key = Reorder(value: id, order: order)
        if let done = reordered[key] { return done }
        let shape = graph[id].shape
        let result = try emit(
            site.part("permute").name, isView ? .view : .permute(axes: Array(0..<shape.rank)), [id],
            shape.dimensions, order, at: site.place)
        reordered[key] = result
        return result
    }

    /// Values of one order: channels last where one of them is, plain where flattened ones differ.
    mutating func alike(
        _ ids: [Graph.ValueID], _ site: Site
    ) throws(InvalidInput) -> [Graph.ValueID] {
        let orders = Set(ids.map { graph[$0].order })
        guard orders.count > 1 else { return ids }
        var result: [Graph.ValueID] = []
        for id in ids {
            result.append(
                orders.contains(.channelsLast) ? try channelsLast(id, site) : try plain(id, site))
        }
        return result
    }

    /// Losses read features and sequences in PyTorch's order; an image stays as it is.
    private mutating func lossOrder(
        of output: Graph.ValueID, at place: Place
    ) throws(InvalidInput) -> Graph.ValueID {
        graph[output].shape.rank > 2 ? output : try plain(output, Site(name: "output", place: place))
    }
}

extension Graph.Value {
    /// Whether channels last and channels first are the same bytes.
    var liesPlain: Bool { channels == 1 || positions == 1 }
}

extension LayerKind {
    /// Whether another layer may be tied to its weight.
    fileprivate var sharesWeight: Bool {
        switch self {
        case .embedding, .linear: true
        default: false
        }
    }
}
