import JSON
import Testing

@testable import vintner

@Suite("The time of the next checkpoint") struct CheckpointPacingTests {
    private static func nanoseconds(_ seconds: Double) -> UInt64 { UInt64(seconds * 1e9) }

    /// Trains for ten hours with checkpoints that take so long: the part of the time that went into them,
    /// behind the first.
    private static func share(_ wish: Automatic<Double>, writing: Double) -> Double {
        var now = 1_000.0
        var pacing = CheckpointPacing(wish, now: nanoseconds(now))
        var (written, first) = (0.0, 0.0)
        while now < 1_000 + 36_000 {
            now += 0.25
            guard pacing.isDue(nanoseconds(now)) else { continue }
            pacing.wrote(from: nanoseconds(now), to: nanoseconds(now + writing))
            now += writing
            if first == 0 { first = now } else { written += writing }
        }
        return written / (now - first)
    }

    @Test("is half a minute away where writing takes next to nothing")
    func quick() {
        let pacing = CheckpointPacing(.automatic, now: Self.nanoseconds(5))
        #expect(!pacing.isDue(Self.nanoseconds(34.9)) && pacing.isDue(Self.nanoseconds(35.1)))
        #expect(abs(Self.share(.automatic, writing: 0.03) - 0.001) < 0.0001)
    }

    @Test("is so far away that writing takes 3.5 % of the time at the most", arguments: [1.1, 4.64, 30, 110])
    func slow(writing: Double) {
        let share = Self.share(.automatic, writing: writing)
        #expect(share <= 0.035 && share > 0.03)
    }

    @Test("never is more than an hour away, and follows a disk that gets faster")
    func bounds() {
        var pacing = CheckpointPacing(.automatic, now: 0)
        pacing.wrote(from: 0, to: Self.nanoseconds(500))
        #expect(pacing.interval == 3_600)
        pacing.wrote(from: Self.nanoseconds(4_100), to: Self.nanoseconds(4_101))
        #expect(pacing.interval == 30)
    }

    @Test("is what was asked for, whatever it costs")
    func asked() {
        #expect(abs(Self.share(.value(10), writing: 10) - 0.5) < 0.02)
    }
}
