import API
import HTTP
import Logging
import Synchronization

/// The least that is logged; may change while the process runs.
final class LogSwitch: LogLevelControl {
    private let current: Mutex<LogLevel>
    /// Where a second signal goes back to.
    private let initial: LogLevel

    init(_ level: LogLevel) {
        initial = level
        current = Mutex(level)
    }

    var level: LogLevel { current.withLock { $0 } }

    func set(_ level: LogLevel) { current.withLock { $0 = level } }

    /// Goes to `debug`, or back to where the process began.
    func toggle() {
        current.withLock { level in
            level = level == .debug ? (initial == .debug ? .info : initial) : .debug
        }
    }
}
