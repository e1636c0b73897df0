import Graph
import Plan
import Synchronization
import Testing
import Training

@Suite("Profiling a run") struct ProfileTests {
    /// Follows a run for its profile alone.
    private final class Watcher: TrainingObserver {
        private(set) var profiles: [StepProfile] = []
        var stopReason: StopReason? { nil }
        var isCheckpointDue: Bool { false }
        func didFindLearningRate(_ report: LearningRateReport) {}
        func didStep(_ report: StepReport) {}
        func didProfile(_ profile: StepProfile) { profiles.append(profile) }
        func willEvaluate(step: Int) {}
        func didFinishEpoch(_ report: EpochReport) {}
        func storeCheckpoint(of trainer: Trainer, isBest: Bool) throws(TrainingError) {}
    }

    private func profile(
        _ options: TrainOptions, pairs: Int = 2
    ) throws -> (profiles: [StepProfile], weights: [[Float]], plain: [[Float]]) {
        let toy = try Toy()
        let (plain, profiled) = (try toy.trainer(options), try toy.trainer(options))
        var clock: UInt64 = 0
        profiled.profiler = StepProfiler(warmup: 3, pairs: pairs) {
            clock += 1_000
            return clock
        }
        let watcher = Watcher()
        #expect(try plain.run(Watcher()) == nil)
        #expect(try profiled.run(watcher) == nil)
        let weights = try [profiled, plain].map { trainer in
            try trainer.program.graph.parameterIDs.map { try trainer.program.read($0) }
        }
        return (watcher.profiles, weights[0], weights[1])
    }

    @Test("changes no bit of what is trained, and is reported once")
    func changesNothing() throws {
        let (profiles, weights, plain) = try profile(Toy.options)
        #expect(weights == plain)
        let found = try #require(profiles.first)
        #expect(profiles.count == 1 && found.steps == 2)
        // The clock ticks a microsecond at each look: once for every call, and once at each end of a step.
        let calls = try #require(found.plans.first).plan.steps.count
        #expect(found.plans.count == 1 && found.plans[0].runs == 1)
        #expect(found.plans[0].seconds.allSatisfy { abs($0 - 1e-6) < 1e-12 })
        #expect(abs(found.plainSeconds - 1e-6) < 1e-12)
        #expect(abs(found.timedSeconds - Double(calls + 2) * 1e-6) < 1e-12)
    }

    @Test("counts every part of a step that runs in parts, and the update once")
    func parts() throws {
        var options = Toy.options
        options.microBatchSize = 2
        let (profiles, weights, plain) = try profile(options)
        #expect(weights == plain)
        let found = try #require(profiles.first)
        // Five samples are two parts of two and one of one.
        #expect(found.plans.map(\.plan.batch) == [2, 1, 0])
        #expect(found.plans.map(\.runs) == [2, 1, 1])
        #expect(found.layers.map(\.name).contains("optimizer"))
    }

    @Test("of a run too short for all its steps tells of those there were")
    func shortRun() throws {
        let (profiles, weights, plain) = try profile(Toy.options, pairs: 1_000)
        #expect(weights == plain)
        // Nine whole batches; three warm up, and of the others every second one is timed inside.
        #expect(profiles.map(\.steps) == [3])
    }
}
