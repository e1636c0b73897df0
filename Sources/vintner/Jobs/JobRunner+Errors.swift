import Compression
import Files
import Jobs
import Plan
import Training

extension JobRunner {
    /// What a client is told of an error, and whether another attempt may help.
    func translate<R>(_ body: () throws(TrainingError) -> R) throws(JobFailure) -> R {
        do throws(TrainingError) { return try body() } catch {
            if error.isDiskFull { throw .diskFull }
            // Where the data lie is no client's business.
            let said = Folder.naming(error.description, within: folder.path)
            switch error {
            case .nonFiniteLoss(let step, _, _):
                throw JobFailure(code: "non_finite_loss", message: said, step: step)
            case .plan(.noMemory):
                throw JobFailure(code: "insufficient_memory", message: said)
            case .plan: throw JobFailure(code: "engine", message: said)
            case .data: throw JobFailure(code: "dataset_unusable", message: said)
            case .badStart:
                throw JobFailure(
                    code: "model_unusable", message: "The stored model's weights are missing or damaged.",
                    pointer: "/model/id")
            case .misfit:
                throw JobFailure(code: "invalid_spec", message: said, pointer: "/model")
            case .badAdapters:
                throw JobFailure(code: "invalid_spec", message: said, pointer: "/train/lora")
            case .badTeacher:
                throw JobFailure(
                    code: "invalid_spec", message: said, pointer: "/distill/teacher")
            case .badPeer:
                throw JobFailure(code: "invalid_spec", message: said, pointer: "/distill/peer")
            case .badFeatures:
                throw JobFailure(
                    code: "invalid_spec", message: said, pointer: "/distill/features")
            case .pruning(.constraintOutOfReach):
                throw JobFailure(
                    code: "constraint_unsatisfiable", message: said, pointer: "/prune/constraint"
                )
            case .pruning:
                throw JobFailure(code: "invalid_spec", message: said, pointer: "/prune")
            case .notEquivalent:
                throw JobFailure(code: "not_equivalent", message: said)
            case .badCheckpoint, .badModel, .modelTooLarge, .format, .file:
                throw JobFailure(
                    code: "io", message: "A file of the job could not be read or written.", isRetryable: true)
            }
        }
    }
}

extension JobFailure {
    /// What a file that could not be written means for the attempt.
    init(_ error: FileError, _ message: String) {
        self = error.isDiskFull ? .diskFull : JobFailure(code: "io", message: message, isRetryable: true)
    }
}
