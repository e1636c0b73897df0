import Jobs
import Testing

@Suite("Thinning a curve") struct CurveThinnerTests {
    private func thin(_ values: [Double], to pointsMax: Int) -> Curve {
        var thinner = CurveThinner(name: "train_loss", count: values.count, pointsMax: pointsMax)
        for (step, value) in values.enumerated() {
            thinner.add(step: step, value: value, at: Timestamp(milliseconds: Int64(step)))
        }
        return thinner.finish()
    }

    @Test("keeps everything that fits")
    func keepsShortCurves() {
        for count in 0...5 {
            let values = (0..<count).map { Double($0) }
            #expect(thin(values, to: 5).values == values)
        }
    }

    @Test("keeps first, last and every extreme, and never more than it may", arguments: 1...40)
    func keepsExtremes(seed: Int) throws {
        var random = Seeded(state: UInt64(seed))
        let count = Int.random(in: 3...3000, using: &random)
        let pointsMax = Int.random(in: 4...600, using: &random)
        var values = (0..<count).map { _ in Double.random(in: 0...1, using: &random) }
        let (spike, dip) = (
            Int.random(in: 0..<count, using: &random), Int.random(in: 0..<count, using: &random)
        )
        values[spike] = 100
        if dip != spike { values[dip] = -100 }
        let curve = thin(values, to: pointsMax)
        #expect(curve.steps.count <= pointsMax)
        #expect(curve.steps.first == 0)
        #expect(curve.steps.last == count - 1)
        #expect(curve.steps == Array(Set(curve.steps)).sorted())
        #expect(curve.steps.map { values[$0] } == curve.values)
        #expect(curve.times.map { Int($0.milliseconds) } == curve.steps)
        #expect(curve.values.contains(100))
        #expect(dip == spike || curve.values.contains(-100))
    }

    @Test(
        "keeps extremes in the order of time, whatever the steps do",
        arguments: [{ _ in 0 }, { -$0 }, { $0 % 3 }] as [@Sendable (Int) -> Int])
    func keepsExtremesOfAnySteps(step: @Sendable (Int) -> Int) {
        let values = [105.5, 121.9, 121.9, 122, 121.9, 90, 104.4]
        var thinner = CurveThinner(name: "rss_bytes", count: values.count, pointsMax: 4)
        for (index, value) in values.enumerated() {
            thinner.add(step: step(index), value: value, at: Timestamp(milliseconds: Int64(index)))
        }
        let curve = thinner.finish()
        #expect(curve.values == [105.5, 122, 90, 104.4])
        #expect(curve.times.map(\.milliseconds) == [0, 3, 5, 6])
        #expect(curve.steps == [0, 3, 5, 6].map(step))
    }

    @Test("keeps a curve's ends when only two points may stay")
    func keepsEnds() {
        #expect(thin([3, 9, 1, 4], to: 2).values == [3, 4])
        #expect(thin([3, 9, 1, 4], to: 3).values == [3, 4])
    }

    @Test("keeps a last value that is not a number, and finite extremes beside others")
    func keepsNotANumber() {
        let values = [1, .nan, 7, .nan, -7, 2, 2, 2, 2, .nan]
        let curve = thin(values, to: 6)
        #expect(curve.values.last?.isNaN == true)
        #expect(curve.values.contains(7))
        #expect(curve.values.contains(-7))
    }
}

/// Random numbers that are the same in every run (SplitMix64).
struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}
