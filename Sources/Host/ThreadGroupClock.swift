import Glibc

/// The processor time of a group of threads, such as all threads of one job.
///
/// A thread inherits the name of the one that started it, so the helpers that a library starts on a
/// job's behalf carry the name of the job's worker. What a thread used before the clock was made does
/// not count; what it uses after its last sample and before its end is missed.
public struct ThreadGroupClock: Sendable {
    /// Which threads belong to the group.
    public enum Members: Sendable {
        /// Threads with this name (at most 15 bytes, as the kernel keeps it).
        case named(String)
        /// These threads.
        case identified(Set<Int32>)
    }

    private let members: Members
    private let paths: HostPaths
    private var last: [String: UInt64]
    private var total: UInt64 = 0

    /// A clock that shows zero.
    public init(_ members: Members, _ paths: HostPaths = HostPaths()) {
        (self.members, self.paths) = (members, paths)
        last = Self.read(members, paths)
    }

    /// Nanoseconds that the group has used since the clock was made.
    public mutating func nanoseconds() -> UInt64 {
        let now = Self.read(members, paths)
        for (thread, time) in now {
            let before = last[thread] ?? 0
            // Less than before means that another thread got the number of one that ended.
            total &+= time >= before ? time - before : time
        }
        last = now
        return total
    }

    /// The number of the calling thread; `nil` when the kernel does not tell.
    public static func currentThread(_ paths: HostPaths = HostPaths()) -> Int32? {
        paths.text("\(paths.proc)/thread-self/stat")?.split(separator: " ").first.flatMap { Int32($0) }
    }

    /// The name of the calling thread, which the threads it starts inherit.
    public static func currentName(_ paths: HostPaths = HostPaths()) -> String? {
        paths.text("\(paths.proc)/thread-self/comm")
    }

    private static func read(_ members: Members, _ paths: HostPaths) -> [String: UInt64] {
        let folder = "\(paths.proc)/self/task"
        let threads: [String]
        switch members {
        case .identified(let numbers): threads = numbers.map { "\($0)" }
        case .named(let name):
            let kept = String(decoding: name.utf8.prefix(15), as: UTF8.self)
            threads = paths.names(in: folder).filter { paths.text("\(folder)/\($0)/comm") == kept }
        }
        var times: [String: UInt64] = [:]
        for thread in threads { times[thread] = time(of: "\(folder)/\(thread)", paths) }
        return times
    }

    /// The scheduler's own count where it keeps one, else the ticks of the accounting.
    private static func time(of folder: String, _ paths: HostPaths) -> UInt64? {
        if let exact = paths.text("\(folder)/schedstat")?.split(separator: " ").first.flatMap({ UInt64($0) })
        {
            return exact
        }
        guard let stat = paths.text("\(folder)/stat"), let end = stat.lastIndex(of: ")") else { return nil }
        // After the name: field 3 is the state, 14 and 15 are the ticks in user and kernel mode.
        let fields = stat[stat.index(after: end)...].split(separator: " ")
        guard fields.count > 12, let user = UInt64(fields[11]), let kernel = UInt64(fields[12]) else {
            return nil
        }
        let ticksPerSecond = UInt64(max(1, sysconf(Int32(_SC_CLK_TCK))))
        return (user &+ kernel) &* (1_000_000_000 / ticksPerSecond)
    }
}

/// The use of processor time over the interval between two samples.
public struct UsageMeter: Sendable {
    private var clock: ThreadGroupClock
    private var last: (processor: UInt64, wall: UInt64)

    /// Starts the first interval; `now` is on a monotonic clock, in nanoseconds.
    public init(_ clock: ThreadGroupClock, now: UInt64) {
        self.clock = clock
        last = (0, now)
    }

    /// Processor seconds since the meter was made.
    public private(set) var processorSeconds = 0.0

    /// Ends an interval and begins the next.
    ///
    /// - Returns: Share of one core in percent: 200 when two cores were busy. Zero for an empty interval.
    public mutating func sample(now: UInt64) -> Double {
        let processor = clock.nanoseconds()
        processorSeconds = Double(processor) / 1e9
        let (used, passed) = (processor - last.processor, now > last.wall ? now - last.wall : 0)
        last = (processor, now)
        return passed == 0 ? 0 : Double(used) / Double(passed) * 100
    }
}
