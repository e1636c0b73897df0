internal import Data
internal import Graph
public import JSON
internal import Tensor

/// What a model is asked for, checked against it.
public enum PredictionRequest: Sendable, Equatable {
    /// Text that goes on from these tokens.
    case continuation(Continuation)
    /// The classes of texts, each at least one token and at most the model's length.
    case texts([[Int32]])
    /// The classes of samples, each as it lies in memory.
    case values([[Float]])

    /// A text and how it goes on.
    public struct Continuation: Sendable, Equatable {
        /// What it goes on from, at least one token.
        public var prompt: [Int32]
        /// How many tokens are added.
        public var tokenCount: Int
        /// See `Sampler`.
        public var temperature: Double, topK: Int?, seed: UInt64
    }

    /// The JSON Schema of a body: one alternative for each use of a model, of any vocabulary.
    public static var jsonSchema: JSONValue {
        let uses = [
            PredictionFields.generation(vocabulary: Int(Int32.max)), PredictionFields.classification,
            PredictionFields.recognition,
        ]
        return ["oneOf": .array(uses.map { $0.jsonSchema() })]
    }

    /// Reads a body.
    ///
    /// - Parameters:
    ///   - body: The JSON of the request.
    ///   - stored: The model that it is for.
    /// - Returns: What `Predictor.answer` takes.
    /// - Throws: Every violation at once.
    public static func read(
        _ body: JSONValue, for stored: StoredModel
    ) throws(InvalidInput) -> PredictionRequest {
        let log = ViolationLog()
        var reader = ObjectReader(body, as: PredictionFields.schema(for: stored.use), at: "", log: log)
        let request: PredictionRequest
        switch stored.use {
        case .language(let vocabulary):
            request = .continuation(continuation(&reader, vocabulary, log))
        case .texts(let vocabulary, perToken: _):
            let length = stored.model.graph.inputShape.elementCount
            let texts = reader.read(PredictionFields.texts)
            request = .texts(
                texts.enumerated().map { index, text in
                    let pointer = JSONPointer.element(index, of: reader.pointer(to: "texts"))
                    let tokens = Self.tokens(text, vocabulary, at: pointer, log)
                    if log.isEmpty, tokens.isEmpty {
                        log.add(pointer, "invalid_value", "expected text, found none")
                    }
                    return Array(tokens.prefix(length))
                })
        case .values(let mean, let deviation):
            let isRaw = reader.read(PredictionFields.raw)
            var values = SampleReader(stored.model.graph, mean, deviation, isRaw: isRaw, log: log)
            values.checkNormalisation(at: reader.pointer(to: "raw"))
            let inputs = reader.read(PredictionFields.inputs)
            request = .values(
                inputs.enumerated().map { index, sample in
                    values.read(sample, at: JSONPointer.element(index, of: reader.pointer(to: "inputs")))
                })
        }
        reader.finish()
        try log.throwIfAny()
        return request
    }

    private static func continuation(
        _ reader: inout ObjectReader, _ vocabulary: Vocabulary, _ log: ViolationLog
    ) -> Continuation {
        let text = reader.read(PredictionFields.prompt)
        var prompt: [Int32] = []
        if reader.contains("prompt") {
            prompt = tokens(text, vocabulary, at: reader.pointer(to: "prompt"), log)
        }
        // An empty prompt is the start of a line, or the first token where there are no lines.
        if prompt.isEmpty { prompt = vocabulary.encode("\n") ?? [] }
        if prompt.isEmpty { prompt = [0] }
        return Continuation(
            prompt: prompt, tokenCount: reader.read(PredictionFields.maxTokens),
            temperature: reader.read(PredictionFields.temperature),
            topK: reader.read(PredictionFields.topK(vocabulary: vocabulary.count)),
            seed: UInt64(reader.read(PredictionFields.seed)))
    }

