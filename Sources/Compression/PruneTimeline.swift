public import JSON

/// What happens when in a run that prunes: training, pruning, and what follows each pruning.
///
/// Steps count through the whole run. First comes `train`, in which gradual schedules change their masks.
/// Behind it comes fine-tuning: once, or once a round of `iterative`, whose rounds stand behind `train`. With
/// `rewind`, not fine-tuning but `train` itself comes again, from the step that is gone back to.
public struct PruneTimeline: Sendable, Hashable {
    /// A stretch of a run.
    public struct Phase: Sendable, Hashable {
        public enum Kind: Sendable, Hashable {
            case training
            /// At a part of the learning rate.
            case fineTuning
            /// `train` once more, from a step of its own on.
            case again(from: Int)
        }

        public let kind: Kind
        /// Its first step, of the whole run.
        public let firstStep: Int
        public let stepCount: Int
    }

    /// Steps of `train`.
    public let trainSteps: Int
    /// Steps behind each pruning, or behind all of them.
    public let tailSteps: Int
    /// How often that comes.
    public let tails: Int
    public let beginStep: Int
    public let endStep: Int
    private let options: PruneOptions

    /// Lays out a run.
    ///
    /// - Parameters:
    ///   - options: What is asked.
    ///   - trainSteps: Steps of `train`; 0 where a stored model is not trained before it is pruned.
    ///   - stepsPerEpoch: Steps of an epoch of fine-tuning.
    ///   - isStored: Whether the model has been trained before.
    public init(_ options: PruneOptions, trainSteps: Int, stepsPerEpoch: Int, isStored: Bool) {
        self.options = options
        self.trainSteps = trainSteps
        tailSteps =
            if let step = options.rewind.step {
                max(0, trainSteps - step)
            } else {
                options.fineTuning.epochs * stepsPerEpoch
            }
        let isIterative = options.curve == .iterative
        tails = isIterative ? options.rounds : 1
        let end = trainSteps + tailSteps * tails
        switch options.curve {
        case .iterative: (beginStep, endStep) = (trainSteps, end)
        case .oneshot:
            let isEarly = options.criterion == .snip || isStored && !options.criterion.isGathered
            let own = options.rewind == .none && isEarly ? 0 : trainSteps
            beginStep = options.beginStep ?? own
            endStep = beginStep
        case .linear, .cubic, .exponential:
            let own = options.criterion.isGathered ? min(options.frequency, trainSteps) : 0
            beginStep = options.beginStep ?? own
            endStep = options.endStep ?? trainSteps
        }
    }

    /// Steps of the whole run.
    public var totalSteps: Int { trainSteps + tailSteps * tails }

    /// How much is pruned at which step, on the way to a target.
    public func schedule(to target: Double) -> SparsitySchedule {
        SparsitySchedule(
            options.curve, from: options.initialSparsity, to: target, beginStep: beginStep, endStep: endStep,
            frequency: options.frequency, rounds: options.rounds)
    }

    /// The stretch that a step, counted from 0, belongs to.
    public func phase(at step: Int) -> Phase {
        guard step >= trainSteps, tailSteps > 0 else {
            return Phase(kind: .training, firstStep: 0, stepCount: trainSteps)
        }
        let index = min((step - trainSteps) / tailSteps, tails - 1)
        return Phase(
            kind: options.rewind.step.map { .again(from: $0) } ?? .fineTuning,
            firstStep: trainSteps + index * tailSteps, stepCount: tailSteps)
    }

    /// The step of the last pruning, behind which nothing goes any more.
    public var lastUpdateStep: Int {
        options.curve == .iterative ? trainSteps + (options.rounds - 1) * tailSteps : endStep
    }

    /// Logs what cannot be done in so many steps.
    public func check(at pointer: String, _ log: ViolationLog) {
        func add(_ field: String, _ detail: String) {
            log.add(JSONPointer.member(field, of: pointer), "out_of_range", detail)
        }
        if beginStep > trainSteps {
            add("begin_step", "training has \(trainSteps) steps, found \(beginStep)")
        }
        if options.curve != .iterative, options.curve != .oneshot, endStep > trainSteps {
            add("end_step", "training has \(trainSteps) steps, found \(endStep)")
        } else if endStep < beginStep {
            add("end_step", "end_step \(endStep) is before begin_step \(beginStep)")
        }
        if options.criterion.isGathered, beginStep == 0 {
            add(
                "criterion",
                "\(options.criterion.rawValue) is gathered in training, and there is none before the pruning")
        }
        guard let step = options.rewind.step else { return }
        if trainSteps == 0 {
            add("rewind", "there is no training to go back to; give train.epochs")
        } else if step >= trainSteps {
            add("rewind", "training has \(trainSteps) steps, found step \(step)")
        }
    }
}
