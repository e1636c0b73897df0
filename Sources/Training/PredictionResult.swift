public import JSON

/// What a model predicted.
public enum PredictionResult: Sendable, Equatable {
    /// How a text goes on, and how many tokens that is.
    case text(String, tokens: Int)
    /// The probability of each class, for each sample.
    case classes([[Double]], names: [String])
    /// The probability of each class, for each token of each sample.
    case tags([[[Double]]], names: [String])

    /// The result as clients see it; `seconds` is what it took.
    public func json(seconds: Double) -> JSONValue {
        var object: JSONObject = ["object": "prediction"]
        switch self {
        case .text(let text, let count):
            object["text"] = .string(text)
            object["tokens"] = JSONValue(count)
            object["tokens_per_second"] = .number(Double(count) / max(seconds, 1e-9))
        case .classes(let samples, let names):
            object["predictions"] = .array(samples.map { Self.json(of: $0, names, isWhole: true) })
        case .tags(let samples, let names):
            object["predictions"] = .array(
                samples.map { ["tokens": .array($0.map { Self.json(of: $0, names, isWhole: false) })] })
        }
        object["seconds"] = .number(seconds)
        return .object(object)
    }

    private static func json(of shares: [Double], _ names: [String], isWhole: Bool) -> JSONValue {
        let best = shares.indices.max { (shares[$0], $1) < (shares[$1], $0) } ?? 0
        var object: JSONObject = ["class": JSONValue(best)]
        object["label"] = names.count == shares.count ? .string(names[best]) : .null
        object["probability"] = .number(shares.isEmpty ? 0 : shares[best])
        if isWhole { object["probabilities"] = .array(shares.map { .number($0) }) }
        return .object(object)
    }
}
