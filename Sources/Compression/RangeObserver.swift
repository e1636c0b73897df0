internal import Glibc

/// How the range of an activation follows from samples.
public enum RangeRule: Sendable, Hashable {
    /// From the least value to the greatest.
    case minmax
    /// The bounds of each batch, averaged: bound += constant * (bound of the batch - bound).
    case movingAverage(constant: Double)
    /// What this percentage of the values lies below, and as much above.
    case percentile(Double)
    /// The cut that loses the least information, by the Kullback-Leibler divergence (Migacz, 2017).
    case divergence

    /// Whether the distribution of the values has to be known.
    public var needsHistogram: Bool {
        switch self {
        case .minmax, .movingAverage: false
        case .percentile, .divergence: true
        }
    }
}

/// Finds the range that a scale has to cover, from what passes by.
public struct RangeObserver: Sendable {
    /// Bins of a histogram: eight for each code.
    public static let binCount = 2048

    private let rule: RangeRule
    /// The least and the greatest value so far; nil before the first batch.
    public private(set) var extremes: (low: Float, high: Float)?
    private var averages: (low: Double, high: Double)?
    /// Counts of equal bins between the extremes, once these are known; added to by the caller.
    public var histogram: [UInt64] = []

    /// Starts with nothing.
    public init(_ rule: RangeRule) { self.rule = rule }

    /// Takes note of a batch's bounds.
    public mutating func add(low: Float, high: Float) {
        let known = extremes ?? (low, high)
        extremes = (min(known.low, low), max(known.high, high))
        guard case .movingAverage(let constant) = rule else { return }
        let (low, high) = (Double(low), Double(high))
        let before = averages ?? (low, high)
        averages = (
            before.low + constant * (low - before.low), before.high + constant * (high - before.high)
        )
    }

    /// The range; nil before anything came by.
    public var range: (low: Float, high: Float)? {
        guard let extremes else { return nil }
        switch rule {
        case .minmax: return extremes
        case .movingAverage: return averages.map { (Float($0.low), Float($0.high)) }
        case .percentile(let percentile): return between(percentile, extremes)
        case .divergence: return leastLoss(extremes)
        }
    }

    /// Whether the bins are there and mean anything.
    private func hasHistogram(_ extremes: (low: Float, high: Float)) -> Bool {
        extremes.low < extremes.high && histogram.count == Self.binCount
    }

    /// What `percentile` of 100 values lie below, and above; values are taken as evenly spread in a bin.
    private func between(
        _ percentile: Double, _ extremes: (low: Float, high: Float)
    ) -> (low: Float, high: Float) {
        guard hasHistogram(extremes) else { return extremes }
        let total = histogram.reduce(0) { $0 + Double($1) }
        let width = (Double(extremes.high) - Double(extremes.low)) / Double(Self.binCount)
        func place(of part: Double) -> Double {
            var below = 0.0
            for (bin, count) in histogram.enumerated() where count > 0 {
                if below + Double(count) >= part * total {
                    let inside = max(part * total - below, 0) / Double(count)
                    return Double(extremes.low) + (Double(bin) + inside) * width
                }
                below += Double(count)
            }
            return Double(extremes.high)
        }
        let high = Float(place(of: percentile / 100))
        return (min(Float(place(of: 1 - percentile / 100)), high), high)
    }

    /// The cut of the sizes whose 8-bit histogram is nearest to the whole one.
    ///
    /// A range of one sign has all 256 codes for its sizes, one of both signs 128 for each. For every cut
    /// that leaves at least a bin for each code, P is the histogram up to the cut with all beyond in its last
    /// bin, and Q what the codes make of the part up to the cut: each code's count, spread evenly over those
    /// of its bins that hold anything.
    private func leastLoss(_ extremes: (low: Float, high: Float)) -> (low: Float, high: Float) {
        guard hasHistogram(extremes) else { return extremes }
        let isSigned = extremes.low < 0 && extremes.high > 0
        let codes = isSigned ? 128 : 256
        let sizes = sizes(extremes)
        var best = (loss: Double.infinity, bins: Self.binCount)
        for bins in stride(from: codes, through: Self.binCount, by: codes / 8) {
            let loss = Self.divergence(sizes, cutAt: bins, codes: codes)
            // The first of equal ones would cut off more for nothing.
            if loss <= best.loss { best = (loss, bins) }
        }
        let greatest = max(abs(Double(extremes.low)), abs(Double(extremes.high)))
        let cut = Float(greatest * Double(best.bins) / Double(Self.binCount))
        return (max(extremes.low, -cut), min(extremes.high, cut))
    }

    /// The histogram of sizes from zero to the greatest.
    private func sizes(_ extremes: (low: Float, high: Float)) -> [Double] {
        let (low, high) = (Double(extremes.low), Double(extremes.high))
        let greatest = max(abs(low), abs(high))
        var sizes = [Double](repeating: 0, count: Self.binCount)
        for (bin, count) in histogram.enumerated() where count > 0 {
            let middle = low + (high - low) * (Double(bin) + 0.5) / Double(Self.binCount)
            let place = Int(abs(middle) / greatest * Double(Self.binCount))
            sizes[min(place, Self.binCount - 1)] += Double(count)
        }
        // Zero has a code of its own: a ReLU's zeros lose nothing by any cut.
        sizes[0] = sizes[1]
        return sizes
    }

    /// The divergence of a cut histogram from the whole one; infinite where nothing is left.
    static func divergence(_ sizes: [Double], cutAt bins: Int, codes: Int) -> Double {
        let beyond = sizes[bins...].reduce(0, +)
        let inside = sizes[..<bins].reduce(0, +)
        guard inside > 0 else { return .infinity }
        var loss = 0.0
        for code in 0..<codes {
            let part = (bins * code / codes)..<(bins * (code + 1) / codes)
            let held = sizes[part].reduce(0, +)
            let filled = sizes[part].count { $0 > 0 }
            for bin in part {
                var wanted = sizes[bin]
                if bin == bins - 1 { wanted += beyond }
                guard wanted > 0 else { continue }
                // The last bin may hold nothing but what lies beyond: the codes miss it, but do not lose all.
                let spread = sizes[bin] > 0 ? held / Double(filled) / inside : 0
                let (p, q) = (wanted / (inside + beyond), max(spread, 1e-4 / Double(bins)))
                loss += p * log(p / q)
            }
        }
        return loss
    }
}
