import Glibc
import Graph
import Tensor

extension ReferenceModel {
    static func activation(_ kind: Operation.Activation, _ x: Double) -> Double {
        switch kind {
        // Comparisons let NaN through, as PyTorch's do.
        case .relu: x < 0 ? 0 : x
        case .relu6: x < 0 ? 0 : x > 6 ? 6 : x
        case .leakyReLU(let slope): x < 0 ? slope * x : x
        case .gelu(tanh: false): x * (1 + erf(x / 2.0.squareRoot())) / 2
        case .gelu(tanh: true):
            x * (1 + Glibc.tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x))) / 2
        case .silu: x / (1 + exp(-x))
        case .sigmoid: 1 / (1 + exp(-x))
        case .tanh: Glibc.tanh(x)
        case .hardSwish: x <= -3 ? 0 : x >= 3 ? x : x * (x + 3) / 6
        }
    }

    static func softmax(_ line: [Double]) -> [Double] {
        let maximum = line.max() ?? 0
        let powers = line.map { exp($0 - maximum) }
        let sum = powers.reduce(0, +)
        return powers.map { $0 / sum }
    }

    func softmax(_ node: Graph.Node, _ x: [Double], _ batch: Int) -> [Double] {
        innermost(node.inputs[0], batch).mapLines(x, Self.softmax)
    }

    func embedding(_ node: Graph.Node, _ tokens: [Double]) -> [Double] {
        let table = parameter(.embedding, of: node) ?? parameter(.weight, of: node) ?? []
        let width = graph[node.output].channels
        return tokens.flatMap { token in table[(Int(token) * width)..<((Int(token) + 1) * width)] }
    }

    func lengths(_ padding: Int, _ node: Graph.Node, _ x: [Double]) -> [Double] {
        let tokens = graph[node.inputs[0]].shape.elementCount
        return stride(from: 0, to: x.count, by: tokens).map { begin in
            let last = x[begin..<(begin + tokens)].lastIndex { Int($0) != padding }
            return Double(max(1, (last ?? begin) - begin + 1))
        }
    }

    func positions(_ node: Graph.Node, _ x: [Double]) -> [Double] {
        let table = parameter(.embedding, of: node) ?? []
        return x.enumerated().map { index, value in value + table[index % table.count] }
    }

    func prependToken(_ node: Graph.Node, _ x: [Double], _ batch: Int) -> [Double] {
        let token = parameter(.embedding, of: node) ?? []
        let count = x.count / batch
        return (0..<batch).flatMap { token + x[($0 * count)..<(($0 + 1) * count)] }
    }

    func selectToken(_ index: Int, _ node: Graph.Node, _ x: [Double], _ batch: Int) -> [Double] {
        let width = graph[node.inputs[0]].shape[1]
        let count = x.count / batch
        return (0..<batch).flatMap { sample -> ArraySlice<Double> in
            let begin = sample * count + index * width
            return x[begin..<(begin + width)]
        }
    }

    /// Elements i and i + d/2 of a head of width d turn by the angle t · base^(-2i/d) at place t.
    func rotary(_ heads: Int, _ base: Double, _ node: Graph.Node, _ x: [Double], _ batch: Int) -> [Double] {
        let shape = graph[node.inputs[0]].shape
        let (tokens, width) = (shape[0], shape[1] / 3)
        let headWidth = width / heads
        let half = headWidth / 2
        var y = x
        for row in 0..<(batch * tokens) {
            for head in 0..<(2 * heads) {  // those of the queries, then those of the keys
                for i in 0..<half {
                    let angle = Double(row % tokens) * pow(base, -2 * Double(i) / Double(headWidth))
                    let first = row * 3 * width + head * headWidth + i
                    let (a, b) = (x[first], x[first + half])
                    y[first] = a * cos(angle) - b * sin(angle)
                    y[first + half] = b * cos(angle) + a * sin(angle)
                }
            }
        }
        return y
    }

    func attention(
        _ attention: Operation.Attention, _ node: Graph.Node, _ x: [Double], lengths: [Double]?, _ batch: Int
    ) -> [Double] {
        let shape = graph[node.inputs[0]].shape
        let (tokens, width) = (shape[0], shape[1] / 3)
        let headWidth = width / attention.heads
        var y = [Double](repeating: 0, count: batch * tokens * width)
        for n in 0..<batch {
            for head in 0..<attention.heads {
                /// Where a token's part of the fused projection begins: 0 query, 1 key, 2 value.
                func begin(_ token: Int, _ part: Int) -> Int {
                    ((n * tokens + token) * 3 + part) * width + head * headWidth
                }
                for token in 0..<tokens {
                    let seen = min(
                        attention.isCausal ? token + 1 : tokens, lengths.map { Int($0[n]) } ?? tokens)
                    let scores = (0..<seen).map { other in
                        var sum = 0.0
                        for e in 0..<headWidth { sum += x[begin(token, 0) + e] * x[begin(other, 1) + e] }
                        return sum / Double(headWidth).squareRoot()
                    }
                    let output = (n * tokens + token) * width + head * headWidth
                    for (other, share) in Self.softmax(scores).enumerated() {
                        for e in 0..<headWidth { y[output + e] += share * x[begin(other, 2) + e] }
                    }
                }
            }
        }
        return y
    }
}
