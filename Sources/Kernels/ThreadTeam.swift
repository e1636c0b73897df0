internal import CKernels

/// The threads that compute for the calling thread: libgomp's, shared by oneDNN and our kernels.
public enum ThreadTeam {
    /// Sets the calling thread's number of threads; call it before any primitive is made.
    public static func use(_ threads: Int) { ck_team_use(Int32(clamping: max(threads, 1))) }

    /// Ends the threads of the calling thread's team; what computes next starts others.
    ///
    /// Call it when work is done: as long as all teams together have more threads than the machine has cores,
    /// libgomp lets none of them spin at barriers, where they sleep and wake instead. Idle teams count.
    public static func release() { ck_team_release() }

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
