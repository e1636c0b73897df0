/// What the header of a NumPy file says: a literal of Python, of which only what NumPy writes is read.
struct NPYHeader {
    let descriptor: String
    let shape: [Int]

    /// Reads the text.
    ///
    /// - Throws: `DataError.malformed` for anything but the three members, for elements that are records, and
    ///   for arrays in Fortran's order.
    init(_ text: String, of path: String) throws(DataError) {
        var literal = Literal(text)
        guard let members = literal.dictionary() else {
            throw .malformed(
                file: path, expected: "a header with 'descr', 'fortran_order' and 'shape'",
                found: "\"\(text.prefix(64))\"")
        }
        guard case .text(let descriptor)? = members["descr"] else {
            throw .malformed(
                file: path, expected: "elements of one plain type", found: "a record or no 'descr'")
        }
        guard case .truth(let isFortran)? = members["fortran_order"],
            case .numbers(let shape)? = members["shape"],
            members.count == 3
        else {
            throw .malformed(
                file: path, expected: "a header with 'descr', 'fortran_order' and 'shape'",
                found: "\(members.keys.sorted())")
        }
        guard !isFortran || shape.count < 2 else {
            throw .malformed(
                file: path, expected: "an array in C's order (numpy.ascontiguousarray makes one)",
                found: "Fortran's order")
        }
        (self.descriptor, self.shape) = (descriptor, shape)
    }

    private enum Value {
        case text(String)
        case truth(Bool)
        case numbers([Int])
    }

    /// Reads a dictionary of Python from left to right.
    private struct Literal {
        private var rest: Substring.UnicodeScalarView

        init(_ text: String) { rest = Substring(text).unicodeScalars }

        mutating func dictionary() -> [String: Value]? {
            guard take("{") else { return nil }
            var members: [String: Value] = [:]
            while !take("}") {
                guard let key = text(), take(":"), let value = value(), members[key] == nil else {
                    return nil
                }
                members[key] = value
                guard take(",") || rest.first == "}" else { return nil }
            }
            skipBlanks()
            return rest.isEmpty ? members : nil
        }

        private mutating func value() -> Value? {
            skipBlanks()
            switch rest.first {
            case "'", "\"": return text().map { .text($0) }
            case "(": return numbers().map { .numbers($0) }
            default:
                if take("True") { return .truth(true) }
                return take("False") ? .truth(false) : nil
            }
        }

        private mutating func text() -> String? {
            skipBlanks()
            guard let quote = rest.first, quote == "'" || quote == "\"" else { return nil }
            rest.removeFirst()
            guard let end = rest.firstIndex(of: quote) else { return nil }
            let text = String(rest[..<end])
            rest = rest[rest.index(after: end)...]
            return text.contains("\\") ? nil : text
        }

        private mutating func numbers() -> [Int]? {
            guard take("(") else { return nil }
            var numbers: [Int] = []
            while !take(")") {
                skipBlanks()
                let digits = rest.prefix { ("0"..."9").contains($0) }
                guard let number = Int(String(digits)), numbers.count < 64 else { return nil }
                rest = rest[digits.endIndex...]
                // Python 2 wrote long numbers so.
                _ = take("L")
                numbers.append(number)
                skipBlanks()
                guard take(",") || rest.first == ")" else { return nil }
            }
            return numbers
        }

        /// Passes over a word, and blanks in front of it; whether it was there.
        private mutating func take(_ word: String) -> Bool {
            skipBlanks()
            guard rest.starts(with: word.unicodeScalars) else { return false }
            rest.removeFirst(word.unicodeScalars.count)
            return true
        }

        private mutating func skipBlanks() {
            rest = rest.drop { $0 == " " || $0 == "\n" }
        }
    }
}