    /// The tokens of a text; what the vocabulary does not know is a violation that names it.
    private static func tokens(
        _ value: JSONValue, _ vocabulary: Vocabulary, at pointer: String, _ log: ViolationLog
    ) -> [Int32] {
        guard let text = value.stringValue else {
            log.add(pointer, "wrong_type", "expected a string, found \(value.summary)")
            return []
        }
        let (length, most) = (text.unicodeScalars.count, PredictionFields.lengthMax)
        guard length <= most else {
            log.add(pointer, "out_of_range", "expected at most \(most) characters, found \(length)")
            return []
        }
        if let tokens = vocabulary.encode(text) { return tokens }
        for (place, scalar) in text.unicodeScalars.enumerated()
        where vocabulary.encode(String(scalar)) == nil {
            let found = JSONValue.string(String(scalar)).encoded()
            let number = String(scalar.value, radix: 16, uppercase: true)
            let code = "U+" + String(repeating: "0", count: max(4 - number.count, 0)) + number
            log.add(
                pointer, "unknown_character",
                "the model does not know the character \(found) (\(code)) at place \(place)")
            return []
        }
        log.add(pointer, "unknown_character", "the model does not know a word of it")
        return []
    }
}

/// Reads samples of numbers, flat or nested, into the order in which they lie in memory.
private struct SampleReader {
    private let dimensions: [Int]
    private let count: Int
    /// 1 where elements lie as they are written.
    private let channels: Int
    private let mean: [Double]
    private let deviation: [Double]
    private let isRaw: Bool
    private let log: ViolationLog

    init(_ graph: Graph, _ mean: [Double], _ deviation: [Double], isRaw: Bool, log: ViolationLog) {
        let input = graph[graph.input]
        (dimensions, count) = (input.shape.dimensions, input.shape.elementCount)
        channels = input.order == .channelsLast ? input.channels : 1
        (self.mean, self.deviation, self.isRaw, self.log) = (mean, deviation, isRaw, log)
    }

    /// Raw values need the mean and deviation that the model was trained with, one for each channel.
    func checkNormalisation(at pointer: String) {
        guard isRaw, mean.count != channels || deviation.count != channels else { return }
        log.add(pointer, "invalid_value", "the model keeps no normalisation: send normalised values")
    }

    mutating func read(_ sample: JSONValue, at pointer: String) -> [Float] {
        var values: [Float] = []
        guard let elements = sample.arrayValue else {
            log.add(pointer, "wrong_type", "expected an array, found \(sample.summary)")
            return []
        }
        let isFlat = elements.first?.arrayValue == nil
        guard append(elements, isFlat ? [count] : dimensions[...], &values, at: pointer) else { return [] }
        guard mean.count == channels && deviation.count == channels || !isRaw else { return [] }
        let positions = count / channels
        var stored = [Float](repeating: 0, count: count)
        for channel in 0..<channels {
            for position in 0..<positions {
                let value = values[channel * positions + position]
                // In the order of `ToTensor` and `Normalize`, as training normalises.
                stored[position * channels + channel] =
                    isRaw ? (value / 255 - Float(mean[channel])) / Float(deviation[channel]) : value
            }
        }
        return stored
    }

    /// False after a violation; one for each sample is enough.
    private func append(
        _ elements: [JSONValue], _ extents: ArraySlice<Int>, _ values: inout [Float], at pointer: String
    ) -> Bool {
        guard let extent = extents.first, elements.count == extent else {
            let wanted =
                extents.count == 1 && extents.first == count && dimensions.count > 1
                ? "\(count) numbers, or arrays of the shape \(dimensions)"
                : "\(extents.first ?? 0) elements"
            log.add(pointer, "wrong_shape", "expected \(wanted), found \(elements.count)")
            return false
        }
        let inner = extents.dropFirst()
        for (index, element) in elements.enumerated() {
            if inner.isEmpty {
                guard let value = number(element, at: pointer, index) else { return false }
                values.append(value)
                continue
            }
            let place = JSONPointer.element(index, of: pointer)
            guard let nested = element.arrayValue else {
                log.add(place, "wrong_type", "expected an array, found \(element.summary)")
                return false
            }
            guard append(nested, inner, &values, at: place) else { return false }
        }
        return true
    }

    private func number(_ element: JSONValue, at pointer: String, _ index: Int) -> Float? {
        let wanted = isRaw ? "a number from 0 to 255" : "a number that float32 holds"
        guard let value = element.doubleValue else {
            log.add(
                JSONPointer.element(index, of: pointer), "wrong_type",
                "expected \(wanted), found \(element.summary)")
            return nil
        }
        guard isRaw ? (0...255).contains(value) : Float(value).isFinite else {
            log.add(
                JSONPointer.element(index, of: pointer), "out_of_range",
                "expected \(wanted), found \(element.summary)")
            return nil
        }
        return Float(value)
    }
}
