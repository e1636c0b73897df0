internal import CKernels

/// Optimiser updates: one pass over every parameter, whatever their number.
public enum OptimizerUpdates {
    /// How a gradient changes a parameter; the learning rate comes with each step.
    public enum Rule: Hashable, Sendable {
        /// Stochastic gradient descent; the decay is added to the gradient.
        case sgd(momentum: Double, nesterov: Bool)
        /// Kingma and Ba, 2015; the decay is added to the gradient.
        case adam(beta1: Double, beta2: Double, epsilon: Double)
        /// Loshchilov and Hutter, 2019: Adam whose decay acts on the weights alone.
        case adamW(beta1: Double, beta2: Double, epsilon: Double)
        /// Chen et al., 2023; the decay acts on the weights alone.
        case lion(beta1: Double, beta2: Double)
        /// Hinton, 2012, as PyTorch's, not centred; the decay is added to the gradient.
        case rmsProp(alpha: Double, epsilon: Double, momentum: Double)

        /// PyTorch's names of what is kept for each parameter, in the order of the operands.
        public var stateNames: [String] {
            switch self {
            case .sgd(let momentum, _): momentum == 0 ? [] : ["momentum_buffer"]
            case .adam, .adamW: ["exp_avg", "exp_avg_sq"]
            case .lion: ["exp_avg"]
            case .rmsProp(_, _, let momentum):
                momentum == 0 ? ["square_avg"] : ["square_avg", "momentum_buffer"]
            }
        }

        /// The betas of the rules that correct for averages that start at 0.
        public var correctedBetas: (Double, Double)? {
            switch self {
            case .adam(let beta1, let beta2, _), .adamW(let beta1, let beta2, _): (beta1, beta2)
            case .sgd, .lion, .rmsProp: nil
            }
        }
    }

    /// One parameter's place in the regions that an update works on, in floats.
    ///
    /// Weights, gradients, states and averages each lie in a region of their own, with the same offsets.
    public struct Segment: Hashable, Sendable {
        public var offset: Int
        public var count: Int
        public var weightDecay: Float
        /// Factor of the step's learning rate.
        public var rateFactor: Float

        /// `count` floats from float `offset` of each region on.
        public init(offset: Int, count: Int, weightDecay: Float = 0, rateFactor: Float = 1) {
            precondition(offset >= 0 && count >= 0, "a segment of \(count) floats at \(offset)")
            self.offset = offset
            self.count = count
            self.weightDecay = weightDecay
            self.rateFactor = rateFactor
        }
    }

    /// Updates the parameters of all `segments`, exactly as PyTorch does.
    ///
    /// Operands: `state, weights, gradients`, then the rule's states in the order of its `stateNames`, then
    /// the averages if there is a `decay`, then a byte for each weight if they are `masked`, then a
    /// `GradientNorm` if the gradients are `clipped` by its scale. Averages become
    /// decay · average + (1 - decay) · weight behind each update (Polyak averaging). Where a mask is 0 the
    /// gradient counts as 0, so that what is all 0 stays so.
    public static func update(
        _ rule: Rule, segments: [Segment], averagingDecay decay: Double? = nil, masked: Bool = false,
        clipped: Bool = false
    ) -> any PreparedKernel {
        let list = SegmentList(segments)
        let block = unsafe ck_update_arguments(rule, list, averagingDecay: decay)
        typealias Binding = (Operand, KernelCall<ck_update_arguments>.Binder)
        let region = Operand.floats(list.end, .readWrite)
        var bindings: [Binding] = unsafe [
            (StepState.operand, { unsafe $0.state = unsafe $1.stepState }),
            (region, { unsafe $0.weight = unsafe $1.floats }),
            (.floats(list.end, .read), { unsafe $0.gradient = unsafe $1.constantFloats }),
        ]
        let states = rule.stateNames.count
        if states > 0 { unsafe bindings.append((region, { unsafe $0.first = unsafe $1.floats })) }
        if states > 1 { unsafe bindings.append((region, { unsafe $0.second = unsafe $1.floats })) }
        if decay != nil { unsafe bindings.append((region, { unsafe $0.average = unsafe $1.floats })) }
        if masked { unsafe bindings.append((Operand(list.end, .read), { unsafe $0.mask = unsafe $1.mask })) }
        if clipped {
            unsafe bindings.append(
                (
                    Operand(GradientNorm.byteCount, .read),
                    { unsafe $0.clip = unsafe UnsafePointer($1.gradientNorm) }
                ))
        }
        // The block points into the list, so the list lives as long as the call.
        return unsafe KernelCall(
            rule.implementation, { arguments in withExtendedLifetime(list) { unsafe ck_update(arguments) } },
            block, bindings)
    }

    /// SGD over one parameter; operands `state, weight, gradient`, and `velocity` when `momentum` is not 0.
    public static func sgd(
        count: Int, momentum: Float, weightDecay: Float, nesterov: Bool
    ) -> any PreparedKernel {
        update(
            .sgd(momentum: Double(momentum), nesterov: nesterov),
            segments: [Segment(offset: 0, count: count, weightDecay: weightDecay)])
    }

