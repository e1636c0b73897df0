import Glibc

/// The signals that ask the process for something, mostly to end, taken by one thread instead of
/// interrupting any.
enum Signals {
    private static let awaited = [SIGTERM, SIGINT, SIGHUP, SIGUSR1]

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

    /// Waits for the next one; SIGUSR1 ends no wait, but is told.
    static func wait(_ onUser: () -> Void = {}) -> Int32 {
        var set = set
        var signal: Int32 = 0
        while true {
            guard unsafe sigwait(&set, &signal) == 0 else { continue }
            guard signal == SIGUSR1 else { return signal }
            onUser()
        }
    }
}
