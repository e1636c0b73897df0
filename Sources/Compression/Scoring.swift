internal import Tensor

/// How elements' numbers become scores: the lower, the sooner a piece goes.
///
/// The numbers are the weights themselves for `magnitude`; for `snip` the products gradient · weight of one
/// batch, for `taylor` their mean over steps, for `movement` the sum of -gradient · weight over steps.
struct Scoring: Sendable {
    let criterion: PruneOptions.Criterion
    let norm: PruneOptions.Norm

    init(_ options: PruneOptions) { (criterion, norm) = (options.criterion, options.norm) }

    /// What an element adds to its piece.
    func term(_ number: Float) -> Double {
        let number = Double(number)
        return switch criterion {
        case .magnitude: norm == .l1 ? abs(number) : number * number
        case .snip, .bnScale: abs(number)
        case .taylor, .movement, .random: number
        }
    }

    /// The score of elements' terms, as a mean over them.
    func score(sum: Double, count: Int) -> Float {
        let mean = sum / Double(max(count, 1))
        return switch criterion {
        case .magnitude: Float(norm == .l1 ? mean : mean.squareRoot())
        case .taylor: Float(abs(mean))
        case .snip, .bnScale, .movement, .random: Float(mean)
        }
    }

    /// The score of one element.
    func score(of number: Float) -> Float {
        switch criterion {
        case .magnitude, .snip, .bnScale, .taylor: abs(number)
        case .movement, .random: number
        }
    }

    /// Uniform numbers that depend on a seed and a name alone, so that every update draws the same ones.
    static func random(_ count: Int, seed: UInt64, name: String) -> [Float] {
        // FNV-1a.
        let hash = name.utf8.reduce(UInt32(0x811C_9DC5)) { ($0 ^ UInt32($1)) &* 0x0100_0193 }
        var random = CounterRandom(seed: seed, purpose: randomPurpose, epoch: hash)
        return (0..<count).map { _ in random.uniform() }
    }

    /// Apart from the purposes of training, which count up from 1.
    private static let randomPurpose: UInt32 = 0x70
}