    /// The Euclidean norm of all `segments` of the gradients together; operands `gradients, GradientNorm`.
    ///
    /// The scale that comes with it keeps the norm within `normMax`, as PyTorch's `clip_grad_norm_`; with
    /// nil it is 1 unless the norm is no number.
    public static func gradientNorm(segments: [Segment], normMax: Double?) -> any PreparedKernel {
        let list = SegmentList(segments)
        var block = unsafe ck_gradient_norm_arguments()
        unsafe block.segments = unsafe UnsafePointer(list.first)
        unsafe block.segment_count = list.count
        unsafe block.count = list.elementCount
        unsafe block.norm_max = Float(normMax ?? .infinity)
        return unsafe KernelCall(
            "ck_gradient_norm",
            { arguments in withExtendedLifetime(list) { unsafe ck_gradient_norm(arguments) } }, block,
            [
                (.floats(list.end, .read), { unsafe $0.gradient = unsafe $1.constantFloats }),
                (Operand(GradientNorm.byteCount, .write), { unsafe $0.result = unsafe $1.gradientNorm }),
            ])
    }

    /// Gathers the gradients of a step's micro-batches: the first is stored, the others are added.
    ///
    /// Operands: `state, gradient, accumulator`, of `count` floats.
    public static func accumulate(count: Int) -> any PreparedKernel {
        var block = unsafe ck_accumulate_arguments()
        unsafe block.count = count
        return unsafe KernelCall(
            "ck_accumulate", { unsafe ck_accumulate($0) }, block,
            [
                (StepState.operand, { unsafe $0.state = unsafe $1.stepState }),
                (.floats(count, .read), { unsafe $0.gradient = unsafe $1.constantFloats }),
                (.floats(count, .readWrite), { unsafe $0.accumulator = unsafe $1.floats }),
            ])
    }

    /// Lets an average follow values that no update changes, such as running statistics.
    ///
    /// Operands: `value, average`, of `count` floats; average = decay · average + (1 - decay) · value.
    public static func average(count: Int, decay: Double) -> any PreparedKernel {
        var block = unsafe ck_average_arguments()
        unsafe block.count = count
        unsafe block.rate = Float(1 - decay)
        return unsafe KernelCall(
            "ck_average", { unsafe ck_average($0) }, block,
            [
                (.floats(count, .read), { unsafe $0.value = unsafe $1.constantFloats }),
                (.floats(count, .readWrite), { unsafe $0.average = unsafe $1.floats }),
            ])
    }
}

extension OptimizerUpdates.Rule {
    var implementation: String {
        switch self {
        case .sgd: "ck_update:sgd"
        case .adam: "ck_update:adam"
        case .adamW: "ck_update:adamw"
        case .lion: "ck_update:lion"
        case .rmsProp: "ck_update:rmsprop"
        }
    }
}

extension ck_update_arguments {
    /// Points into `list`, which has to live as long; without segments there is nothing to update.
    init(_ rule: OptimizerUpdates.Rule, _ list: SegmentList, averagingDecay decay: Double?) {
        unsafe self.init()
        if list.count > 0 { unsafe segments = unsafe UnsafePointer(list.first) }
        unsafe segment_count = list.count
        unsafe count = list.elementCount
        unsafe average_rate = Float(1 - (decay ?? 1))
        unsafe set(rule)
    }

    private mutating func set(_ rule: OptimizerUpdates.Rule) {
        switch rule {
        case .sgd(let momentum, let nesterov):
            unsafe self.rule = ck_update_rule(CK_SGD)
            unsafe self.momentum = Float(momentum)
            unsafe self.nesterov = nesterov ? 1 : 0
        case .adam(let beta1, let beta2, let epsilon):
            unsafe setMoments(ck_update_rule(CK_ADAM), beta1, beta2, epsilon)
        case .adamW(let beta1, let beta2, let epsilon):
            unsafe setMoments(ck_update_rule(CK_ADAMW), beta1, beta2, epsilon)
        case .lion(let beta1, let beta2): unsafe setMoments(ck_update_rule(CK_LION), beta1, beta2, 0)
        case .rmsProp(let alpha, let epsilon, let momentum):
            unsafe setMoments(ck_update_rule(CK_RMSPROP), 0, alpha, epsilon)
            unsafe self.momentum = Float(momentum)
        }
    }

    private mutating func setMoments(
        _ rule: ck_update_rule, _ beta1: Double, _ beta2: Double, _ epsilon: Double
    ) {
        unsafe self.rule = rule
        unsafe self.beta1 = Float(beta1)
        unsafe self.beta2 = Float(beta2)
        unsafe one_minus_beta1 = Float(1 - beta1)
        unsafe one_minus_beta2 = Float(1 - beta2)
        unsafe self.epsilon = Float(epsilon)
    }
}

/// The segments as C reads them.
@safe final class SegmentList {
    let first: UnsafeMutablePointer<ck_segment>
    let count: Int
    /// Floats of all segments together.
    let elementCount: Int
    /// The first float behind the last segment.
    let end: Int

    init(_ segments: [OptimizerUpdates.Segment]) {
        count = segments.count
        elementCount = segments.reduce(0) { $0 + $1.count }
        end = segments.map { $0.offset + $0.count }.max() ?? 0
        unsafe first = .allocate(capacity: max(segments.count, 1))
        for (index, segment) in segments.enumerated() {
            unsafe (first + index).initialize(
                to: ck_segment(
                    offset: segment.offset, count: segment.count, weight_decay: segment.weightDecay,
                    rate_factor: segment.rateFactor))
        }
    }

    deinit { unsafe first.deallocate() }
}
