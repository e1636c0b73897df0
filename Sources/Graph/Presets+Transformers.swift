internal import JSON
internal import Tensor

extension Preset {
    /// The deviation that transformers' weights start from (GPT-2, BERT, ViT).
    private static let deviation = 0.02

    /// GPT-2's decoder with its initialisation: what is added to the way round starts smaller by the root of
    /// how often that happens.
    func gpt(_ reader: inout ObjectReader, _ data: DataShape) -> [LayerSpec]? {
        let before = reader.log.violations.count
        let vocabulary = readVocabulary(&reader, data)
        let count = reader.read(ModelFields.layerCount)
        let dropout = reader.read(ModelFields.dropout)
        let isTied = reader.read(ModelFields.tied)
        var block = LayerKind.TransformerBlock(heads: reader.read(ModelFields.heads))
        block.attention.isCausal = true
        block.attention.dropout = dropout
        block.attention.bias = reader.read(ModelFields.bias)
        block.attention.initialDeviation = Self.deviation
        block.attention.outputDeviation = Self.deviation / (2 * Double(count)).squareRoot()
        var layers = embed(vocabulary, reader.read(ModelFields.width), dropout, data)
        layers += (1...count).map { LayerSpec(.transformerBlock(block), name: "block\($0)") }
        var norm = LayerKind.LayerNorm()
        norm.bias = block.attention.bias
        var head = LayerKind.Linear(outFeatures: vocabulary)
        (head.bias, head.initialDeviation) = (false, isTied ? nil : Self.deviation)
        head.tiedTo = isTied ? "embedding" : nil
        layers += [LayerSpec(.layerNorm(norm), name: "ln"), LayerSpec(.linear(head), name: "head")]
        return reader.log.violations.count == before && !reader.log.isFull ? layers : nil
    }

    /// Classifies each token where the data has a class for each.
    func bert(_ reader: inout ObjectReader, _ data: DataShape, _ classes: Int) -> [LayerSpec] {
        let vocabulary = readVocabulary(&reader, data)
        let count = reader.read(ModelFields.layerCount)
        let dropout = reader.read(ModelFields.dropout)
        var block = LayerKind.TransformerBlock(heads: reader.read(ModelFields.heads))
        (block.attention.dropout, block.attention.initialDeviation) = (dropout, Self.deviation)
        (block.isPreNorm, block.epsilon) = (false, Self.bertEpsilon)
        var norm = LayerKind.LayerNorm()
        norm.epsilon = Self.bertEpsilon
        var layers = embed(vocabulary, reader.read(ModelFields.width), 0, data)
        layers.append(LayerSpec(.layerNorm(norm), name: "ln"))
        if dropout > 0 { layers.append(LayerSpec(.dropout(dropout), name: "dropout")) }
        layers += (1...count).map { LayerSpec(.transformerBlock(block), name: "block\($0)") }
        var isPerToken = false
        if case .perToken = data.target { isPerToken = true }
        if !isPerToken { layers.append(LayerSpec(.globalAvgPool, name: "pool")) }
        return layers + [Self.classifier(classes)]
    }

    func visionTransformer(
        _ reader: inout ObjectReader, _ input: Shape?, isSmall: Bool, _ classes: Int
    ) -> [LayerSpec] {
        let patch = reader.read(ModelFields.patch) ?? (isSmall ? 4 : 16)
        if let input, input.rank == 3, input[1] % patch != 0 || input[2] % patch != 0 {
            reader.log.add(
                reader.pointer(to: "patch"), "shape_mismatch",
                "patches of \(patch) do not divide the \(input[1])x\(input[2]) image")
        }
        let width = reader.read(ModelFields.visionWidth)
        var conv = LayerKind.Conv2d(outChannels: width, kernelSize: Pair(patch, patch))
        conv.stride = Pair(patch, patch)
        var block = LayerKind.TransformerBlock(heads: reader.read(ModelFields.visionHeads))
        (block.epsilon, block.attention.initialDeviation) = (Self.visionEpsilon, Self.deviation)
        var norm = LayerKind.LayerNorm()
        norm.epsilon = Self.visionEpsilon
        let depth = reader.read(ModelFields.depth)
        return [
            LayerSpec(.conv2d(conv), name: "patch"), LayerSpec(.flattenAxes(1, 2), name: "flatten"),
            LayerSpec(.transpose([1, 0]), name: "transpose"),
            LayerSpec(.classToken(deviation: Self.deviation), name: "class_token"),
            LayerSpec(.positionalEmbedding(deviation: Self.deviation), name: "positions"),
        ] + (1...depth).map { LayerSpec(.transformerBlock(block), name: "block\($0)") } + [
            LayerSpec(.layerNorm(norm), name: "ln"), LayerSpec(.selectToken(0), name: "select"),
            Self.classifier(classes),
        ]
    }

    private static let bertEpsilon = 1e-12
    private static let visionEpsilon = 1e-6

    private static func classifier(_ classes: Int) -> LayerSpec {
        var linear = LayerKind.Linear(outFeatures: classes)
        linear.initialDeviation = deviation
        return LayerSpec(.linear(linear), name: "head")
    }

    private func embed(
        _ vocabulary: Int, _ width: Int, _ dropout: Double, _ data: DataShape
    ) -> [LayerSpec] {
        var table = LayerKind.Embedding(vocabulary: vocabulary, width: width)
        (table.initialDeviation, table.padding) = (Self.deviation, data.padding)
        var layers = [
            LayerSpec(.embedding(table), name: "embedding"),
            LayerSpec(.positionalEmbedding(deviation: Self.deviation), name: "positions"),
        ]
        if dropout > 0 { layers.append(LayerSpec(.dropout(dropout), name: "dropout")) }
        return layers
    }

    private func readVocabulary(_ reader: inout ObjectReader, _ data: DataShape) -> Int {
        let place = reader.pointer(to: "vocabulary")
        let given = reader.read(ModelFields.vocabulary)
        if case .automatic = given, data.vocabulary == nil {
            reader.log.add(place, "missing_field", "\"vocabulary\" is required without a dataset of tokens")
        }
        let vocabulary = given.resolved(data.vocabulary ?? 1)
        if let least = data.vocabulary, vocabulary < least {
            reader.log.add(
                place, "shape_mismatch", "the dataset has \(least) tokens, the embedding \(vocabulary)")
        }
        return vocabulary
    }
}
