/// A name in which `*` stands for any characters, none included.
struct NamePattern: Hashable, Sendable {
    let text: String

    private static let star = UInt8(ascii: "*")

    init(_ text: String) { self.text = text }

    /// Whether a name is what this describes; linear in both but for the stars.
    func matches(_ name: String) -> Bool {
        let pieces = text.utf8.split(separator: Self.star, omittingEmptySubsequences: false).map(Array.init)
        var rest = Array(name.utf8)[...]
        guard pieces.count > 1, let first = pieces.first, let last = pieces.last else {
            return Array(name.utf8) == Array(text.utf8)
        }
        guard rest.starts(with: first) else { return false }
        rest = rest.dropFirst(first.count)
        guard rest.count >= last.count, rest.suffix(last.count).elementsEqual(last) else { return false }
        rest = rest.dropLast(last.count)
        // The leftmost place of each piece leaves the most to those behind it.
        for piece in pieces.dropFirst().dropLast() where !piece.isEmpty {
            let starts = rest.indices.dropLast(min(piece.count - 1, rest.count))
            guard let place = starts.first(where: { rest[$0...].starts(with: piece) }) else { return false }
            rest = rest[(place + piece.count)...]
        }
        return true
    }
}
