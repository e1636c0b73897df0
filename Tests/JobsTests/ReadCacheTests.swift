import Testing

@testable import Jobs

@Suite("What was read lately") struct ReadCacheTests {
    @Test("is good while nothing is written") func isGood() {
        let cache = ReadCache<String, Int>(countMax: 4)
        cache.keep(1, of: "a", at: 7)
        #expect(cache.value(of: "a", at: 7) == 1)
        #expect(cache.value(of: "b", at: 7) == nil)
        #expect(cache.value(of: "a", at: 8) == nil)
    }

    @Test("a value from before the last change is not kept") func isNotKept() {
        let cache = ReadCache<String, Int>(countMax: 4)
        cache.keep(2, of: "b", at: 8)
        cache.keep(1, of: "a", at: 7)
        #expect(cache.value(of: "a", at: 8) == nil)
        #expect(cache.value(of: "a", at: 7) == nil)
        #expect(cache.value(of: "b", at: 8) == 2)
    }

    @Test("it does not grow") func doesNotGrow() {
        let cache = ReadCache<Int, Int>(countMax: 4)
        for number in 0..<100 { cache.keep(number, of: number, at: 1) }
        #expect((0..<100).count { cache.value(of: $0, at: 1) != nil } == 4)
        #expect(cache.value(of: 99, at: 1) == 99)
    }
}
