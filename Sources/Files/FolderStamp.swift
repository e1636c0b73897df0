import Glibc

extension Folder {
    /// What tells whether a file was written or replaced, or names in a folder came or went.
    public struct Stamp: Sendable, Equatable {
        private let device: UInt64
        private let inode: UInt64
        private let byteCount: Int64
        private let modifiedNanoseconds: Int64
        /// Set by the kernel alone, also where a program sets the other time back.
        private let changedNanoseconds: Int64

        /// No file system of ours counts its times in longer steps, two of them to be sure.
        private static let settlingNanoseconds: Int64 = 2_000_000_000

        /// Whether every change behind now makes another stamp; one soon behind the last may not.
        public var isSettled: Bool {
            var now = timespec()
            guard unsafe clock_gettime(CLOCK_REALTIME, &now) == 0 else { return false }
            let latest = max(changedNanoseconds, modifiedNanoseconds)
            let (age, overflow) = Self.nanoseconds(now).subtractingReportingOverflow(latest)
            return !overflow && age >= Self.settlingNanoseconds
        }

        fileprivate init(_ status: stat) {
            device = UInt64(status.st_dev)
            inode = UInt64(status.st_ino)
            byteCount = Int64(status.st_size)
            modifiedNanoseconds = Self.nanoseconds(status.st_mtim)
            changedNanoseconds = Self.nanoseconds(status.st_ctim)
        }

        private static func nanoseconds(_ time: timespec) -> Int64 {
            let (seconds, overflow) = Int64(time.tv_sec).multipliedReportingOverflow(by: 1_000_000_000)
            return overflow ? .max : seconds.addingReportingOverflow(Int64(time.tv_nsec)).partialValue
        }
    }

    /// The stamp of what a name stands for, behind links; nil when there is nothing.
    public static func stamp(of path: String) -> Stamp? {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return nil }
        return Stamp(status)
    }
}
