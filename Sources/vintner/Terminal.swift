import Glibc

/// Where commands write; the one file that names the standard streams.
enum Terminal {
    /// Writes a line to standard output, at once.
    static func say(_ line: String) { write(line + "\n", to: STDOUT_FILENO) }

    /// Writes text to standard output without ending the line.
    static func show(_ text: String) { write(text, to: STDOUT_FILENO) }

    /// Writes a line to standard error.
    static func complain(_ line: String) { write(line + "\n", to: STDERR_FILENO) }

    /// Whether a person looks at standard output.
    static var isInteractive: Bool { isatty(STDOUT_FILENO) == 1 }

    private static func write(_ text: String, to descriptor: Int32) {
        var rest = ArraySlice(text.utf8)
        while !rest.isEmpty {
            let written = unsafe rest.withUnsafeBytes {
                unsafe Glibc.write(descriptor, $0.baseAddress, $0.count)
            }
            if written < 0, errno == EINTR { continue }
            // A closed terminal or pipe takes no more: nothing is left to do for the text.
            guard written > 0 else { return }
            rest = rest.dropFirst(written)
        }
    }
}
