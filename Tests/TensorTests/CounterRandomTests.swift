import Tensor
import Testing

@Suite("CounterRandom") struct CounterRandomTests {
    /// Known answers of Random123's kat_vectors file for philox4x32, 10 rounds.
    @Test("gives Random123's known answers")
    func knownAnswers() {
        let zero = CounterRandom.philox(.zero, key: (0, 0))
        #expect(zero == SIMD4(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
        let ones = CounterRandom.philox(SIMD4(repeating: .max), key: (.max, .max))
        #expect(ones == SIMD4(0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd))
        let pi = CounterRandom.philox(
            SIMD4(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344), key: (0xa409_3822, 0x299f_31d0))
        #expect(pi == SIMD4(0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1))
    }

    @Test("is a function of its whole key")
    func keysSeparateStreams() {
        func first(_ seed: UInt64, _ purpose: RandomPurpose, _ epoch: UInt32, _ step: UInt64) -> [UInt32] {
            var random = CounterRandom(seed: seed, purpose: purpose, epoch: epoch, step: step)
            return (0..<6).map { _ in random.next() }
        }
        let base = first(1, .shuffle, 2, 3)
        #expect(base == first(1, .shuffle, 2, 3))
        for other in [
            first(2, .shuffle, 2, 3), first(1 << 40, .shuffle, 2, 3), first(1, .dropout, 2, 3),
            first(1, .shuffle, 3, 3), first(1, .shuffle, 2, 4), first(1, .shuffle, 2, 3 + (1 << 33)),
        ] { #expect(base != other) }
    }

    @Test("draws below a bound without bias")
    func boundedDraws() {
        var random = CounterRandom(seed: 9, purpose: .test)
        var counts = [Int](repeating: 0, count: 7)
        for _ in 0..<70_000 { counts[Int(random.below(7))] += 1 }
        // Binomial(70000, 1/7): standard deviation 92.6; 5 of them.
        for count in counts { #expect(abs(count - 10_000) < 463) }
        for _ in 0..<1000 { #expect(random.uniform() < 1) }
    }
}
