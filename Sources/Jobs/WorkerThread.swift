import Foundation
import Threads

/// A thread of our own with a stack as deep as the main thread's.
enum WorkerThread {
    /// Parsers and planners recurse; the system's default for further threads may be far smaller.
    static let stackByteCount = 8 << 20

    /// Runs `body` on a new thread.
    ///
    /// The kernel learns the name too, and hands it on to every thread that this one starts: that is
    /// how the processor time of one job is told from another's.
    static func start(_ name: String, _ body: @escaping @Sendable () -> Void) {
        let isRecorded = Bell()
        let thread = Thread {
            // Foundation tells the kernel only when a thread names itself, and after `start` recorded it.
            isRecorded.wait(after: 0)
            Thread.current.name = name
            body()
        }
        thread.stackSize = stackByteCount
        thread.start()
        isRecorded.strike()
    }
}
