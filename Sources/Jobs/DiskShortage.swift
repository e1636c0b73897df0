import JSON
import Threads

/// Less room on the disk than there should be before new work begins.
public struct DiskShortage: Sendable, Equatable, CustomStringConvertible {
    /// Bytes that can still be written.
    public let free: Int
    /// Bytes below which no work begins.
    public let least: Int

    /// Says what there is and what there should be.
    public init(free: Int, least: Int) { (self.free, self.least) = (free, least) }

    /// The same as a sentence.
    public var description: String { "The disk has \(free) bytes left; new work begins from \(least) on." }
}

extension JobFailure {
    /// No room on the disk: no fault of the job's, which goes on when there is some.
    public static let diskFull = JobFailure(
        code: "disk_full", message: "There is no room left on the disk.", isRetryable: true)
}

extension RunRecorder {
    /// How long to wait before looking again whether there is room.
    static let roomMilliseconds: UInt64 = 1_000

    func awaitRoom() -> Bool {
        let ring = emptied.ring
        if holdUp() {
            event(.warning, "disk_full", "There is no room left on the disk; the job waits for some.", .null)
        }
        time.wait(
            for: emptied, after: ring, until: time.monotonicNanoseconds() + Self.roomMilliseconds * 1_000_000)
        switch control.signal {
        case .none, .pause: return true
        case .drain, .cancel: return false
        }
    }
}
