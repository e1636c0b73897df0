import Files
import Jobs
import Training

/// What jobs keep for themselves, and what attempts leave behind.
///
/// The model as it was before it was pruned, and how trainings ended that are over, live as long as the
/// checkpoints that lead on from there: until the job has succeeded, begins anew or is deleted.
extension JobRunner {
    /// Deletes what nobody asks for any more.
    func settle(_ claim: ClaimedJob, _ outcome: JobOutcome, _ end: AttemptEnd) {
        let id = claim.job.id
        switch (outcome, end) {
        case (_, .stored(.succeeded)):
            remove(DataFolder.notes(of: id))
        case (.succeeded(let result), .stored), (.succeeded(let result), .void):
            // No row will ever name what was made.
            remove(result.models.map { DataFolder.folder(of: $0.id) })
        default: break
        }
        if case .stored(let state) = end, state == .failed || state == .cancelled {
            // Teachers are asked again.
            remove([DataFolder.teacherCache(of: id)])
        }
    }

    private func remove(_ paths: [String]) {
        for path in paths {
            do throws(FileError) { try Folder.removeTree(folder.absolute(path)) } catch {
                report("what an attempt left could not be deleted", error)
            }
        }
    }

    /// Forgets what earlier attempts wrote down where none of them left a checkpoint to go on from.
    func forgetNotes(of claim: ClaimedJob) throws(JobFailure) {
        guard claim.checkpoints.isEmpty else { return }
        do throws(FileError) {
            for path in DataFolder.notes(of: claim.job.id) { try Folder.removeFile(folder.absolute(path)) }
        } catch {
            throw JobFailure(error, "What an earlier attempt left could not be deleted.")
        }
    }

    /// Whether a run can end that goes on from here: what was pruned is measured against what it was.
    func canCompare(_ trainer: Trainer, of job: JobID) -> Bool {
        guard trainer.state.pruning?.step != nil else { return true }
        do throws(TrainingError) {
            _ = try StoredModel(folder.absolute(DataFolder.dense(of: job)))
            return true
        } catch { return false }
    }
}
