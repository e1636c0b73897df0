import Graph
import JSON
import Tensor
import TestSupport
import Testing

/// nanoGPT's weights and batches as `Drawn` of `make_nanogpt_curve.py` draws them: the same numbers, so that
/// no file has to hold them.
struct DrawnGPT {
    /// By name.
    let parameters: [String: [Float]]
    /// Windows of all steps, one behind the other; a window's last token is a target only.
    let tokens: [UInt8]

    init(_ fixture: Fixture, _ graph: Graph) throws {
        let drawing = try #require(fixture.cases["curve"]?["parameters"]?.arrayValue)
        let shapes = Dictionary(uniqueKeysWithValues: graph.parameters.map { ($0.name, $0.shape) })
        var parameters: [String: [Float]] = [:]
        for (stream, entry) in drawing.enumerated() {
            let name = try #require(entry.arrayValue?[0].stringValue)
            let count = try #require(shapes[name]?.elementCount)
            parameters[name] =
                entry.arrayValue?[1].doubleValue.map { Self.weights(UInt32(stream), count, $0) }
                ?? [Float](repeating: 1, count: count)
        }
        self.parameters = parameters
        let (text, context) = (Self.text(), graph.inputShape.elementCount)
        let batch = Int(fixture.number("curve", "batch"))
        let starts = Self.bits(1002, try fixture.doubles("rates").count * batch)
        tokens = starts.flatMap { text[(Int($0) % (text.count - context))...].prefix(context + 1) }
    }

    private static func bits(_ stream: UInt32, _ count: Int) -> [UInt32] {
        var random = CounterRandom(seed: 1337, purpose: .test, epoch: stream)
        return (0..<count).map { _ in random.next() }
    }

    /// Sums of four bytes, near enough to a normal distribution.
    private static func weights(_ stream: UInt32, _ count: Int, _ deviation: Double) -> [Float] {
        bits(stream, count).map { bits in
            let sum = (bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + bits >> 24
            return Float((Double(sum) - 510) * (deviation / 148))
        }
    }

    /// 20,000 words out of 256, the first ones more often; so are the letters 1 to 64 of a word.
    ///
    /// 0 is a blank.
    private static func text() -> [UInt8] {
        let drawn = bits(1000, 256 * 10)
        let words = (0..<256).map { word in
            let letters = drawn[(word * 10 + 1)...].prefix(2 + Int(drawn[word * 10] & 7))
            return letters.map { UInt8(1 + min($0 & 63, $0 >> 6 & 63)) } + [0]
        }
        return bits(1001, 20_000).flatMap { words[Int(min($0 & 255, $0 >> 8 & 255))] }
    }
}
