public import Compression
public import Data
public import Files
public import Formats
public import Plan

/// Training that cannot go on.
public enum TrainingError: Error, CustomStringConvertible {
    /// The loss became NaN or infinite.
    case nonFiniteLoss(step: Int, epoch: Int, loss: Double)
    case plan(PlanError)
    case data(DataError)
    case format(FormatError)
    case file(FileError)
    /// A checkpoint that does not belong to this job or is damaged.
    case badCheckpoint(path: String, reason: String)
    /// A stored model that is damaged, or that nothing can be predicted with.
    case badModel(path: String, reason: String)
    /// A model that needs more memory than predictions may take.
    case modelTooLarge(byteCount: Int, limit: Int)
    /// Weights to start from that are not those of the model, or are damaged.
    case badStart(reason: String)
    /// A model and a dataset, or two models, that do not go together.
    case misfit(reason: String)
    /// Adapters that do not fit the model.
    case badAdapters(reason: String)
    /// A teacher that the student cannot learn from.
    case badTeacher(path: String, reason: String)
    /// A student that another cannot learn with.
    case badPeer(reason: String)
    /// Layers of a student and its teacher that cannot be compared.
    case badFeatures(reason: String)
    /// What cannot be pruned as asked.
    case pruning(CompressionError)
    /// A shrunk model that does not compute what the masked one does.
    case notEquivalent(difference: Double, tolerance: Double)

    public var description: String {
        switch self {
        case .nonFiniteLoss(let step, let epoch, let loss):
            "The loss became \(loss.isNaN ? "not a number" : "\(loss)") at step \(step) (epoch \(epoch)); "
                + "a lower learning rate usually helps."
        case .plan(let error): error.description
        case .data(let error): error.description
        case .format(let error): error.description
        case .file(let error): error.description
        case .badCheckpoint(let path, let reason): "The checkpoint \(path) cannot be used: \(reason)."
        case .badModel(let path, let reason): "The model \(path) cannot be used: \(reason)."
        case .modelTooLarge(let byteCount, let limit):
            "The model needs \(byteCount) bytes; predictions may take \(limit)."
        case .badStart(let reason): "The weights to start from cannot be used: \(reason)."
        case .misfit(let reason): "This cannot go together: \(reason)."
        case .badAdapters(let reason): "The adapters do not fit the model: \(reason)."
        case .badTeacher(let path, let reason): "The teacher \(path) cannot be used: \(reason)."
        case .badPeer(let reason): "The peer cannot be used: \(reason)."
        case .badFeatures(let reason): "The features cannot be compared: \(reason)."
        case .pruning(let error): error.description
        case .notEquivalent(let difference, let tolerance):
            "Outputs that have to be equal differ by \(difference), beyond \(tolerance)."
        }
    }
}

extension TrainingError {
    /// Whether a full disk was the cause.
    public var isDiskFull: Bool {
        switch self {
        case .file(let error), .format(.file(let error)): error.isDiskFull
        default: false
        }
    }
}

/// Runs `body` and wraps what it throws.
func planning<R>(_ body: () throws(PlanError) -> R) throws(TrainingError) -> R {
    do { return try body() } catch { throw .plan(error) }
}

/// Runs `body` and wraps what it throws.
func formatting<R>(_ body: () throws(FormatError) -> R) throws(TrainingError) -> R {
    do { return try body() } catch { throw .format(error) }
}

/// Runs `body` and wraps what it throws.
func compressing<R>(_ body: () throws(CompressionError) -> R) throws(TrainingError) -> R {
    do { return try body() } catch { throw .pruning(error) }
}
