internal import JSON
internal import Tensor

// Layers over sequences `[tokens, width]`.
extension ShapeInference {
    mutating func appendEmbedding(
        _ layer: LayerKind.Embedding, _ site: Site, _ input: Graph.ValueID
    ) throws(InvalidInput) -> Graph.ValueID {
        guard graph[input].element == .token else {
            throw site.place.refusal(
                "shape_mismatch", "\(site.name) needs the model's input, and that it is tokens")
        }
        let table = try learn(
            "\(site.name).weight", of: "table of \(site.name)", [layer.vocabulary, layer.width], .embedding,
            deviation: layer.initialDeviation ?? 1, at: site.place)
        let sequence = try emit(
            site.name, .embedding, [input], graph[input].shape.dimensions + [layer.width], .plain,
            parameters: [table], at: site.place)
        if let padding = layer.padding { try pad(sequence, of: input, with: padding, site) }
        return sequence
    }

    mutating func appendSequenceLayer(
        _ kind: LayerKind, _ site: Site, _ input: Graph.ValueID
    ) throws(InvalidInput) -> Graph.ValueID {
        let shape = graph[input].shape
        guard shape.rank == 2 else {
            throw site.place.refusal(
                "shape_mismatch", "\(site.name) needs a sequence [tokens, width], found \(shape)")
        }
        let sequence = try plain(input, site)
        let (tokens, width) = (shape[0], shape[1])
        switch kind {
        case .positionalEmbedding(let deviation):
            let rows = try learn(
                "\(site.name).weight", of: "table of \(site.name)", [tokens, width], .embedding,
                deviation: deviation, at: site.place)
            return try emit(
                site.name, .positions, [sequence], [tokens, width], .plain, parameters: [rows],
                at: site.place)
        case .classToken(let deviation):
            let row = try learn(
                "\(site.name).weight", of: "token of \(site.name)", [1, width], .embedding,
                deviation: deviation, at: site.place)
            return try emit(
                site.name, .prependToken, [sequence], [tokens + 1, width], .plain, parameters: [row],
                at: site.place)
        case .selectToken(let index):
            let token = index < 0 ? index + tokens : index
            guard (0..<tokens).contains(token) else {
                throw site.place.refusal("index", "shape_mismatch", "\(shape) has no token \(index)")
            }
            return try emit(site.name, .selectToken(token), [sequence], [width], .plain, at: site.place)
        case .multiHeadAttention(let layer): return try appendAttention(layer, site, sequence)
        case .transformerBlock(let layer): return try appendBlock(layer, site, sequence)
        default: throw InvalidInput([])
        }
    }

    /// PyTorch's MultiheadAttention of a sequence with itself: its parameters, its order of queries, keys
    /// and values; but its heads may be narrower or wider than their share of the width.
    private mutating func appendAttention(
        _ layer: LayerKind.Attention, _ site: Site, _ input: Graph.ValueID
    ) throws(InvalidInput) -> Graph.ValueID {
        let (tokens, width) = (graph[input].shape[0], graph[input].shape[1])
        guard layer.headWidth != nil || width % layer.heads == 0 else {
            throw site.place.refusal(
                "heads", "shape_mismatch", "\(layer.heads) heads do not divide the width \(width)")
        }
        let headWidth = layer.headWidth ?? width / layer.heads
        guard layer.rotaryBase == nil || headWidth % 2 == 0 else {
            throw site.place.refusal(
                layer.headWidth == nil ? "rotary" : "head_dim", "shape_mismatch",
                "rotary embeddings need heads of an even width, found \(headWidth)")
        }
        // The fields' limits make this 2^28 at most.
        let inner = layer.heads * headWidth
        var product = Product(outFeatures: 3 * inner)
        (product.bias, product.deviation) = (layer.bias, layer.initialDeviation)
        product.startsAtZeroBias = true
        product.suffixes = ("_weight", "_bias")
        var value = try appendProduct(product, site.part("in_proj"), input)
        if let base = layer.rotaryBase {
            value = try emit(
                site.part("rotary").name, .rotary(heads: layer.heads, base: base), [value],
                [tokens, 3 * inner], .plain, at: site.place)
        }
        let attention = Operation.Attention(
            heads: layer.heads, isCausal: layer.isCausal, dropout: layer.dropout)
        // Queries with keys, then weights with values: each token's with all, or with those up to itself.
        let pairs = layer.isCausal ? tokens + 1 : 2 * tokens
        value = try emit(
            site.part("attention").name, .attention(attention), withLengths(value), [tokens, inner], .plain,
            macs: Self.product(tokens, pairs, inner), at: site.place)
        product.outFeatures = width
        product.deviation = layer.outputDeviation ?? layer.initialDeviation
        product.suffixes = (".weight", ".bias")
        return try appendProduct(product, site.part("out_proj"), value)
    }

    private mutating func appendBlock(
        _ layer: LayerKind.TransformerBlock, _ site: Site, _ input: Graph.ValueID
    ) throws(InvalidInput) -> Graph.ValueID {
        let first = layer.isPreNorm ? try appendNorm(layer, site.part("ln1"), input) : input
        var branch = try appendAttention(layer.attention, site.part("attn"), first)
        branch = try appendDropout(layer, site.part("attn_dropout"), branch)
        var value = try appendSum([input, branch], site.part("attn_sum"))
        if !layer.isPreNorm { value = try appendNorm(layer, site.part("ln1"), value) }

        let second = layer.isPreNorm ? try appendNorm(layer, site.part("ln2"), value) : value
        let width = graph[value].shape[1]
        var product = Product(outFeatures: max(1, Int((Double(width) * layer.mlpRatio).rounded())))
        (product.bias, product.deviation) = (layer.attention.bias, layer.attention.initialDeviation)
        let mlp = site.part("mlp")
        branch = try appendProduct(product, mlp.part("fc1"), second)
        if let activation = layer.activation.operation {
            branch = try appendPointwise(.activation(activation), mlp.part("activation"), branch)
        }
        product.outFeatures = width
        product.deviation = layer.attention.outputDeviation ?? layer.attention.initialDeviation
        branch = try appendProduct(product, mlp.part("fc2"), branch)
        branch = try appendDropout(layer, mlp.part("dropout"), branch)
        let sum = try appendSum([value, branch], layer.isPreNorm ? site : site.part("mlp_sum"))
        return layer.isPreNorm ? sum : try appendNorm(layer, site.part("ln2"), sum)
    }

    private mutating func appendNorm(
        _ layer: LayerKind.TransformerBlock, _ site: Site, _ input: Graph.ValueID
    ) throws(InvalidInput) -> Graph.ValueID {
        switch layer.norm {
        case .layerNorm:
            var norm = LayerKind.LayerNorm()
            (norm.epsilon, norm.bias) = (layer.epsilon, layer.attention.bias)
            return try appendPointwise(.layerNorm(norm), site, input)
        case .rmsNorm: return try appendPointwise(.rmsNorm(epsilon: layer.epsilon), site, input)
        }
    }

    private mutating func appendDropout(
        _ layer: LayerKind.TransformerBlock, _ site: Site, _ input: Graph.ValueID
    ) throws(InvalidInput) -> Graph.ValueID {
        layer.attention.dropout == 0
            ? input : try appendPointwise(.dropout(layer.attention.dropout), site, input)
    }
}
