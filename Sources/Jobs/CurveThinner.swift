/// Keeps so few points of a curve that it can be drawn, and all that would be missed.
///
/// The first and the last point stay, and of each bucket of neighbours the least and the greatest
/// value; so every spike survives. Takes the points one by one and never holds more than it keeps.
/// Not-a-number survives as first or last point and in buckets that hold nothing else.
public struct CurveThinner {
    private struct Point {
        /// How many came before: steps may repeat, and go back after a resume.
        let ordinal: Int
        let step: Int
        let value: Double
        let at: Timestamp
    }

    private let bucketSize: Int
    private let keepsAll: Bool
    private var curve: Curve
    private var bucket: (low: Point, high: Point)?
    private var bucketFill = 0
    private var addedCount = 0
    private var last: Point?

    /// - Parameters:
    ///   - name: The series.
    ///   - count: How many points will come.
    ///   - pointsMax: How many may stay; at least 2.
    public init(name: String, count: Int, pointsMax: Int) {
        precondition(pointsMax >= 2, "a curve needs two points")
        curve = Curve(name: name)
        keepsAll = count <= pointsMax
        let bucketCount = max(1, (pointsMax - 2) / 2)
        // Rounded up, so that the inner points never need more than `bucketCount` buckets.
        bucketSize = pointsMax < 4 ? Int.max : max(1, (max(0, count - 2) + bucketCount - 1) / bucketCount)
    }

    /// Takes the next point, in the order in which they are to be shown.
    public mutating func add(step: Int, value: Double, at time: Timestamp) {
        let point = Point(ordinal: addedCount, step: step, value: value, at: time)
        addedCount += 1
        guard !keepsAll, !curve.steps.isEmpty else { return keep(point) }
        if let inner = last { merge(inner) }
        last = point
    }

    /// The thinned curve.
    public consuming func finish() -> Curve {
        closeBucket()
        if let last { keep(last) }
        return curve
    }

    private mutating func merge(_ point: Point) {
        guard bucketSize != .max else { return }
        if bucketFill == bucketSize { closeBucket() }
        bucketFill += 1
        guard let (low, high) = bucket else {
            bucket = (point, point)
            return
        }
        if point.value < low.value || low.value.isNaN { bucket?.low = point }
        if point.value > high.value || high.value.isNaN { bucket?.high = point }
    }

    private mutating func closeBucket() {
        if let (low, high) = bucket {
            keep(low.ordinal <= high.ordinal ? low : high)
            if low.ordinal != high.ordinal { keep(low.ordinal <= high.ordinal ? high : low) }
        }
        bucket = nil
        bucketFill = 0
    }

    private mutating func keep(_ point: Point) {
        curve.steps.append(point.step)
        curve.values.append(point.value)
        curve.times.append(point.at)
    }
}
