import Files
import Jobs
import Training

/// Ends an attempt that uses more than its job may.
struct LimitWatch {
    private let limits: JobSettings.Limits
    private let time: any TimeSource
    private var last: UInt64 = 0

    init(_ limits: JobSettings.Limits, _ time: any TimeSource) { (self.limits, self.time) = (limits, time) }

    /// Looks at the totals, once a second at most.
    mutating func failure(_ sampler: inout ResourceSampler) -> JobFailure? {
        guard limits.seconds != nil || limits.joules != nil else { return nil }
        let now = time.monotonicNanoseconds()
        guard now - last >= 1_000_000_000 else { return nil }
        last = now
        let totals = sampler.measuredTotals()
        if let most = limits.joules, totals.joules > most {
            return JobFailure(
                code: "limit_exceeded", message: "The job used more than its \(most) joules.",
                pointer: "/limits/max_joules")
        }
        if let most = limits.seconds, totals.wallSeconds > most {
            return JobFailure(
                code: "limit_exceeded", message: "The job ran longer than its \(most) seconds.",
                pointer: "/limits/max_seconds")
        }
        return nil
    }
}

extension JobSettings.Limits {
    /// Refuses what lies in a job's folder and that of its model where it is more than the job may keep.
    ///
    /// - Parameters:
    ///   - places: The folders, relative.
    ///   - folder: Where they lie.
    /// - Throws: `JobFailure` with `limit_exceeded`, or `io` where they cannot be read.
    func checkDisk(_ places: [String], in folder: DataFolder) throws(JobFailure) {
        guard let most = diskBytes else { return }
        var found = 0
        for place in places {
            do throws(FileError) { found += try Folder.byteCount(of: folder.absolute(place)) } catch {
                throw JobFailure(error, "The job's files could not be counted.")
            }
        }
        guard found > most else { return }
        throw JobFailure(
            code: "limit_exceeded", message: "The job keeps \(found) bytes on disk, more than its \(most).",
            pointer: "/limits/max_disk_bytes")
    }
}

extension JobSignal {
    /// What a running job makes of it.
    var stopReason: StopReason? {
        switch self {
        case .none: nil
        case .drain: .drain
        case .pause: .pause
        case .cancel: .cancel
        }
    }
}
