internal import Data
internal import Glibc
internal import Kernels
internal import Plan
internal import Tensor

/// Finding a learning rate by a sweep (Smith, "Cyclical learning rates for training neural networks", 2017).
struct LearningRateFinder {
    /// Rates are tried from the lowest to the highest, each a constant factor above the last.
    static let lowest = 1e-7
    static let highest = 10.0
    static let stepsMax = 100
    /// Weight of the past losses in the smoothed one, and by how much that may exceed its minimum.
    static let memory = 0.98
    static let divergence = 4.0
    /// Points at the beginning that say nothing yet about slopes.
    static let skipped = 10

    private(set) var points: [(rate: Double, loss: Double)] = []
    private var average = 0.0
    private var smallest = Double.infinity

    /// The rate of step `index`.
    static func rate(at index: Int) -> Double {
        lowest * pow(highest / lowest, Double(index) / Double(stepsMax - 1))
    }

    /// Takes note of the loss at a rate; false when going on makes no sense.
    mutating func add(rate: Double, loss: Double) -> Bool {
        guard loss.isFinite else { return false }
        average = Self.memory * average + (1 - Self.memory) * loss
        // The average starts at 0: what it lacks is known.
        let smoothed = average / (1 - pow(Self.memory, Double(points.count + 1)))
        points.append((rate, smoothed))
        smallest = min(smallest, smoothed)
        return points.count <= Self.skipped || smoothed <= Self.divergence * smallest
    }

    /// Where the smoothed loss falls fastest by the rate's logarithm, but at most a tenth of where it is
    /// smallest; nil when it never falls.
    var best: Double? {
        guard points.count > Self.skipped + 2 else { return nil }
        let end = points.indices.min { points[$0].loss < points[$1].loss } ?? 0
        guard end > Self.skipped else { return nil }
        // Rates lie evenly by their logarithm, so differences stand for slopes.
        let steepest = (Self.skipped...end).min { slope($0) < slope($1) } ?? end
        guard slope(steepest) < 0 else { return nil }
        return min(points[steepest].rate, points[end].rate / 10)
    }

    /// Twice the difference to the neighbours' mean position, as `numpy.gradient` has it.
    private func slope(_ index: Int) -> Double {
        let (low, high) = (max(index - 1, 0), min(index + 1, points.count - 1))
        return (points[high].loss - points[low].loss) / Double(high - low)
    }
}

extension Program {
    /// Parameters, statistics, states and averages: everything that training changes.
    private var changing: Slot { Slot(offset: 0, byteCount: store.byteCount) }

    /// A copy of everything that training changes; `restore` brings it back.
    func snapshot() -> [Float] {
        guard let arena else { preconditionFailure("the program has no arena yet") }
        return arena.read(changing, as: Float.self)
    }

    /// Takes back what `snapshot` copied.
    func restore(_ snapshot: [Float]) {
        arena?.write(snapshot, to: changing)
        parametersDidChange()
    }
}

extension Trainer {
    /// Sweeps the learning rate over the first batches, from the present parameters, and brings those back.
    ///
    /// Where no rate makes the loss fall, the optimiser's usual one is taken.
    ///
    /// - Returns: false when the observer asked to stop; the sweep is then repeated later.
    func findLearningRate(_ observer: any TrainingObserver) throws(TrainingError) -> Bool {
        let programs = [program] + (peer.map { [$0.program] } ?? [])
        let snapshots = programs.map { $0.snapshot() }
        defer { for (program, snapshot) in zip(programs, snapshots) { program.restore(snapshot) } }
        var finder = LearningRateFinder()
        var prefetcher = try prefetch(from: BatchPosition())
        for index in 0..<LearningRateFinder.stepsMax {
            if observer.stopReason != nil { return false }
            let rate = LearningRateFinder.rate(at: index)
            let result: LossResult
            if let batch = prefetcher.next() {
                result = try step(batch, number: index, rate: rate).result
            } else {
                // A short run: its batches come again.
                prefetcher = try prefetch(from: BatchPosition())
                guard let batch = prefetcher.next() else { break }
                result = try step(batch, number: index, rate: rate).result
            }
            if !finder.add(rate: rate, loss: result.lossSum / Double(max(result.counted, 1))) { break }
        }
        let found = finder.best ?? task.options.learningRate
        state.foundRate = found
        observer.didFindLearningRate(LearningRateReport(points: finder.points, rate: found))
        return true
    }
}
