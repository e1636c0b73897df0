import Glibc
import Kernels
import Tensor
import TestSupport
import Testing

@Suite("Element-wise kernels") struct ElementwiseTests {
    /// Beyond the size below which kernels stay on one thread, and not a multiple of a cache line.
    static let large = 20_011

    static let state = StepState(seed: 0x1234_5678_9ABC_DEF0, step: 7, learningRate: 0, inverseCount: 1)

    @Test("a ReLU agrees with PyTorch, forward and backward", arguments: Fixture.cases("layers", op: "relu"))
    func relu(name: String) throws {
        let fixture = try Fixture("layers")
        let input = try fixture.floats("\(name)/input")
        let ahead = try KernelRun(Elementwise.relu(count: input.count), [.floats(input)])
        #expect(try fixture.floats("\(name)/output") == ahead.floats(1))
        let back = try KernelRun(
            Elementwise.reluBackward(count: input.count),
            [.floats(ahead.floats(1)), .floats(try fixture.floats("\(name)/grad_output"))])
        #expect(try fixture.floats("\(name)/grad_input") == back.floats(2))
    }

    @Test("a ReLU passes NaN and infinity on")
    func nonFinite() throws {
        let run = try KernelRun(
            Elementwise.relu(count: 4), [.floats([.nan, .infinity, -.infinity, -1])])
        #expect(run.floats(1)[0].isNaN)
        #expect(Array(run.floats(1)[1...]) == [.infinity, 0, 0])
    }

    @Test("work in place as they do apart", arguments: [5, large])
    func inPlace(count: Int) throws {
        let (input, other) = (randomFloats(count, seed: 1), randomFloats(count, seed: 2))
        let relu = Elementwise.relu(count: count)
        let apart = try KernelRun(relu, [.floats(input)]).floats(1)
        #expect(try KernelRun(relu, [.floats(input), .sharing(0)]).floats(0) == apart)
        let backward = Elementwise.reluBackward(count: count)
        let gradient = try KernelRun(backward, [.floats(apart), .floats(other)]).floats(2)
        #expect(
            try KernelRun(backward, [.floats(apart), .floats(other), .sharing(1)]).floats(1) == gradient)
        let dropout = Elementwise.dropout(count: count, probability: 0.3, layer: 1, purpose: 5)
        let dropped = try KernelRun(dropout, [.state(Self.state), .floats(input)]).floats(2)
        #expect(
            try KernelRun(dropout, [.state(Self.state), .floats(input), .sharing(1)]).floats(1) == dropped)
        let add = Elementwise.add(count: count)
        let sum = try KernelRun(add, [.floats(input), .floats(other), .sharing(0)]).floats(0)
        #expect(sum == zip(input, other).map { $0 + $1 })
    }

    @Test("give the same bits on one, two and three threads")
    func threads() throws {
        let input = randomFloats(Self.large, seed: 4)
        let results = try [1, 2, 3].map { threads in
            ThreadTeam.use(threads)
            let dropout = Elementwise.dropout(count: input.count, probability: 0.4, layer: 2, purpose: 5)
            let dropped = try KernelRun(dropout, [.state(Self.state), .floats(input)]).floats(2)
            return try KernelRun(Elementwise.relu(count: input.count), [.floats(dropped)]).floats(1)
        }
        #expect(bits(results[0]) == bits(results[1]))
        #expect(bits(results[0]) == bits(results[2]))
    }

    /// Element e of unit u = e / 64 takes word (e % 64) / 16 of block 16u + e % 16; it is kept when the
    /// word's upper 24 bits, as a uniform number, are not below p.
    private static func kept(_ element: Int, _ state: StepState, _ p: Float, layer: UInt32) -> Bool {
        let purpose = RandomPurpose.dropout.rawValue
        let counter = SIMD4(
            UInt32(element / 64 * 16 + element % 16), UInt32(truncatingIfNeeded: state.step), layer,
            purpose + UInt32(truncatingIfNeeded: state.step >> 32) << 8)
        let words = CounterRandom.philox(
            counter,
            key: (UInt32(truncatingIfNeeded: state.seed), UInt32(truncatingIfNeeded: state.seed >> 32)))
        return words[element % 64 / 16] >> 8 >= UInt32((p * 0x1p24).rounded())
    }

    @Test(
        "dropout keeps what the generator says, scaled", arguments: [Float(0.5), 0.2, 0.99, 0],
        [1, 63, 64, 65, 1000])
    func dropout(p: Float, count: Int) throws {
        for step in [0, 3, 1 << 33 + 5] as [UInt64] {
            var state = Self.state
            state.step = step
            let input = randomFloats(count, seed: step &+ 1, low: 1, high: 2)
            let kernel = Elementwise.dropout(
                count: count, probability: p, layer: 3, purpose: RandomPurpose.dropout.rawValue)
            let output = try KernelRun(kernel, [.state(state), .floats(input)]).floats(2)
            let expected = input.enumerated().map { index, value in
                Self.kept(index, state, p, layer: 3) ? value * (1 / (1 - p)) : 0
            }
            #expect(output == expected, "step \(step)")
        }
    }

    @Test("dropout keeps its share, and another in each layer, step and run")
    func dropoutRate() throws {
        func mask(_ seed: UInt64, _ step: UInt64, _ layer: UInt32) throws -> [Bool] {
            let state = StepState(seed: seed, step: step, learningRate: 0, inverseCount: 1)
            let kernel = Elementwise.dropout(count: Self.large, probability: 0.3, layer: layer, purpose: 5)
            let ones = [Float](repeating: 1, count: Self.large)
            return try KernelRun(kernel, [.state(state), .floats(ones)]).floats(2).map { $0 != 0 }
        }
        let base = try mask(1, 1, 1)
        // Binomial(20011, 0.7): standard deviation 64.8; 5 of them.
        #expect(abs(Double(base.count { $0 }) - 0.7 * Double(Self.large)) < 324)
        for other in [try mask(2, 1, 1), try mask(1, 2, 1), try mask(1, 1, 2)] {
            // Independent masks agree where both keep or both drop: 0.49 + 0.09 = 0.58, deviation 69.8.
            let agreeing = zip(base, other).count { $0 == $1 }
            #expect(abs(Double(agreeing) - 0.58 * Double(Self.large)) < 349)
        }
    }
}

