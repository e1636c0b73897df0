import JSON
import Synchronization
import Threads

/// The sink of one running job: a bounded buffer that the pool's pulse empties into the store.
final class RunRecorder: JobSink {
    /// How far a trainer may run ahead of the store before it is held up.
    static let pointsMax = 10_000
    /// From so many points on, the pulse is asked to come at once.
    static let batchCount = 200
    /// How many events one attempt may add.
    static let eventsMax = 5_000

    private struct Buffer {
        var report = RunReport()
        var eventCount = 0
        var isLost = false
        /// What the job has drawn so far, earlier attempts included.
        var joules: Double?
        var isRefused = false
        /// Whether a file waits for room on the disk.
        var awaitsRoom = false
        /// Whether the store had no room for the last report.
        var isStoreFull = false
    }

    private let lease: Lease
    private let jobs: any JobRepository
    let control: JobControl
    let time: any TimeSource
    private let hub: ChangeHub
    /// Struck to call the pulse.
    private let pulse: Bell
    /// Struck when the buffer was emptied.
    let emptied = Bell()
    private let buffer = Mutex(Buffer())
    /// Held from taking a report until it is stored, so that reports are stored in order.
    private let writing = Mutex(())

    init(
        lease: Lease, jobs: any JobRepository, control: JobControl, time: any TimeSource, hub: ChangeHub,
        pulse: Bell
    ) {
        (self.lease, self.jobs, self.control) = (lease, jobs, control)
        (self.time, self.hub, self.pulse) = (time, hub, pulse)
    }

    func metrics(_ points: [MetricPoint]) {
        var ring = emptied.ring
        let count = change { buffer in
            buffer.report.points += points
            return buffer.report.points.count
        }
        guard let count, count >= Self.batchCount else { return }
        pulse.strike()
        // Held up while the store is behind (a full disk, say), but never against a signal to stop.
        while control.signal == .none, buffer.withLock({ $0.report.points.count }) > Self.pointsMax {
            time.wait(for: emptied, after: ring, until: time.monotonicNanoseconds() + 1_000_000_000)
            ring = emptied.ring
        }
    }

    func resources(_ point: ResourcePoint) { change { $0.report.samples.append(point) } }

    func totals(_ resources: JobResources) {
        change { buffer in
            buffer.report.resources = resources
            buffer.joules = resources.joules
        }
    }

    /// What the job has drawn so far, earlier attempts included; nil before it said so.
    var joules: Double? { buffer.withLock { $0.joules } }

    func profile(_ document: JSONValue) { change { $0.report.profile = document } }

    func progress(_ progress: JobProgress) { change { $0.report.progress = progress } }

    func event(_ level: EventLevel, _ type: String, _ message: String, _ data: JSONValue) {
        let at = time.now()
        change { buffer in
            buffer.eventCount += 1
            guard buffer.eventCount <= Self.eventsMax else { return }
            let isLast = buffer.eventCount == Self.eventsMax
            buffer.report.events.append(
                isLast
                    ? EventDraft(
                        at: at, level: .warning, type: "event_limit",
                        message: "The attempt reported \(Self.eventsMax) events; further ones are dropped.")
                    : EventDraft(at: at, level: level, type: type, message: message, data: data))
        }
    }

    func checkpoint(_ record: CheckpointRecord) throws -> [String] {
        try flush()
        guard let obsolete = try jobs.checkpoint(record, for: lease, at: time.now()) else { throw lose() }
        buffer.withLock { $0.awaitsRoom = false }
        hub.notify(lease.jobID)
        return obsolete
    }

    /// Whether what the attempt wants to write waits for room on the disk.
    var isHeldUp: Bool { buffer.withLock { $0.awaitsRoom || $0.isStoreFull } }

    /// Notes that a file waits for room on the disk; tells whether that is news.
    func holdUp() -> Bool {
        change { buffer in
            defer { buffer.awaitsRoom = true }
            return !buffer.awaitsRoom
        } ?? false
    }

    func rewind(toStep step: Int, of training: String) throws {
        try flush()
        guard try jobs.rewind(toStep: step, of: training, for: lease) else { throw lose() }
        hub.notify(lease.jobID)
    }

    /// Stores what has been reported so far; keeps it when the store cannot take it now.
    ///
    /// - Throws: `LeaseLost`, or the store's error.
    func flush() throws {
        try writing.withLock { _ in
            let report = buffer.withLock { buffer in
                let report = buffer.report
                buffer.report = RunReport()
                return report
            }
            guard !report.isEmpty else { return }
            do {
                guard try jobs.record(report, for: lease, at: time.now()) else { throw lose() }
                change { $0.isStoreFull = false }
            } catch let error as JobError {
                if case .storeFull = error { change { $0.isStoreFull = true } }
                if case .storeRefused = error { refuse() } else { putBack(report) }
                throw error
            }
        }
        emptied.strike()
        hub.notify(lease.jobID)
    }

    /// Ends the attempt's right to write, and the attempt.
    @discardableResult
    func lose() -> LeaseLost {
        buffer.withLock { buffer in
            buffer.isLost = true
            buffer.report = RunReport()
        }
        control.raise(.cancel)
        return LeaseLost(lease: lease)
    }

    /// Whether the store refused for good what the attempt reported.
    var isRefused: Bool { buffer.withLock { $0.isRefused } }

    /// Drops what the store will never take, and ends the attempt.
    func refuse() {
        buffer.withLock { buffer in
            buffer.isRefused = true
            buffer.report = RunReport()
        }
        control.raise(.cancel)
    }

    /// Changes the buffer, unless nobody will store it any more.
    @discardableResult
    private func change<Result: Sendable>(_ body: (inout Buffer) -> Result) -> Result? {
        buffer.withLock { $0.isLost || $0.isRefused ? nil : body(&$0) }
    }

    private func putBack(_ older: RunReport) {
        change { buffer in
            let newer = buffer.report
            buffer.report.points = older.points + newer.points
            buffer.report.samples = older.samples + newer.samples
            buffer.report.events = older.events + newer.events
            buffer.report.progress = newer.progress ?? older.progress
            buffer.report.resources = newer.resources ?? older.resources
            buffer.report.profile = newer.profile ?? older.profile
        }
    }
}
