import Foundation
import Tensor
import Testing
import Training

@Suite("Tokens are drawn as often as the softmax says") struct SamplerTests {
    /// Seeded logits of about the spread that models have.
    private static func logits(_ count: Int, seed: UInt64 = 3) -> [Float] {
        var random = CounterRandom(seed: seed, purpose: .test)
        return (0..<count).map { _ in 8 * random.uniform() - 4 }
    }

    /// The definition, one term after the other.
    private static func oracle(_ logits: [Float], _ temperature: Double, _ topK: Int?) -> [Double] {
        let kept = logits.indices.sorted { (-logits[$0], $0) < (-logits[$1], $1) }.prefix(
            topK ?? logits.count)
        let weights = logits.indices.map { kept.contains($0) ? exp(Double(logits[$0]) / temperature) : 0 }
        let total = weights.reduce(0, +)
        return weights.map { $0 / total }
    }

    @Test(
        "probabilities are the softmax over the temperature among the top k",
        arguments: [0.3, 1, 2.5], [nil, 1, 4, 37])
    func probabilities(temperature: Double, topK: Int?) throws {
        let logits = Self.logits(37)
        let sampler = Sampler(temperature: temperature, topK: topK)
        let found = try #require(sampler.probabilities(logits))
        for (found, expected) in zip(found, Self.oracle(logits, temperature, topK)) {
            // Exponents up to 4 / 0.3 in size, of which each rounding counts as often: 27 + a few ulp.
            #expect(abs(found - expected) <= 64 * 0x1p-53 * expected)
        }
    }

    @Test("counts of draws agree with the probabilities", arguments: [(1.0, nil), (0.7, 5), (2.0, 12)])
    func counts(temperature: Double, topK: Int?) throws {
        let logits = Self.logits(20)
        let expected = Self.oracle(logits, temperature, topK)
        var sampler = Sampler(temperature: temperature, topK: topK, seed: 11)
        let draws = 40_000
        var counts = [Int](repeating: 0, count: logits.count)
        for _ in 0..<draws {
            let token = sampler.next(logits)
            counts[try #require(token)] += 1
        }
        var (square, freedom) = (0.0, -1.0)
        for (count, share) in zip(counts, expected) {
            guard share > 0 else {
                #expect(count == 0, "a token outside of the top k was drawn")
                continue
            }
            square += pow(Double(count) - Double(draws) * share, 2) / (Double(draws) * share)
            freedom += 1
        }
        // Wilson and Hilferty's approximation of chi-square's quantile at 4.3 standard deviations: one seed
        // in 100,000 would fail, and this one is fixed.
        let limit = freedom * pow(1 - 2 / (9 * freedom) + 4.3 * (2 / (9 * freedom)).squareRoot(), 3)
        #expect(square < limit, "chi-square \(square) of \(freedom) degrees")
    }

    @Test("the same seed draws the same, another one does not")
    func seeds() {
        let logits = Self.logits(50)
        func draws(_ seed: UInt64) -> [Int?] {
            var sampler = Sampler(seed: seed)
            return (0..<40).map { _ in sampler.next(logits) }
        }
        #expect(draws(5) == draws(5))
        #expect(draws(5) != draws(6))
        #expect(Set(draws(5)).count > 5, "each draw has random numbers of its own")
    }

    @Test("temperature 0 takes the likeliest token, of equal ones the first")
    func greedy() {
        var sampler = Sampler(temperature: 0, seed: 1)
        let likeliest = sampler.next([0.5, 2, -1, 2])
        #expect(likeliest == 1)
        // A temperature of almost 0 is as good, and overflows nothing.
        var cold = Sampler(temperature: 1e-300, seed: 1)
        let coldest = cold.next([0.5, 2, -1, 1.9])
        #expect(coldest == 1)
    }

    @Test("of equal logits the first ones are among the top k")
    func ties() {
        #expect(Sampler(topK: 2).probabilities([1, 3, 1, 1])?.map { $0 > 0 } == [true, true, false, false])
    }

    @Test("impossible tokens are never drawn, and what is no number draws nothing")
    func hostile() {
        var sampler = Sampler(seed: 2)
        let certain = (0..<50).map { _ in sampler.next([-.infinity, 0, -.infinity]) }
        #expect(certain == [Int?](repeating: 1, count: 50))
        let hopeless: [[Float]] = [
            [0, .nan], [.nan, 0], [-.infinity, -.infinity], [.infinity, 0], [],
        ]
        for logits in hopeless {
            let token = sampler.next(logits)
            #expect(token == nil, "\(logits)")
        }
    }
}
