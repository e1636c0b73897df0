import Compression
import JSON
import Testing

@Suite("A run that prunes is laid out before it begins") struct PruneTimelineTests {
    private static func timeline(
        _ text: String, trainSteps: Int = 100, stepsPerEpoch: Int = 10, isStored: Bool = false
    ) throws -> PruneTimeline {
        let (options, violations) = try pruneOptions(text)
        #expect(violations.isEmpty, "\(violations)")
        return PruneTimeline(
            options, trainSteps: trainSteps, stepsPerEpoch: stepsPerEpoch, isStored: isStored)
    }

    /// What is asked, of a new model and of a stored one that is not trained before: where pruning begins and
    /// ends, and the steps in all.
    static let layouts: [(text: String, new: [Int], stored: [Int])] = [
        ("{}", [100, 100, 130], [0, 0, 30]),
        (#"{"criterion": "snip"}"#, [0, 0, 130], [0, 0, 30]),
        (#"{"schedule": "iterative", "rounds": 4}"#, [100, 220, 220], [0, 120, 120]),
        (
            #"{"schedule": "iterative", "rounds": 4, "finetune": {"epochs": 1}}"#, [100, 140, 140],
            [0, 40, 40]
        ),
    ]

    @Test("where nothing is said, pruning begins where it makes sense", arguments: layouts.indices)
    func layout(index: Int) throws {
        let (text, new, stored) = Self.layouts[index]
        let first = try Self.timeline(text)
        #expect([first.beginStep, first.endStep, first.totalSteps] == new)
        let second = try Self.timeline(text, trainSteps: 0, isStored: true)
        #expect([second.beginStep, second.endStep, second.totalSteps] == stored)
    }

    @Test("gradual schedules prune within training, what is gathered not at its first step")
    func gradual() throws {
        let plain = try Self.timeline(#"{"schedule": "cubic", "frequency": 20, "end_step": 80}"#)
        #expect([plain.beginStep, plain.endStep, plain.totalSteps] == [0, 80, 130])
        let gathered = try Self.timeline(#"{"schedule": "cubic", "frequency": 20, "criterion": "taylor"}"#)
        #expect([gathered.beginStep, gathered.endStep] == [20, 100])
        let schedule = gathered.schedule(to: 0.5)
        #expect((0...130).filter(schedule.isUpdateStep) == [20, 40, 60, 80, 100])
        let once = try Self.timeline(#"{"criterion": "taylor"}"#, isStored: true)
        #expect(once.beginStep == 100)
    }

    @Test("each round prunes first, then trains")
    func rounds() throws {
        let timeline = try Self.timeline(#"{"schedule": "iterative", "rounds": 3, "target_sparsity": 0.488}"#)
        let schedule = timeline.schedule(to: 0.488)
        #expect((0...timeline.totalSteps).filter(schedule.isUpdateStep) == [100, 130, 160])
        #expect(timeline.lastUpdateStep == 160)
        // 1 - 0.8^r: the same part of what is left each time.
        for (step, expected) in [(99, 0), (100, 0.2), (130, 0.36), (160, 0.488)] {
            #expect(abs(schedule.sparsity(at: step) - expected) < 1e-12)
        }
        let phases = [0, 99, 100, 129, 130, 189].map { timeline.phase(at: $0) }
        #expect(phases.map(\.firstStep) == [0, 0, 100, 100, 130, 160])
        #expect(phases[0].kind == .training && phases[5].kind == .fineTuning)
    }

    @Test("with rewinding, training comes again from the step that is gone back to")
    func rewinding() throws {
        let lottery = try Self.timeline(#"{"schedule": "iterative", "rounds": 2, "rewind": "init"}"#)
        #expect(lottery.totalSteps == 300)
        #expect(lottery.phase(at: 100).kind == .again(from: 0))
        #expect(lottery.phase(at: 250).firstStep == 200)
        let late = try Self.timeline(#"{"rewind": "step:30"}"#)
        #expect(late.totalSteps == 170 && late.phase(at: 169).kind == .again(from: 30))
        #expect(late.lastUpdateStep == 100)
    }

    /// What does not fit, in how many steps of training, and where the fault is.
    static let faults: [(text: String, trainSteps: Int, pointer: String)] = [
        (#"{"begin_step": 101}"#, 100, "/prune/begin_step"),
        (#"{"schedule": "linear", "end_step": 131}"#, 100, "/prune/end_step"),
        (#"{"schedule": "linear", "end_step": 101}"#, 100, "/prune/end_step"),
        (#"{"criterion": "taylor"}"#, 0, "/prune/criterion"),
        (#"{"rewind": "lr"}"#, 0, "/prune/rewind"),
        (#"{"rewind": "step:100"}"#, 100, "/prune/rewind"),
    ]

    @Test("what does not fit into the steps is told", arguments: faults.indices)
    func fault(index: Int) throws {
        let (text, trainSteps, pointer) = Self.faults[index]
        let log = ViolationLog()
        try Self.timeline(text, trainSteps: trainSteps).check(at: "/prune", log)
        #expect(log.violations.map(\.pointer) == [pointer], "\(log.violations)")
    }
}
