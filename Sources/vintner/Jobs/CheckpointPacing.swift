import JSON

/// When a training's next checkpoint is due.
///
/// Left to itself, the interval follows what writing one takes, so that it costs a bounded part of the time
/// however large the model and slow the disk (the goal of CheckFreq, Mohan et al., FAST 2021, which
/// chooses the steps in between by profiling).
struct CheckpointPacing {
    /// Seconds between checkpoints where writing them takes next to nothing, and at the most.
    static let seconds = 30.0...3600.0
    /// Part of the time that checkpoints may take.
    static let share = 0.035

    private let wish: Automatic<Double>
    /// When the last one was complete, on the monotonic clock.
    private var last: UInt64
    /// What the last one took.
    private var writing = 0.0

    init(_ wish: Automatic<Double>, now: UInt64) { (self.wish, last) = (wish, now) }

    /// Seconds from one checkpoint to the next.
    var interval: Double {
        wish.resolved(
            min(max(writing * (1 / Self.share - 1), Self.seconds.lowerBound), Self.seconds.upperBound))
    }

    func isDue(_ now: UInt64) -> Bool { Double(now - last) * 1e-9 >= interval }

    /// Takes note of a checkpoint that was begun and completed at these times.
    mutating func wrote(from begin: UInt64, to end: UInt64) {
        (last, writing) = (end, Double(end - begin) * 1e-9)
    }
}
