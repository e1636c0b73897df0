/// The part of a body that a request asks for (RFC 9110, section 14).
enum ByteRange: Equatable {
    case whole
    case part(Range<Int>)
    /// Nothing of the body lies in what was asked for.
    case unsatisfiable

    /// Reads a `Range` header.
    ///
    /// What is no range of bytes, and several at once, ask for the whole: a server may answer so, and a
    /// client that knows ranges reads the status.
    ///
    /// - Parameters:
    ///   - header: The header.
    ///   - byteCount: Bytes of the whole.
    init(_ header: String, of byteCount: Int) {
        self = .whole
        let halves = header.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard halves.count == 2, halves[0].trimmingSpaces().lowercased() == "bytes" else { return }
        let ends = Substring(halves[1].trimmingSpaces())
            .split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
        guard ends.count == 2 else { return }
        let digits = ends.map { (text: Substring) in Substring(text.trimmingSpaces()) }
        guard digits.allSatisfy({ $0.utf8.allSatisfy { (48...57).contains($0) } }) else { return }
        // What does not fit an integer lies beyond any file.
        let (first, last) = (Int(digits[0]) ?? .max, Int(digits[1]) ?? .max)
        switch (digits[0].isEmpty, digits[1].isEmpty) {
        case (true, true): return
        case (true, false):
            self =
                last == 0 || byteCount == 0
                ? .unsatisfiable : .part(max(0, byteCount - last)..<byteCount)
        case (false, let isOpen):
            guard isOpen || first <= last else { return }
            guard first < byteCount else {
                self = .unsatisfiable
                return
            }
            self = .part(first..<(isOpen ? byteCount : min(last, byteCount - 1) + 1))
        }
    }
}

extension Request {
    /// The part that is asked for of a file with a strong validator.
    ///
    /// Only GET has ranges; with `If-Range`, only of the version that the client has a part of.
    func byteRange(of byteCount: Int, etag: String) -> ByteRange {
        guard method == .get, let header = headers["Range"] else { return .whole }
        if let condition = headers["If-Range"], condition != etag { return .whole }
        return ByteRange(header, of: byteCount)
    }
}
