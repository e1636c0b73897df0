internal import Data
internal import JSON

/// The JSON fields of a prediction, by what the model is for.
enum PredictionFields {
    /// The most samples of a request.
    static let sampleCountMax = 256
    /// The longest text, in Unicode scalars.
    static let lengthMax = 65_536
    static let tokenCountMax = 4096

    static let prompt = Field.raw(
        "prompt", isRequired: true, schema: ["type": "string", "maxLength": JSONValue(lengthMax)],
        "What the text goes on from; may be empty.")
    static let maxTokens = Field.integer(
        "max_tokens", default: 200, in: 1...tokenCountMax, "How many tokens are added.")
    static let temperature = Field.number(
        "temperature", default: 1, in: 0...10, "What the logits are divided by; 0 takes the likeliest token.")
    static let seed = Field.integer(
        "seed", default: 0, in: 0...Int(Int64.max), "Decides every draw: the same seed, the same text.")

    /// Drawing from so many of the likeliest tokens.
    static func topK(vocabulary: Int) -> Field<Int?> {
        .optionalInteger("top_k", in: 1...max(vocabulary, 1), "Only so many of the likeliest may be drawn.")
    }

    static let texts = Field.values(
        "texts", count: 1...sampleCountMax, element: ["type": "string", "maxLength": JSONValue(lengthMax)],
        "What is to be classified.")
    static let inputs = Field.values(
        "inputs", count: 1...sampleCountMax, element: ["type": "array"],
        "Samples as PyTorch orders them, flat or nested.")
    static let raw = Field.bool(
        "raw", default: false, "Whether values go from 0 to 255 and have to be normalised.")

    /// The members that go with a model.
    static func schema(for use: StoredModel.Use) -> ObjectSchema {
        switch use {
        case .language(let vocabulary): generation(vocabulary: vocabulary.count)
        case .texts: classification
        case .values: recognition
        }
    }

    static func generation(vocabulary: Int) -> ObjectSchema {
        ObjectSchema(
            "generation", "Lets a text go on.",
            fields: [prompt, maxTokens, temperature, topK(vocabulary: vocabulary), seed])
    }
    static let classification = ObjectSchema("texts", "Classifies texts.", fields: [texts])
    static let recognition = ObjectSchema(
        "inputs", "Classifies images or rows of numbers.", fields: [inputs, raw])
}
