import Tensor

/// Makes texts of the characters that formats stumble over.
struct SeededText {
    private var random: CounterRandom
    private static let characters: [Character] = ["a", "b", ",", "\"", "\n", " ", "é", "€", "😀", "'"]

    init(seed: UInt64) { random = CounterRandom(seed: seed, purpose: .test) }

    /// Up to twenty characters.
    mutating func next() -> String {
        let count = random.below(21)
        return String((0..<count).map { _ in Self.characters[Int(random.below(10))] })
    }
}
