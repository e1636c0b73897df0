import JSON
import Jobs
import Testing

@Suite("The states of a job") struct JobStateTests {
    @Test("are eight, and the words of the API")
    func words() {
        let words = JobState.allCases.map(\.rawValue)
        #expect(
            words == [
                "queued", "running", "pausing", "paused", "cancelling", "cancelled", "succeeded", "failed",
            ])
    }

    @Test("lead to an end from everywhere")
    func everyStateCanEnd() {
        for start in JobState.allCases {
            var reached: Set<JobState> = [start]
            while true {
                let next = reached.union(reached.flatMap(\.successors))
                if next == reached { break }
                reached = next
            }
            #expect(reached.contains { $0.isTerminal }, "\(start) never ends")
        }
    }

    @Test("never lead to themselves, and success leads nowhere")
    func noLoops() {
        for state in JobState.allCases { #expect(!state.successors.contains(state)) }
        #expect(JobState.succeeded.successors.isEmpty)
        #expect(JobState.allCases.filter(\.isTerminal) == [.cancelled, .succeeded, .failed])
    }
}

@Suite("Settling an attempt") struct SettlementTests {
    static let io = JobFailure(code: "io", message: "The disk hiccuped.", isRetryable: true)
    static let nan = JobFailure(code: "loss_not_finite", message: "The loss is NaN.")
    static let outcomes: [JobOutcome] = [
        .succeeded(JobResult(models: [], report: .null)), .cancelled, .paused, .yielded, .failed(io),
        .failed(nan),
    ]

    private func settle(
        _ outcome: JobOutcome, _ state: JobState = .running, failures: Int = 0, jitter: Double = 0
    ) -> Settlement {
        Settlement(of: outcome, in: state, failures: failures, maxAttempts: 3, jitter: jitter)
    }

    @Test(
        "makes only moves that the table of states allows",
        arguments: [JobState.running, .pausing, .cancelling])
    func movesAreLegal(state: JobState) {
        for outcome in Self.outcomes {
            for failures in 0...3 {
                let settlement = settle(outcome, state, failures: failures)
                #expect(state.successors.contains(settlement.state))
                #expect((settlement.error != nil) == (settlement.state == .failed))
            }
        }
    }

    @Test("cancels what should be cancelled, whatever the attempt says")
    func cancellationWins() {
        for outcome in Self.outcomes { #expect(settle(outcome, .cancelling).state == .cancelled) }
    }

    @Test("never tries a client's fault again, and a machine's only so often")
    func retriesOnlyWhatMayHelp() {
        #expect(settle(.failed(Self.nan)).state == .failed)
        #expect(settle(.failed(Self.io)).state == .queued)
        #expect(settle(.failed(Self.io), failures: 1).state == .queued)
        #expect(settle(.failed(Self.io), failures: 2).state == .failed)
    }

    @Test("charges a failure, but neither a shutdown nor a pause")
    func charges() {
        #expect(settle(.failed(Self.io)).chargesFailure)
        for outcome in [JobOutcome.paused, .yielded] {
            #expect(settle(outcome).refundsAttempt)
            #expect(!settle(outcome).chargesFailure)
        }
        #expect(settle(.paused, .pausing).state == .paused)
        #expect(settle(.yielded, .pausing).state == .paused)
        #expect(settle(.paused, .running).state == .queued)
    }

    @Test("charges nothing for a full disk, however often, and looks again after a while")
    func waitsForRoom() {
        for failures in 0...3 {
            let settlement = settle(.failed(.diskFull), failures: failures)
            #expect(settlement.state == .queued)
            #expect(settlement.refundsAttempt)
            #expect(!settlement.chargesFailure)
            #expect(settlement.delayMilliseconds == 10_000)
        }
        #expect(settle(.failed(.diskFull), .pausing).state == .paused)
    }

    @Test("waits 10 s, twice as long each time, at most 6 min, 20 % either way")
    func backsOff() {
        let waits = (1...8).map { Settlement.backOffMilliseconds(afterFailures: $0, jitter: 0) }
        #expect(waits == [10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 360_000, 360_000])
        #expect(Settlement.backOffMilliseconds(afterFailures: 1, jitter: -1) == 8_000)
        #expect(
            Settlement.backOffMilliseconds(afterFailures: .max, jitter: 7)
                == Settlement.backOffMillisecondsMax)
    }
}
