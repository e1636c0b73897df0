/// How far features are from a teacher's, in plain double-precision loops.
public struct ReferenceFeature: Sendable {
    public enum Kind: Sendable { case squaredError, cosine, attention }

    public var kind: Kind
    /// Places of a sample, and the elements of each.
    public var positions: Int
    public var channels: Int
    public var teacherChannels: Int

    public init(_ kind: Kind, positions: Int, channels: Int, teacherChannels: Int) {
        (self.kind, self.positions, self.channels) = (kind, positions, channels)
        self.teacherChannels = teacherChannels
    }

    /// The mean over the samples, of `[batch, positions, channels]` elements.
    public func value(_ student: [Double], _ teacher: [Double], batch: Int) -> Double {
        let losses = (0..<batch).map { sample in
            self.sample(
                row(student, sample, channels * positions), row(teacher, sample, teacherChannels * positions))
        }
        return losses.reduce(0, +) / Double(batch)
    }

    private func row(_ elements: [Double], _ index: Int, _ count: Int) -> [Double] {
        Array(elements[index * count..<(index + 1) * count])
    }

    private func sample(_ a: [Double], _ b: [Double]) -> Double {
        switch kind {
        case .squaredError: return squaredDistance(a, b) / Double(a.count)
        case .cosine:
            let norms = (product(a, a) + 1e-12) * (product(b, b) + 1e-12)
            return 1 - product(a, b) / norms.squareRoot()
        case .attention:
            return squaredDistance(map(a, channels), map(b, teacherChannels)) / Double(positions)
        }
    }

    /// The mean of squares over the channels, scaled to a length of 1.
    private func map(_ elements: [Double], _ channels: Int) -> [Double] {
        let means = (0..<positions).map { position in
            let line = row(elements, position, channels)
            return product(line, line) / Double(channels)
        }
        let size = max(product(means, means).squareRoot(), 1e-12)
        return means.map { $0 / size }
    }

    private func product(_ a: [Double], _ b: [Double]) -> Double {
        zip(a, b).reduce(0) { $0 + $1.0 * $1.1 }
    }

    private func squaredDistance(_ a: [Double], _ b: [Double]) -> Double {
        zip(a, b).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    }
}
