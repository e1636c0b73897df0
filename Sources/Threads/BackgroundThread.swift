import Glibc

/// Starts threads that end on their own.
public enum BackgroundThread {
    /// Carries the work across the C boundary.
    private final class Work {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }

    /// Runs `body` on a new detached thread.
    ///
    /// - Parameter body: Keeps alive whatever it captures until it returns.
    /// - Throws: `NoThread` when the system has none left.
    public static func start(_ body: @escaping @Sendable () -> Void) throws(NoThread) {
        let work = unsafe Unmanaged.passRetained(Work(body))
        var thread = pthread_t()
        let status = unsafe pthread_create(
            &thread, nil,
            { context in
                guard let context = unsafe context else { return nil }
                unsafe Unmanaged<Work>.fromOpaque(context).takeRetainedValue().body()
                return nil
            }, work.toOpaque())
        guard status == 0 else {
            unsafe work.release()
            throw NoThread(errno: status)
        }
        _ = pthread_detach(thread)
    }
}

/// The system refused a thread.
public struct NoThread: Error, Sendable {
    /// Why.
    public let errno: Int32
}
