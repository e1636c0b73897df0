import Synchronization

/// The memory that bodies take until they are answered, all of them together.
final class BodyRoom: Sendable {
    /// A body up to this length always finds room, however many long ones there are.
    static let shortByteCount = 64 << 10

    private let byteCountMax: Int
    private let taken = Atomic(0)

    init(byteCountMax: Int) { self.byteCountMax = byteCountMax }

    /// Takes room for more of a body, `total` bytes of which are there then.
    ///
    /// - Returns: Whether there was any; else nothing is taken.
    func take(_ byteCount: Int, total: Int) -> Bool {
        let now = taken.add(byteCount, ordering: .relaxed).newValue
        if now <= byteCountMax || total <= Self.shortByteCount { return true }
        give(byteCount)
        return false
    }

    /// Bytes that are taken now.
    var byteCount: Int { taken.load(ordering: .relaxed) }

    /// Gives room back.
    func give(_ byteCount: Int) { taken.subtract(byteCount, ordering: .relaxed) }
}
