internal import CKernels

/// The threads that compute for the calling thread: libgomp's, shared by oneDNN and our kernels.
public enum ThreadTeam {
    /// Sets the calling thread's number of threads; call it before any primitive is made.
    public static func use(_ threads: Int) { ck_team_use(Int32(clamping: max(threads, 1))) }

    /// Number of threads of the calling thread's team.
    public static var count: Int { Int(ck_team_count()) }

    /// Kernel thread ids of the calling thread's team, the caller first; starts the team.
    public static func threadIDs() -> [Int32] {
        var ids = [Int32](repeating: 0, count: count)
        let filled = unsafe ids.withUnsafeMutableBufferPointer {
            unsafe ck_team_thread_ids($0.baseAddress, Int32(clamping: $0.count))
        }
        return Array(ids.prefix(Int(filled)))
    }
}
