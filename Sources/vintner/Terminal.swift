import Glibc

/// Where commands write; the one file that names the standard streams.
enum Terminal {
    /// Writes a line to standard output, at once.
    static func say(_ line: String) { write(line + "\n", to: STDOUT_FILENO) }

    /// The same for what is shown once; whether it was taken.
    static func handOver(_ line: String) -> Bool { write(line + "\n", to: STDOUT_FILENO) }

    /// Writes text to standard output without ending the line.
    static func show(_ text: String) { write(text, to: STDOUT_FILENO) }

    /// Writes a line to standard error.
    static func complain(_ line: String) { write(line + "\n", to: STDERR_FILENO) }

    /// Whether a person looks at standard output.
    static var isInteractive: Bool { isatty(STDOUT_FILENO) == 1 }

    /// Opens nothing in the place of a standard stream that is closed: the next file would get its number.
    ///
    /// Such a stream takes and gives no more than a closed one.
    static func secure() {
        for number in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO]
        where fcntl(number, F_GETFD) == -1 && errno == EBADF {
            _ = unsafe open("/dev/null", number == STDIN_FILENO ? O_WRONLY : O_RDONLY)
        }
    }

    @discardableResult
    private static func write(_ text: String, to descriptor: Int32) -> Bool {
        var rest = ArraySlice(text.utf8)
        while !rest.isEmpty {
            let written = unsafe rest.withUnsafeBytes {
                unsafe Glibc.write(descriptor, $0.baseAddress, $0.count)
            }
            if written < 0, errno == EINTR { continue }
            // A closed terminal or pipe takes no more: nothing is left to do for the text.
            guard written > 0 else { return false }
            rest = rest.dropFirst(written)
        }
        return true
    }
}
