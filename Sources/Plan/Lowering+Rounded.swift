internal import Graph
internal import Kernels
internal import Tensor

/// What decides the rounded copies of a plan, and where they lie.
struct RoundedValues {
    let layers: RoundedLayers
    /// The layer that each weight belongs to.
    let weights: [Graph.ParameterID: Graph.NodeID]
    /// Activations and weights as the values of their codes.
    var activations: [Graph.ValueID: BufferID] = [:]
    var copies: [Graph.ParameterID: [Copy]] = [:]
    /// The values whose ranges have taken note of the batch.
    var followed: Set<Graph.ValueID> = []

    /// A weight in a layout.
    struct Copy {
        let layout: TensorLayout
        let buffer: BufferID
    }

    /// The rounded copy of a weight in a layout, if there is one.
    func copy(of weight: Graph.ParameterID, as layout: TensorLayout) -> BufferID? {
        copies[weight]?.first { $0.layout == layout }?.buffer
    }

    init(_ layers: RoundedLayers, of graph: Graph) {
        (self.layers, weights) = (layers, layers.weights(in: graph))
    }
}

/// Layers that are trained to be computed in bytes.
extension Lowering {
    /// Whether a weight is rounded before a layer multiplies by it.
    func isRounded(_ weight: Graph.ParameterID) -> Bool { rounded?.weights[weight] != nil }

    /// Where lies what a layer multiplies by its weights: its input, or that as the values of its codes.
    mutating func operand(of node: Graph.Node) -> BufferID {
        let value = node.inputs[0]
        guard let weight = graph.weight(of: node), isRounded(weight), let layers = rounded?.layers else {
            return activation(value)
        }
        if let known = rounded?.activations[value] { return known }
        let owner = ByteFlow(graph).owner(of: value)
        let range = rangeBuffer(of: owner)
        // A repeated forward pass rounds as the first one did.
        if mode.learns, !isRecomputing, rounded?.followed.insert(owner).inserted == true {
            let kernel = Rounding.follow(
                count: count(owner), rate: layers.rate, isSymmetric: layers.isSymmetric,
                codeMax: layers.codeMax)
            emit("\(node.name) input range", kernel, [state, activation(owner), range])
        }
        let output = addBuffer("\(node.name) input as codes", like: value)
        let kernel = Rounding.activations(
            count: count(value), factor: growth(of: value, from: owner), codeMax: layers.codeMax)
        emit("\(node.name) input rounding", kernel, [activation(value), range, output])
        rounded?.activations[value] = output
        return output
    }

    /// Lets a repeated part of the forward pass round what it reads once more.
    mutating func forgetRounded(_ nodes: [Graph.NodeID]) {
        for node in nodes { for input in graph[node].inputs { rounded?.activations[input] = nil } }
    }

    /// Stops the gradient of a layer's input where the rounding in front of the layer has cut that off.
    mutating func backwardRounding(_ node: Graph.Node, _ gradient: BufferID) {
        guard let weight = graph.weight(of: node), isRounded(weight), let layers = rounded?.layers else {
            return
        }
        let value = node.inputs[0]
        let owner = ByteFlow(graph).owner(of: value)
        let kernel = Rounding.activationsBackward(
            count: count(value), factor: growth(of: value, from: owner), codeMax: layers.codeMax)
        emit(
            "\(node.name) input rounding backward", kernel,
            [activation(value), rangeBuffer(of: owner), gradient])
    }

    /// A weight as the values of its codes, in the layout that a primitive takes; nil where it is not
    /// rounded.
    mutating func roundedWeights(
        _ id: Graph.ParameterID, as layout: TensorLayout, for label: String
    ) throws(PlanError) -> BufferID? {
        guard let layer = rounded?.weights[id], let layers = rounded?.layers else { return nil }
        let (node, stored) = (graph[layer], store[id].layout)
        let plain: BufferID
        if let known = rounded?.copy(of: id, as: stored) {
            plain = known
        } else {
            let rows = graph[id].shape[0]
            let bias = graph.parameter(.bias, of: node)
            let kernel = Rounding.weights(
                rows: rows, width: stored.paddedCount / rows, hasBias: bias != nil,
                isShared: layers.sharesScales)
            let range = rangeBuffer(of: ByteFlow(graph).owner(of: node.inputs[0]))
            let scales = addBuffer("\(graph[id].name) scales")
            plain = addBuffer("\(graph[id].name) as codes", bytes: stored.byteCount)
            emit(
                "\(label) weights rounding", kernel,
                [parameterBuffer(id)] + (bias.map { [parameterBuffer($0)] } ?? []) + [range, scales, plain])
            rounded?.copies[id] = [.init(layout: stored, buffer: plain)]
        }
        if stored == layout { return plain }
        if let known = rounded?.copy(of: id, as: layout) { return known }
        let reorder = try kernels { () throws(KernelError) in
            try WeightCopy.prepare(from: stored, to: layout, on: engine)
        }
        let buffer = addBuffer("\(graph[id].name) as codes for \(label)", bytes: layout.byteCount)
        emit("\(label) weights", reorder, [plain, buffer])
        rounded?.copies[id]?.append(.init(layout: layout, buffer: buffer))
        return buffer
    }

    private mutating func rangeBuffer(of owner: Graph.ValueID) -> BufferID {
        guard let slot = store.ranges[owner] else { preconditionFailure("value \(owner.index) has no range") }
        return persistent(slot, "range of value \(owner.index)")
    }

    /// What dropout has multiplied a value by on its way from where its range was found.
    private func growth(of value: Graph.ValueID, from owner: Graph.ValueID) -> Float {
        var (value, factor) = (value, Float(1))
        while value != owner, let maker = graph.producer(of: value) {
            if case .dropout(let probability) = maker.operation, mode.isTraining, probability < 1 {
                factor /= 1 - Float(probability)
            }
            value = maker.inputs[0]
        }
        return factor
    }
}
