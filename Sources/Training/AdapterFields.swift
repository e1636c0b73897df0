internal import Graph
internal import JSON

/// The JSON fields of `train.lora`.
enum AdapterFields {
    static let rank = Field.integer(
        "rank", default: 8, in: 1...LowRankAdapters.rankMax,
        "Rank of each adapter's product; at most the layer's smaller extent.")
    static let alpha = Field.optionalNumber(
        "alpha", in: 0...1e6, exclusiveMinimum: true,
        "Adapters are multiplied by alpha / rank; null takes the rank.")
    static let targets = Field.strings(
        "targets", default: [], count: 0...256, lengthMax: 256,
        "Names of linear layers, * standing for any characters; [] takes all but the one that makes the "
            + "output. Attention has in_proj and out_proj.")
    static let trainBias = Field.bool("train_bias", default: false, "Whether all biases are trained too.")
    static let trainNorm = Field.bool(
        "train_norm", default: false, "Whether scales and shifts of normalisations are trained too.")
    static let schema = ObjectSchema(
        "lora", "Trains low-rank adapters beside linear layers; all else is kept as it is.",
        fields: [rank, alpha, targets, trainBias, trainNorm])
    static let object = Field.object(
        "lora", schema, "Trains low-rank adapters beside linear layers; all else is kept as it is.")
}

extension LowRankAdapters {
    init(_ reader: inout ObjectReader) {
        let (rank, alpha) = (reader.read(AdapterFields.rank), reader.read(AdapterFields.alpha))
        self.init(rank: rank, alpha: alpha, targets: reader.read(AdapterFields.targets))
        trainsBias = reader.read(AdapterFields.trainBias)
        trainsNorm = reader.read(AdapterFields.trainNorm)
    }
}
