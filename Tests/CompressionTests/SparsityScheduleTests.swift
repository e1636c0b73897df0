import Compression
import Testing

@Suite("Sparsity follows the published curves") struct SparsityScheduleTests {
    /// compression.md's vectors: s₁ = 0.9, s₀ = 0, at p = 0, 1/4, 1/2, 3/4, 1; to the digits given.
    @Test("the vectors of Zhu and Gupta and of the exponential schedule") func publishedVectors() {
        let cubic = SparsitySchedule(.cubic(power: 3), to: 0.9, endStep: 100, frequency: 1)
        for (step, wanted) in [(0, 0), (25, 0.5203), (50, 0.7875), (75, 0.8859), (100, 0.9)] {
            #expect(abs(cubic.sparsity(at: step) - wanted) < 5e-5, "step \(step)")
        }
        let exponential = SparsitySchedule(.exponential, to: 0.9, endStep: 100, frequency: 1)
        #expect(abs(exponential.sparsity(at: 50) - 0.6838) < 5e-5)
        let linear = SparsitySchedule(.linear, to: 0.9, endStep: 100, frequency: 1)
        #expect(abs(linear.sparsity(at: 50) - 0.45) < 1e-12)
        let raised = SparsitySchedule(.cubic(power: 3), from: 0.5, to: 0.8, endStep: 2, frequency: 1)
        #expect(abs(raised.sparsity(at: 1) - 0.7625) < 1e-12)
    }

    @Test("it holds between updates and past the end") func itHolds() {
        let schedule = SparsitySchedule(
            .cubic(power: 3), to: 0.9, beginStep: 10, endStep: 45, frequency: 10)
        #expect(schedule.sparsity(at: 9) == 0 && !schedule.isUpdateStep(9))
        #expect((0...60).filter(schedule.isUpdateStep) == [10, 20, 30, 40, 45])
        #expect(schedule.sparsity(at: 29) == schedule.sparsity(at: 20))
        #expect(schedule.sparsity(at: 45) == 0.9 && schedule.sparsity(at: 1000) == 0.9)
    }

    @Test("one shot is one update") func oneShot() {
        let schedule = SparsitySchedule(.oneshot, to: 0.7, beginStep: 3, endStep: 100)
        #expect((0...100).filter(schedule.isUpdateStep) == [3])
        #expect(schedule.sparsity(at: 2) == 0 && schedule.sparsity(at: 3) == 0.7)
    }

    /// Frankle and Carbin's labels: 20 % a round of LeNet-300-100's hidden layers, 10 % of the output's.
    @Test("the lottery ticket's ladder is exact") func lotteryTicketLadder() {
        let hidden = SparsitySchedule(.iterative, to: 1 - pow(0.8, 20), endStep: 20, rounds: 20)
        let output = SparsitySchedule(.iterative, to: 1 - pow(0.9, 20), endStep: 20, rounds: 20)
        let ladder: [(Int, Double)] = [
            (3, 51.282), (7, 21.072), (9, 13.517), (15, 3.583), (18, 1.851), (20, 1.194),
        ]
        for (round, wanted) in ladder {
            let kept =
                265_200 * (1 - hidden.sparsity(afterRound: round))
                + 1000 * (1 - output.sparsity(afterRound: round))
            // Three digits behind the point of a percentage.
            #expect(abs(100 * kept / 266_200 - wanted) <= 0.0005 + 1e-9, "round \(round)")
        }
    }

    @Test("rounds divide the steps and each begins with an update") func roundsDivideTheSteps() {
        let schedule = SparsitySchedule(.iterative, to: 0.75, beginStep: 100, endStep: 200, rounds: 3)
        #expect((0...250).filter(schedule.isUpdateStep) == [100, 133, 166])
        #expect((0...250).filter { schedule.round(at: $0) != schedule.round(at: $0 - 1) } == [100, 133, 166])
        #expect(schedule.sparsity(at: 99) == 0 && schedule.sparsity(at: 166) == 0.75)
        // What is left, cubed, is (1/4)^2.
        #expect(abs(pow(1 - schedule.sparsity(at: 133), 3) - 0.0625) < 1e-12)
    }

    @Test("a schedule never falls", arguments: [0.0, 0.3])
    func neverFalls(initial: Double) {
        let curves: [SparsitySchedule.Curve] = [
            .oneshot, .linear, .cubic(power: 3), .cubic(power: 0.5), .exponential, .iterative,
        ]
        for curve in curves {
            let schedule = SparsitySchedule(
                curve, from: initial, to: 0.95, beginStep: 7, endStep: 333, frequency: 11, rounds: 6)
            let sparsities = (0...400).map { schedule.sparsity(at: $0) }
            #expect(zip(sparsities, sparsities.dropFirst()).allSatisfy { $0 <= $1 }, "\(curve)")
            #expect(sparsities.last == 0.95)
        }
    }

    private func pow(_ x: Double, _ count: Int) -> Double { (0..<count).reduce(1) { power, _ in power * x } }
}
