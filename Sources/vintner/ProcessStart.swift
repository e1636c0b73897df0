import Files
import Glibc

/// When this process started.
enum ProcessStart {
    /// On the clock that goes on while the machine sleeps, in nanoseconds; to a hundredth of a second.
    static var monotonicNanoseconds: UInt64? {
        guard let bytes = try? readFile("/proc/self/stat", limit: 4096) else { return nil }
        let text = String(decoding: bytes, as: UTF8.self)
        // The command's name may hold spaces; the fields behind its bracket do not. Start time is field 22.
        guard let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 19, let ticks = UInt64(fields[19]) else { return nil }
        return ticks * (1_000_000_000 / UInt64(max(sysconf(Int32(_SC_CLK_TCK)), 1)))
    }
}
