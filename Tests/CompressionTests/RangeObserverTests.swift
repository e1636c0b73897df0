import Compression
import Tensor
import Testing

@Suite("Ranges follow from samples") struct RangeObserverTests {
    private static func observed(_ rule: RangeRule, _ batches: [[Float]]) -> (low: Float, high: Float)? {
        var observer = RangeObserver(rule)
        for batch in batches { observer.add(low: batch.min() ?? 0, high: batch.max() ?? 0) }
        guard rule.needsHistogram, let extremes = observer.extremes else { return observer.range }
        var histogram = [UInt64](repeating: 0, count: RangeObserver.binCount)
        for value in batches.joined() {
            let place = (value - extremes.low) / (extremes.high - extremes.low) * Float(histogram.count)
            histogram[min(Int(place), histogram.count - 1)] += 1
        }
        observer.histogram = histogram
        return observer.range
    }

    @Test("minmax spans everything")
    func minmax() throws {
        let range = try #require(Self.observed(.minmax, [[0, 3], [-2, 1], [0.5, 9]]))
        #expect(range == (-2, 9))
        #expect(RangeObserver(.minmax).range == nil)
    }

    @Test("a moving average begins with the first batch and follows the others slowly")
    func movingAverage() throws {
        let range = try #require(
            Self.observed(.movingAverage(constant: 0.25), [[-1, 4], [-3, 8], [0, 0]]))
        // -1 + (-3 + 1) / 4 = -1.5, then -1.5 + 1.5 / 4 = -1.125; 4 + 1 = 5, then 5 - 5 / 4 = 3.75.
        #expect(range == (-1.125, 3.75))
    }

    @Test("a percentile leaves out as much on either side")
    func percentile() throws {
        // 0, 1, ..., 9999: 1 % lies below 100 and 1 % above 9900; a bin is 4.9 wide.
        let range = try #require(Self.observed(.percentile(99), [(0..<10_000).map { Float($0) }]))
        #expect(abs(range.low - 100) < 5 && abs(range.high - 9900) < 5)
        let all = try #require(Self.observed(.percentile(100), [(0..<10_000).map { Float($0) }]))
        #expect(all == (0, 9999))
    }

    @Test("the divergence keeps an even distribution whole, and cuts off an outlier")
    func divergence() throws {
        let even = (0..<40_960).map { Float($0) / 40_959 }
        let whole = try #require(Self.observed(.divergence, [even]))
        #expect(whole.low == 0 && whole.high == 1)
        // Most values are small, and one lies twenty times as far away as the others reach: codes of the
        // whole range would throw those together that differ most.
        let steep = even.map { $0 * $0 * $0 }
        let cut = try #require(Self.observed(.divergence, [steep + [20]]))
        #expect(cut.low == 0 && cut.high >= 0.9 && cut.high < 4, "\(cut)")
        // Both signs have half the codes each.
        let both = try #require(Self.observed(.divergence, [steep + steep.map { -$0 } + [20]]))
        #expect(both.low == -1 && both.high < 4, "\(both)")
    }

    @Test(
        "a range without extent, or without a histogram, is what it is",
        arguments: [
            RangeRule.minmax, .percentile(99.99), .divergence,
        ])
    func degenerate(rule: RangeRule) {
        var observer = RangeObserver(rule)
        observer.add(low: 2, high: 2)
        #expect(observer.range.map { $0 == (2, 2) } == true)
        observer.histogram = [UInt64](repeating: 0, count: RangeObserver.binCount)
        #expect(observer.range.map { $0 == (2, 2) } == true)
    }
}
