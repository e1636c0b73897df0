import JSON
import Jobs
import Training

extension JobRequest {
    /// How many checkpoints stay until the job is deleted.
    var keptCheckpointCount: Int {
        settings.options.keptCheckpointSteps.map { stepCount / $0 * trainings.count } ?? 0
    }

    /// Refuses checkpoints that stay where none would, or more than may.
    func checkKeptCheckpoints() throws(InvalidInput) {
        guard let every = settings.options.keptCheckpointSteps else { return }
        let pointer = "/train/keep_checkpoint_every_steps"
        guard every <= stepCount else {
            throw InvalidInput(
                pointer: pointer, code: "invalid_value",
                detail: "the run has \(stepCount) steps, so no checkpoint would be kept")
        }
        let most = CheckpointRecord.keptMax
        guard keptCheckpointCount > most else { return }
        let perTraining = max(1, most / trainings.count)
        throw InvalidInput(
            pointer: pointer, code: "out_of_range",
            detail: "\(keptCheckpointCount) checkpoints would be kept, at most \(most) may be: "
                + "every \(stepCount / (perTraining + 1) + 1) steps or more")
    }
}
