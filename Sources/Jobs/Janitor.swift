import Synchronization
public import Threads

/// Clearing away what is left of what was deleted, a few rows at a time, so that nobody waits for long.
public protocol ClearingRepository: Sendable {
    /// Struck when there is something to clear away.
    var bell: Bell { get }
    /// Clears some of it away, in one short transaction; whether there is more.
    func clearSome() throws(JobError) -> Bool
}

/// Clears away what is left of what was deleted, on a thread of its own; at start what another run left.
public final class Janitor: Sendable {
    private static let troubleNanoseconds: UInt64 = 60_000_000_000

    private let repository: any ClearingRepository
    private let time: any TimeSource
    private let log: @Sendable (_ cause: String) -> Void
    private let state = Mutex((isStopping: false, isRunning: false))

    /// Prepares the work; `log` is told why it has to wait.
    public init(
        _ repository: any ClearingRepository, time: any TimeSource = SystemTime(),
        log: @escaping @Sendable (_ cause: String) -> Void
    ) {
        (self.repository, self.time, self.log) = (repository, time, log)
    }

    /// Starts the thread.
    public func start() {
        state.withLock { $0.isRunning = true }
        WorkerThread.start("janitor") { [self] in
            while !isStopping {
                let ring = repository.bell.ring
                do throws(JobError) {
                    while !isStopping, try repository.clearSome() {}
                } catch { log(error.cause ?? error.description) }
                if isStopping { break }
                time.wait(
                    for: repository.bell, after: ring,
                    until: time.monotonicNanoseconds() + Self.troubleNanoseconds)
            }
            state.withLock { $0.isRunning = false }
            repository.bell.strike()
        }
    }

    /// Ends the thread and waits for it; what is left is cleared away after the next start.
    public func stop(milliseconds: UInt64) {
        state.withLock { $0.isStopping = true }
        repository.bell.strike()
        time.wait(for: repository.bell, milliseconds: milliseconds) { !state.withLock { $0.isRunning } }
    }

    private var isStopping: Bool { state.withLock { $0.isStopping } }
}
