internal import Graph
internal import Tensor

// What each operation does to the channels that it reads.
extension ChannelAnalysis {
    /// The labels of a node's output.
    mutating func follow(_ id: Graph.NodeID) -> [Int] {
        let node = graph[id]
        let input = node.inputs[0]
        switch node.operation {
        case .convolution(let window): return followConvolution(id, window)
        case .transposedConvolution(let window): return followTransposed(id, window)
        case .linear: return followLinear(id)
        // Element by element.
        case .activation, .dropout, .scale, .rotary: return labels[input.index]
        // Of each channel on its own.
        case .pooling, .adaptiveAveragePooling, .mean, .selectToken: return channels(input)
        case .batchNorm:
            let units = channels(input)
            for role in [Graph.Parameter.Role.scale, .shift, .runningMean, .runningVariance] {
                register(role, of: node, 0, units)
            }
            registerScale(node, units)
            return units
        case .groupNorm(let groups, _): return followGroupNorm(node, groups)
        case .layerNorm, .rmsNorm, .softmax:
            let units = channels(input)
            pin(units, "\(node.name) looks at all channels at once")
            return units
        case .view: return followView(node)
        case .permute(let axes): return followPermutation(node, axes)
        case .add:
            return bind(labels[input.index], labels[node.inputs[1].index], "\(node.name) mixes channels")
        case .multiply: return followProduct(node)
        case .concat(let isInner): return followConcat(node, isInner: isInner)
        case .embedding:
            let units = fresh(graph[node.output].channels)
            register(.embedding, of: node, 0, [pinned("the vocabulary of \(node.name)")])
            registerFilters(node, 1, units)
            return units
        case .lengths: return [pinned("the number of tokens")]
        case .positions, .prependToken:
            let units = channels(input)
            register(.embedding, of: node, 1, units)
            return units
        case .attention(let attention): return followAttention(node, heads: attention.heads)
        }
    }

    private mutating func followConvolution(_ id: Graph.NodeID, _ window: Operation.Window) -> [Int] {
        let node = graph[id]
        let inputs = channels(node.inputs[0])
        let (inCount, outCount) = (graph[node.inputs[0]].channels, graph[node.output].channels)
        let outputs: [Int]
        if window.groups == 1 {
            outputs = fresh(outCount)
            registerReader(id, 1, AxisLabels(units: inputs))
        } else if window.groups == inCount {
            // Each channel has filters of its own, which go with it.
            let multiplier = outCount / inCount
            outputs = inputs.flatMap { [Int](repeating: $0, count: multiplier) }
        } else {
            // Groups stay equal: the same places of each go together.
            let places = alike(inputs, groups: window.groups, of: inCount)
            outputs = fresh(outCount / window.groups)
            registerReader(id, 1, AxisLabels(units: places))
        }
        registerFilters(node, 0, outputs)
        register(.bias, of: node, 0, outputs)
        return outputs
    }

    /// The weight is `[in, out / groups, height, width]`.
    private mutating func followTransposed(_ id: Graph.NodeID, _ window: Operation.Window) -> [Int] {
        let node = graph[id]
        var inputs = channels(node.inputs[0])
        let (inCount, outCount) = (graph[node.inputs[0]].channels, graph[node.output].channels)
        if window.groups > 1 { inputs = alike(inputs, groups: window.groups, of: inCount) }
        let outputs = fresh(outCount / window.groups)
        registerReader(id, 0, AxisLabels(units: inputs))
        registerFilters(node, 1, outputs)
        register(.bias, of: node, 0, outputs)
        return outputs
    }

    private mutating func followLinear(_ id: Graph.NodeID) -> [Int] {
        let node = graph[id]
        let input = graph[node.inputs[0]]
        if case .flattened(let image) = input.order {
            // Columns are in PyTorch's order: all places of a channel, then those of the next.
            let units = labels(node.inputs[0], period: image[0])
            registerReader(id, 1, AxisLabels(units: units, inner: image.elementCount / image[0]))
        } else {
            registerReader(id, 1, AxisLabels(units: channels(node.inputs[0])))
        }
        let outputs = fresh(graph[node.output].channels)
        // A transformer block says its hidden units as a ratio of its width, of at least 0.01.
        let isHidden = node.name.hasSuffix(".mlp.fc1")
        registerFilters(node, 0, outputs, least: isHidden ? (input.channels + 99) / 100 : 1)
        register(.bias, of: node, 0, outputs)
        if let before = graph.producer(of: node.inputs[0]), case .attention = before.operation {
            pin(outputs, "attention is as wide as what it reads")
        }
        return outputs
    }

