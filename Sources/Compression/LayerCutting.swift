internal import Graph
internal import Tensor

/// Rewrites the description of layers for the channels that stay.
struct LayerCutting {
    private let choice: ChannelChoice
    private let nodes: [String: Graph.Node]

    init(_ choice: ChannelChoice) {
        self.choice = choice
        // Views and reorders may share a name with their layer; what makes the layer's output stands last.
        nodes = Dictionary(choice.groups.graph.nodes.map { ($0.name, $0) }, uniquingKeysWith: { $1 })
    }

    func cut(_ layers: [LayerSpec], prefix: String) -> [LayerSpec] {
        layers.map { layer in
            var layer = layer
            layer.kind = cut(layer.kind, prefix + layer.name)
            return layer
        }
    }

    private func cut(_ kind: LayerKind, _ name: String) -> LayerKind {
        switch kind {
        case .conv2d(var layer):
            (layer.outChannels, layer.groups) = (outputs(name), groups(layer.groups, name))
            return .conv2d(layer)
        case .conv1d(var layer):
            (layer.outChannels, layer.groups) = (outputs(name), groups(layer.groups, name))
            return .conv1d(layer)
        case .convTranspose2d(var layer):
            layer.outChannels = outputs(name)
            return .convTranspose2d(layer)
        case .separableConv2d(var layer):
            layer.outChannels = outputs(name + ".pointwise")
            return .separableConv2d(layer)
        case .linear(var layer):
            layer.outFeatures = outputs(name)
            return .linear(layer)
        case .embedding(var layer):
            layer.width = outputs(name)
            return .embedding(layer)
        case .groupNorm(var layer):
            guard let node = nodes[name] else { return kind }
            let size = choice.groups.graph[node.output].channels / layer.groups
            layer.groups = max(1, outputs(name) / size)
            return .groupNorm(layer)
        case .reshape(let extents): return .reshape(reshaped(extents, name))
        case .squeezeExcite(let layer): return squeezeExcite(layer, name)
        case .multiHeadAttention(let attention): return .multiHeadAttention(cut(attention, name))
        case .transformerBlock(var block):
            block.attention = cut(block.attention, name + ".attn")
            let hidden = name + ".mlp.fc1"
            guard let node = nodes[hidden], outputs(hidden) != choice.groups.graph[node.output].channels
            else { return .transformerBlock(block) }
            let width = choice.groups.channelCount(node.inputs[0], without: choice.removed)
            block.mlpRatio = Double(outputs(hidden)) / Double(width)
            return .transformerBlock(block)
        case .residual(let layers, let shortcut):
            return .residual(
                cut(layers, prefix: name + "."), shortcut: cut(shortcut, prefix: name + ".shortcut."))
        case .sequential(let layers): return .sequential(cut(layers, prefix: name + "."))
        case .depthwiseConv2d, .activation, .softmax, .maxPool2d, .avgPool2d, .maxPool1d, .avgPool1d,
            .adaptiveAvgPool2d, .globalAvgPool, .batchNorm, .layerNorm, .rmsNorm, .dropout, .flatten,
            .flattenAxes, .transpose, .add, .multiply, .concat, .positionalEmbedding, .classToken,
            .selectToken:
            return kind
        }
    }

    /// The heads that stay are as wide as they were, which is no longer their share of the width.
    private func cut(_ attention: LayerKind.Attention, _ name: String) -> LayerKind.Attention {
        let inner = name + ".attention"
        guard let node = nodes[inner] else { return attention }
        var attention = attention
        let before = choice.groups.graph[node.output].channels
        let headWidth = before / attention.heads
        guard outputs(inner) != before else { return attention }
        (attention.heads, attention.headWidth) = (outputs(inner) / headWidth, headWidth)
        return attention
    }

    /// The channels of a node's output that stay.
    private func outputs(_ name: String) -> Int {
        nodes[name].map { choice.groups.channelCount($0.output, without: choice.removed) } ?? 1
    }

    /// Where every channel is a group of its own, groups go with their channels.
    private func groups(_ groups: Int, _ name: String) -> Int {
        guard groups > 1, let node = nodes[name], choice.groups.graph[node.inputs[0]].channels == groups
        else { return groups }
        return choice.groups.channelCount(node.inputs[0], without: choice.removed)
    }

    /// The new extents; what was left open stays so.
    private func reshaped(_ extents: [Int], _ name: String) -> [Int] {
        guard let node = nodes[name] else { return extents }
        let found = choice.groups.shape(node.output, without: choice.removed).dimensions
        return zip(extents, found).map { $0 == -1 ? -1 : $1 }
    }

    /// Spelt out where its hidden units are no longer what the reduction says; parameters keep their names.
    private func squeezeExcite(_ layer: LayerKind.SqueezeExcite, _ name: String) -> LayerKind {
        let channels = outputs(name)
        let hidden = outputs(name + ".fc1")
        if hidden == max(1, channels / layer.reduction) { return .squeezeExcite(layer) }
        var layers = [
            LayerSpec(.globalAvgPool, name: "mean"),
            LayerSpec(.linear(.init(outFeatures: hidden)), name: "fc1"),
        ]
        if let activation = nodes[name + ".activation"], case .activation(let kind) = activation.operation {
            layers.append(LayerSpec(.activation(kind), name: "activation"))
        }
        return .sequential(
            layers + [
                LayerSpec(.linear(.init(outFeatures: channels)), name: "fc2"),
                LayerSpec(.activation(.sigmoid), name: "gate"),
                LayerSpec(.multiply, name: "scale", inputs: ["input", "gate"]),
            ])
    }
}
