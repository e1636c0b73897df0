import Glibc
import Threads

/// Runs `body` on a thread of its own, which ends with it.
func startThread(_ body: @escaping @Sendable () -> Void) {
    do { try BackgroundThread.start(body) } catch {
        preconditionFailure("the system has no thread left (errno \(error.errno))")
    }
}

/// Runs `body` on a thread that gives way to others, as all threads do that are started meanwhile.
///
/// Linux knows a niceness of each thread, and lets nobody take it back: the caller's stays as it is.
func givingWay<Value: Sendable>(niceness: Int, _ body: @escaping @Sendable () -> Value) -> Value {
    guard niceness > 0 else { return body() }
    let made = Monitor<Value?>(nil)
    startThread {
        // 0 is the thread that asks; a system that refuses leaves it as urgent as the others.
        _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, Int32(clamping: niceness))
        let value = body()
        made.update { $0 = value }
    }
    return made.wait { $0 }.value
}
