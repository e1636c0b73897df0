public import JSON

/// Asks stored models; implemented where the service meets the engine.
public protocol ModelPredictor: Sendable {
    /// Begins to answer a body, which should be JSON, with a model; returns at once, never throws or waits.
    func predict(_ body: [UInt8], with model: ModelRecord) -> Prediction
    /// The JSON Schema of a body, whatever the model.
    var bodySchema: JSONValue { get }
}

/// Why there is no prediction; every text is safe to show to a client.
public enum PredictionError: Error, Equatable, CustomStringConvertible {
    /// The body is no JSON.
    case malformed(reason: String)
    /// The request breaks the rules; each violation says where and how.
    case invalid([Violation])
    /// The model cannot be used; the cause is for the log.
    case modelUnusable(ModelID, cause: String)
    /// The model needs more memory than predictions may take.
    case modelTooLarge(ModelID, byteCount: Int, limit: Int)
    /// Too many predictions wait already.
    case busy
    /// It took too long.
    case tooSlow(seconds: Double)
    /// The service is shutting down.
    case draining

    /// The stable code of the API.
    public var code: String {
        switch self {
        case .malformed: "malformed_json"
        case .invalid: "invalid_request"
        case .modelUnusable: "model_unusable"
        case .modelTooLarge: "insufficient_memory"
        case .busy: "predictions_busy"
        case .tooSlow: "deadline_exceeded"
        case .draining: "draining"
        }
    }

    /// Says what was refused and why.
    public var description: String {
        switch self {
        case .malformed(let reason): "The body is not valid JSON: \(reason)."
        case .invalid(let violations): InvalidInput(violations).description
        case .modelUnusable(let id, cause: _):
            "\(id) cannot be used for predictions; the log of the service says why."
        case .modelTooLarge(let id, let byteCount, let limit):
            "\(id) needs \(byteCount) bytes; predictions may take \(limit)."
        case .busy: "Too many predictions wait already; try again."
        case .tooSlow(let seconds):
            "The prediction took longer than \(seconds) s; ask for fewer tokens or samples."
        case .draining: "The service is shutting down; ask again when it is back."
        }
    }
}

/// What a model makes of a request, under way.
public typealias Prediction = Pending<JSONValue, PredictionError>
