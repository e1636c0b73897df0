import Glibc

/// The signals that ask the process to end, taken by one thread instead of interrupting any.
enum Signals {
    private static let awaited = [SIGTERM, SIGINT, SIGHUP]

    private static var set: sigset_t {
        var set = sigset_t()
        unsafe sigemptyset(&set)
        for signal in awaited { unsafe sigaddset(&set, signal) }
        return set
    }

    /// Blocks them on the calling thread and all it starts; call before any thread is made.
    static func block() {
        var set = set
        unsafe sigaddset(&set, SIGPIPE)
        unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
    }

    /// Waits for the next one.
    static func wait() -> Int32 {
        var set = set
        var signal: Int32 = 0
        while unsafe sigwait(&set, &signal) != 0 {}
        return signal
    }
}
