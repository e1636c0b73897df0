import Glibc

/// Why a file, folder or compressed stream could not be used.
public enum FileError: Error, Equatable, CustomStringConvertible {
    /// The kernel refused; `errno` is its code and `action` what we were doing, as in "open".
    case system(action: String, path: String, errno: Int32)
    /// There is more to read than the caller allows.
    case tooLarge(path: String, limit: Int)
    /// Another process holds the lock.
    case locked(path: String)
    /// The bytes are not what the format says; `reason` names the first fault.
    case corrupt(path: String, reason: String)

    /// What was attempted, on what, and what came instead.
    public var description: String {
        switch self {
        case .system(let action, let path, let code):
            let text = unsafe String(cString: strerror(code))
            return "Could not \(action) \(path): \(text) (errno \(code))."
        case .tooLarge(let path, let limit): return "\(path) holds more than the \(limit) bytes allowed."
        case .locked(let path): return "\(path) is locked by another process."
        case .corrupt(let path, let reason): return "\(path) is corrupt: \(reason)."
        }
    }

    /// The kernel's code when the kernel refused, as in `ENOSPC`; otherwise `nil`.
    public var errnoCode: Int32? {
        if case .system(_, _, let code) = self { code } else { nil }
    }

    /// Whether no such file or folder was the cause.
    public var isMissing: Bool { errnoCode == ENOENT || errnoCode == ENOTDIR }

    /// Whether a full disk or a used-up quota was the cause.
    public var isDiskFull: Bool { errnoCode == ENOSPC || errnoCode == EDQUOT }
}
