#if DEBUG
    import Glibc
    import Synchronization
#endif

/// The places where a torture test ends the process as a power cut would.
///
/// Debug builds read `VINTNER_FAIL=after_claim:3` at the first place they pass: the third time that the
/// place `after_claim` is passed, the process kills itself, with no farewell. Release builds have none of
/// this: `pass()` is empty and the variable means nothing.
public enum FailPoint: String, CaseIterable, Sendable {
    /// The last thing within the transaction that stores a job.
    case beforeSubmitCommit = "before_submit_commit"
    /// A job is stored, and its client has no answer yet.
    case afterSubmitCommit = "after_submit_commit"
    /// A job is claimed, and its attempt has not begun.
    case afterClaim = "after_claim"
    /// Within a transaction, behind any event.
    case eventAppend = "event_append"
    /// A file has all its bytes, unsynced, under its temporary name.
    case afterFileWrite = "after_file_write"
    /// A file is synced under its temporary name.
    case beforeFileRename = "before_file_rename"
    /// A file has its name, and its folder is not synced yet.
    case afterFileRename = "after_file_rename"
    /// A checkpoint's file is durable and no row names it.
    case beforeCheckpointRow = "before_checkpoint_row"
    /// A checkpoint's row is stored, and the files that it replaces are still there.
    case afterCheckpointRow = "after_checkpoint_row"
    /// A model's files are durable and no row names them.
    case afterModelFiles = "after_model_files"
    /// The last thing within the transaction that ends an attempt.
    case beforeFinishCommit = "before_finish_commit"
    /// An attempt's end is stored, and nobody has been told.
    case afterFinishCommit = "after_finish_commit"
    /// A cancellation is stored, and a running job does not know yet.
    case afterCancelCommit = "after_cancel_commit"
    /// A job's rows are deleted and its files are not.
    case afterDeleteCommit = "after_delete_commit"
    /// A dataset's folder is set aside to be deleted, and its row is still there.
    case afterBurial = "after_burial"
    /// Between two points of a training's curve; the only place that stands still for ever instead.
    case hangInStep = "hang_in_step"
    /// A start has taken jobs back and not yet deleted what interrupted ones left.
    case afterRecovery = "after_recovery"

    /// Ends the process here, if a debug build was told so.
    public func pass() {
        #if DEBUG
            Self.trap?.spring(at: self)
        #endif
    }

    #if DEBUG
        private static let trap: Trap? = {
            guard let text = unsafe getenv("VINTNER_FAIL") else { return nil }
            let order = unsafe String(cString: text)
            guard let trap = Trap(order) else {
                preconditionFailure("VINTNER_FAIL should be PLACE:COUNT with a known place, and is \(order)")
            }
            return trap
        }()
    #endif
}

#if DEBUG
    /// A place, and how often it is passed before the process ends there.
    final class Trap: Sendable {
        let place: FailPoint
        let count: Int
        private let passed = Atomic(0)

        /// Reads `after_claim:3`; nil where that is no order.
        init?(_ order: String) {
            let parts = order.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count == 2, let place = FailPoint(rawValue: String(parts[0])),
                let count = Int(parts[1]), count > 0
            else { return nil }
            (self.place, self.count) = (place, count)
        }

        /// Whether the process is to end now that a place is passed.
        func isDue(at place: FailPoint) -> Bool {
            guard place == self.place else { return false }
            return passed.add(1, ordering: .relaxed).newValue == count
        }

        func spring(at place: FailPoint) {
            guard isDue(at: place) else { return }
            while place == .hangInStep { sleep(.max) }
            // No handler, no flush, no destructor: what a power cut leaves to the process.
            _ = kill(getpid(), SIGKILL)
        }
    }
#endif
