import Glibc
import Kernels

/// Attention in double precision, one head after the other, with every probability at hand.
struct AttentionReference {
    let shape: AttentionShape
    private(set) var output: [Double]
    private(set) var logsumexp: [Double]
    private(set) var gradient: [Double]
    /// Largest scale · Σ|q||k| of a score, and largest Σ|g||v| of a probability's gradient.
    private(set) var scoreSum = 0.0
    private(set) var gradientSum = 0.0
    /// Largest sum over the queries of one key's probabilities, kept ones scaled.
    private(set) var columnSum = 0.0

    /// Tokens before each sample's padding.
    private let lengths: [Int]

    /// `factor(head, query, key)` is what dropout multiplies a probability by.
    init(
        _ shape: AttentionShape, qkv: [Float], outputGradient: [Float], lengths: [Int32]? = nil,
        factor: (Int, Int, Int) -> Double = { _, _, _ in 1 }
    ) {
        self.shape = shape
        self.lengths = (0..<shape.batch).map { sample in
            lengths.map { min(max(Int($0[sample]), 1), shape.tokens) } ?? shape.tokens
        }
        output = [Double](repeating: 0, count: shape.outputCount)
        gradient = [Double](repeating: 0, count: 3 * shape.outputCount)
        logsumexp = [Double](repeating: 0, count: shape.batch * shape.heads * shape.tokens)
        for head in 0..<shape.batch * shape.heads {
            addHead(head, qkv.map(Double.init), outputGradient.map(Double.init)) { factor(head, $0, $1) }
        }
    }

    private mutating func addHead(
        _ head: Int, _ qkv: [Double], _ upstream: [Double], factor: (Int, Int) -> Double
    ) {
        let (tokens, width, depth) = (shape.tokens, shape.width, shape.headWidth)
        let (first, column) = (head / shape.heads * tokens, head % shape.heads * depth)
        let scale = 1 / Double(depth).squareRoot()
        func place(_ token: Int, _ part: Int) -> Int { (first + token) * 3 * width + part * width + column }
        func outputPlace(_ token: Int) -> Int { (first + token) * width + column }
        var columnSums = [Double](repeating: 0, count: tokens)
        for query in 0..<tokens {
            let keys = min(shape.isCausal ? query + 1 : tokens, lengths[head / shape.heads])
            let (q, o) = (place(query, 0), outputPlace(query))
            var scores: [Double] = []
            for key in 0..<keys {
                let k = place(key, 1)
                let terms = (0..<depth).map { qkv[q + $0] * qkv[k + $0] * scale }
                scores.append(terms.reduce(0, +))
                scoreSum = max(scoreSum, terms.reduce(0) { $0 + abs($1) })
            }
            let maximum = scores.max() ?? 0
            let sum = scores.reduce(0) { $0 + exp($1 - maximum) }
            logsumexp[head * tokens + query] = maximum + log(sum)
            let probabilities = scores.map { exp($0 - maximum) / sum }
            var changes: [Double] = []
            for key in 0..<keys {
                let (v, kept) = (place(key, 2), probabilities[key] * factor(query, key))
                columnSums[key] += kept
                var (change, size) = (0.0, 0.0)
                for d in 0..<depth {
                    output[o + d] += kept * qkv[v + d]
                    gradient[v + d] += kept * upstream[o + d]
                    change += upstream[o + d] * qkv[v + d]
                    size += abs(upstream[o + d] * qkv[v + d])
                }
                changes.append(change * factor(query, key))
                gradientSum = max(gradientSum, size * factor(query, key))
            }
            let mean = zip(probabilities, changes).reduce(0) { $0 + $1.0 * $1.1 }
            for key in 0..<keys {
                let (k, change) = (place(key, 1), probabilities[key] * (changes[key] - mean) * scale)
                for d in 0..<depth {
                    gradient[q + d] += change * qkv[k + d]
                    gradient[k + d] += change * qkv[q + d]
                }
            }
        }
        columnSum = max(columnSum, columnSums.max() ?? 0)
    }
}
