import Foundation

/// A thread of our own with a stack as deep as the main thread's.
enum WorkerThread {
    /// Parsers and planners recurse; the system's default for further threads may be far smaller.
    static let stackByteCount = 8 << 20

    /// Runs `body` on a new thread.
    static func start(_ name: String, _ body: @escaping @Sendable () -> Void) {
        let thread = Thread(block: body)
        thread.name = name
        thread.stackSize = stackByteCount
        thread.start()
    }
}