    /// Binds the channels of each group to those at the same places of the first, and gives these.
    private mutating func alike(_ units: [Int], groups: Int, of count: Int) -> [Int] {
        let size = count / groups
        let places = (0..<size).map { units[$0 % units.count] }
        for channel in 0..<count { bind(units[channel % units.count], places[channel % size]) }
        return places
    }

    /// A group's statistics are its own: it goes as a whole.
    private mutating func followGroupNorm(_ node: Graph.Node, _ groups: Int) -> [Int] {
        let units = channels(node.inputs[0])
        let count = graph[node.output].channels
        for channel in 0..<count {
            let first = channel / (count / groups) * (count / groups)
            bind(units[channel % units.count], units[first % units.count])
        }
        register(.scale, of: node, 0, units)
        register(.shift, of: node, 0, units)
        return units
    }

    /// The same bytes; labelled so that one axis of the new shape can shrink.
    private mutating func followView(_ node: Graph.Node) -> [Int] {
        let units = labels[node.inputs[0].index]
        let value = graph[node.output]
        if value.channels % units.count == 0 || value.isColumn(of: units.count) { return units }
        labels[node.output.index] = units
        return channels(node.output)
    }

    private mutating func followPermutation(_ node: Graph.Node, _ axes: [Int]) -> [Int] {
        let input = graph[node.inputs[0]]
        if case .flattened(let image) = input.order, graph[node.output].order == .plain,
            axes == Array(axes.indices), input.shape.elementCount <= Self.expandedCountMax
        {
            let units = labels(node.inputs[0], period: image[0])
            let places = image.elementCount / image[0]
            return (0..<image[0]).flatMap { [Int](repeating: units[$0 % units.count], count: places) }
        }
        let reason = "\(node.name) brings channels into another order"
        pin(labels[node.inputs[0].index], reason)
        return [pinned(reason)]
    }

    /// Flattened features beyond this are not told apart.
    private static let expandedCountMax = 1 << 22

    private mutating func followProduct(_ node: Graph.Node) -> [Int] {
        let (value, factor) = (node.inputs[0], node.inputs[1])
        guard graph[value].shape != graph[factor].shape else {
            return bind(labels[value.index], labels[factor.index], "\(node.name) mixes channels")
        }
        let count = graph[value].channels
        return bind(channels(value), labels(factor, period: count), "\(node.name) mixes channels")
    }

    private mutating func followConcat(_ node: Graph.Node, isInner: Bool) -> [Int] {
        guard isInner else {
            var units = channels(node.inputs[0])
            for input in node.inputs.dropFirst() {
                units = bind(units, channels(input), "\(node.name) mixes channels")
            }
            return units
        }
        return node.inputs.flatMap { input in
            let units = channels(input)
            return (0..<graph[input].channels).map { units[$0 % units.count] }
        }
    }

    /// A head goes as a whole: its queries, keys and values, and the columns that read it.
    ///
    /// What attention reads and what its projection makes stay: the one is as wide as the other.
    private mutating func followAttention(_ node: Graph.Node, heads: Int) -> [Int] {
        let projection = channels(node.inputs[0])
        let width = graph[node.output].channels
        let units = fresh(heads)
        for column in 0..<(3 * width) {
            bind(projection[column % projection.count], units[column % width / (width / heads)])
        }
        self.heads += units
        var before = graph.producer(of: node.inputs[0])
        while let rotary = before, case .rotary = rotary.operation {
            before = graph.producer(of: rotary.inputs[0])
        }
        if let layer = before { pin(channels(layer.inputs[0]), "attention is as wide as what it reads") }
        return units.flatMap { [Int](repeating: $0, count: width / heads) }
    }
}

extension Graph.Value {
    /// Whether the value is one column of so many channels: `[channels, 1, 1]`.
    func isColumn(of count: Int) -> Bool {
        shape.rank > 0 && shape.elementCount == shape[0] && shape[0] % count == 0
    }
}
