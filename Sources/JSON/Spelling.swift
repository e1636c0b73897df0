/// Guessing which known name a client meant.
public enum Spelling {
    /// Names longer than this are compared by their beginning only.
    private static let comparedCountMax = 64

    /// The known name with the fewest edits to `name`, if it is near enough to be meant.
    ///
    /// - Parameters:
    ///   - name: What the client wrote.
    ///   - known: The names there are.
    /// - Returns: The nearest; `nil` when more than half of its letters would have to change.
    public static func nearest(to name: String, among known: [String]) -> String? {
        let wanted = Array(name.unicodeScalars.prefix(comparedCountMax))
        let ranked = known.map { (name: $0, edits: edits(wanted, Array($0.unicodeScalars))) }
        guard let best = ranked.min(by: { $0.edits < $1.edits }) else { return nil }
        return best.edits * 2 <= max(wanted.count, 2) ? best.name : nil
    }

    /// Says that `name` is not known and what may have been meant.
    ///
    /// - Parameters:
    ///   - kind: What is named: `field`, `query parameter`, `preset`...
    ///   - name: What the client wrote.
    ///   - known: The names there are.
    /// - Returns: One clause for an error's detail.
    public static func complaint(unknown kind: String, _ name: String, among known: [String]) -> String {
        let start = "unknown \(kind) \(JSONValue.string(name).summary)"
        if let nearest = nearest(to: name, among: known) { return "\(start); did you mean \"\(nearest)\"?" }
        return known.isEmpty
            ? "\(start); there are none" : "\(start); known: \(known.joined(separator: ", "))"
    }

    /// Levenshtein's distance, one row at a time.
    private static func edits(_ left: [UnicodeScalar], _ right: [UnicodeScalar]) -> Int {
        var row = Array(0...right.count)
        for (i, leftLetter) in left.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, rightLetter) in right.enumerated() {
                let substitution = diagonal + (leftLetter == rightLetter ? 0 : 1)
                diagonal = row[j + 1]
                row[j + 1] = min(substitution, row[j] + 1, diagonal + 1)
            }
        }
        return row[right.count]
    }
}
