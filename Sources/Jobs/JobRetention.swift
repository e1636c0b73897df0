import Synchronization
import Threads

/// What is kept of jobs that are over; nil keeps everything.
public struct RetentionPolicy: Sendable, Equatable {
    /// Jobs that ended longer ago are deleted.
    public var jobDays: Int?
    /// Of all that ended, no more than the last so many stay.
    public var jobCount: Int?
    /// The curves of jobs that ended longer ago are thinned.
    public var pointDays: Int?

    /// How many points of a curve stay, and how many samples of what a job used.
    public static let pointsMax = 1000

    /// Keeps everything.
    public init() {}

    /// Whether there is nothing to do.
    public var keepsEverything: Bool { self == RetentionPolicy() }
}

/// Finding jobs to forget, and thinning curves a few rows at a time, so that nobody waits for long.
public protocol RetentionRepository: Sendable {
    /// Jobs that are over and to be deleted, at most `limit`; none that a job which is not over needs.
    func expiredJobs(by policy: RetentionPolicy, at now: Timestamp, limit: Int) throws(JobError) -> [JobID]
    /// Jobs that ended before, whose curves were not thinned yet, at most `limit`.
    func unthinnedJobs(before: Timestamp, limit: Int) throws(JobError) -> [JobID]
    /// Deletes points of a curve that lie between those to keep.
    ///
    /// - Parameters:
    ///   - id: A job that is over.
    ///   - series: Its curve.
    ///   - steps: Those to keep, ascending.
    ///   - start: The index in `steps` where this goes on.
    /// - Returns: Where the next call goes on; `steps.count` when all is done.
    /// - Throws: `stateConflict` when the job runs again.
    func thin(_ id: JobID, series: String, keeping steps: [Int], from start: Int) throws(JobError) -> Int
    /// The same of the samples of what a job used.
    func thinSamples(of id: JobID, keeping times: [Timestamp], from start: Int) throws(JobError) -> Int
    /// Notes that the curves of a job are thinned, unless it runs again.
    func markThinned(_ id: JobID) throws(JobError)
}

/// Deletes old jobs and thins old curves, on a thread of its own.
public final class JobRetention: Sendable {
    private static let roundNanoseconds: UInt64 = 60_000_000_000
    private static let batchCount = 100
    /// Samples are thinned by each of their figures; these together keep `RetentionPolicy.pointsMax` at most.
    private static let samplePointsMax = RetentionPolicy.pointsMax / ResourcePoint.names.count

    private let policy: RetentionPolicy
    private let retention: any RetentionRepository
    private let jobs: any JobRepository
    private let metrics: any MetricRepository
    private let hub: ChangeHub
    private let time: any TimeSource
    private let removeFiles: @Sendable ([String]) -> Void
    private let log: @Sendable (_ message: String, _ detail: String, _ isFault: Bool) -> Void
    private let bell = Bell()
    private let state = Mutex((isStopping: false, isRunning: false))

    /// Prepares the work of `policy`; `removeFiles` deletes what deleted jobs leave.
    public init(
        _ policy: RetentionPolicy, retention: any RetentionRepository, jobs: any JobRepository,
        metrics: any MetricRepository, hub: ChangeHub, time: any TimeSource = SystemTime(),
        removeFiles: @escaping @Sendable ([String]) -> Void,
        log: @escaping @Sendable (_ message: String, _ detail: String, _ isFault: Bool) -> Void
    ) {
        (self.policy, self.retention, self.jobs, self.metrics) = (policy, retention, jobs, metrics)
        (self.hub, self.time, self.removeFiles, self.log) = (hub, time, removeFiles, log)
    }

    /// Starts the thread, where there is anything to do: a round at once, and one a minute.
    public func start() {
        guard !policy.keepsEverything else { return }
        state.withLock { $0.isRunning = true }
        WorkerThread.start("retention") { [self] in
            while !isStopping {
                let ring = bell.ring
                do throws(JobError) { try round() } catch {
                    log("old jobs could not be cleared away", error.cause ?? error.description, true)
                }
                if isStopping { break }
                time.wait(
                    for: bell, after: ring, until: time.monotonicNanoseconds() + Self.roundNanoseconds)
            }
            state.withLock { $0.isRunning = false }
            bell.strike()
        }
    }

    /// Ends the thread and waits for it.
    public func stop(milliseconds: UInt64) {
        state.withLock { $0.isStopping = true }
        bell.strike()
        time.wait(for: bell, milliseconds: milliseconds) { !state.withLock { $0.isRunning } }
    }

    private var isStopping: Bool { state.withLock { $0.isStopping } }

    /// Does all there is to do.
    public func round() throws(JobError) {
        var (deleted, thinned) = (0, 0)
        while !isStopping {
            let expired = try retention.expiredJobs(by: policy, at: time.now(), limit: Self.batchCount)
            var count = 0
            for id in expired where !isStopping { count += try delete(id) ? 1 : 0 }
            deleted += count
            // A batch of which none could be deleted would come again.
            if count == 0 || expired.count < Self.batchCount { break }
        }
        if let days = policy.pointDays {
            let limit = time.now().adding(milliseconds: -Int64(days) * 86_400_000)
            while !isStopping {
                let found = try retention.unthinnedJobs(before: limit, limit: Self.batchCount)
                for id in found where !isStopping {
                    thinned += try thin(id) ? 1 : 0
                }
                if found.count < Self.batchCount { break }
            }
        }
        if deleted > 0 { log("old jobs were deleted", "\(deleted)", false) }
        if thinned > 0 { log("old curves were thinned", "\(thinned)", false) }
    }

    /// Whether the job is gone; a client may have got ahead, by deleting it or by trying it again.
    private func delete(_ id: JobID) throws(JobError) -> Bool {
        do throws(JobError) {
            removeFiles(try jobs.delete(id, includingModels: false))
            hub.notify(id)
            return true
        } catch {
            switch error {
            case .jobNotFound, .stateConflict, .inUse: return false
            default: throw error
            }
        }
    }

    /// Whether all of the job's curves are thinned; a client may have got ahead here, too.
    private func thin(_ id: JobID) throws(JobError) -> Bool {
        let query = CurveQuery(pointsMax: RetentionPolicy.pointsMax)
        do throws(JobError) {
            for curve in try metrics.metrics(of: id, query) {
                var next = 0
                while next < curve.steps.count {
                    if isStopping { return false }
                    next = try retention.thin(id, series: curve.name, keeping: curve.steps, from: next)
                }
            }
            let samples = try metrics.resources(of: id, CurveQuery(pointsMax: Self.samplePointsMax))
            let times = Set(samples.flatMap(\.times)).sorted()
            var next = 0
            while next < times.count {
                if isStopping { return false }
                next = try retention.thinSamples(of: id, keeping: times, from: next)
            }
            try retention.markThinned(id)
            return true
        } catch {
            switch error {
            case .jobNotFound, .stateConflict: return false
            default: throw error
            }
        }
    }
}