@Suite("ThreadTeam") struct ThreadTeamTests {
    @Test("has as many threads as were asked for", arguments: [1, 2, 3])
    func team(threads: Int) {
        ThreadTeam.use(threads)
        #expect(ThreadTeam.count == threads)
        let ids = ThreadTeam.threadIDs()
        #expect(ids.count == threads && Set(ids).count == threads)
        let known = ids.allSatisfy { unsafe access("/proc/self/task/\($0)", F_OK) == 0 }
        #expect(known, "they are this process's")
        #expect(ThreadTeam.threadIDs() == ids, "the team is kept")
    }

    @Test("ends its threads when it is let go of, and starts others when it computes again")
    func releases() {
        ThreadTeam.use(3)
        let ids = ThreadTeam.threadIDs().dropFirst()
        ThreadTeam.release()
        // A thread that was joined may be seen for a moment more.
        func remain() -> Int {
            ids.count { unsafe access("/proc/self/task/\($0)", F_OK) == 0 }
        }
        for _ in 0..<1000 where remain() > 0 { usleep(1000) }
        #expect(ids.count == 2 && remain() == 0)
        #expect(ThreadTeam.count == 3 && Set(ThreadTeam.threadIDs()).count == 3)
        ThreadTeam.release()
        ThreadTeam.release()
        #expect(ThreadTeam.threadIDs().count == 3, "released twice")
    }

    @Test("never has less than one thread")
    func clamps() {
        ThreadTeam.use(0)
        #expect(ThreadTeam.count == 1)
        ThreadTeam.use(-5)
        #expect(ThreadTeam.count == 1)
    }
}
