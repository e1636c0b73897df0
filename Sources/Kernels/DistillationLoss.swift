internal import CKernels
public import Tensor

/// A student's loss against labels and a teacher's outputs at once, with its gradient in the same pass.
///
/// Of every row that counts: `alpha` · cross-entropy at temperature 1 + (1 - `alpha`) · soft loss; the sum is
/// divided by the counted rows, as PyTorch's `batchmean`.
public enum DistillationLoss {
    /// What brings the student's outputs q close to the teacher's p, both softmaxes at temperature T.
    public enum Soft: Hashable, Sendable {
        /// T² · KL(p ‖ q) (Hinton et al., 2015).
        case klDivergence
        /// -T² · Σ p log q: the divergence and the teacher's entropy.
        case crossEntropy
        /// Mean over the classes of the squared differences of the logits; knows no temperature.
        case squaredError
        /// T² · (target · KL of the label against the rest + others · KL among the rest) (Zhao et al., 2022).
        case decoupled(target: Float, others: Float)
        /// T² · KL(q ‖ p).
        case reverseKL
        /// T² · (share · KL(p ‖ m) + (1 - share) · KL(q ‖ m)) with m = share · p + (1 - share) · q.
        ///
        /// 0 stands for the divergence and 1 for the reverse one, as in generalised knowledge distillation
        /// (Agarwal et al., 2024).
        case jensenShannon(share: Float)
    }

    /// How the parts are weighed, and what the operands are.
    public struct Settings: Hashable, Sendable {
        public var soft: Soft
        /// The weight of the hard loss.
        public var alpha: Float
        public var temperature: Float
        /// Of the hard loss alone.
        public var labelSmoothing: Float
        /// How the teacher's outputs are stored.
        public var teacherElement: ElementType

        /// Settings; the defaults are those of a request.
        public init(
            soft: Soft = .klDivergence, alpha: Float = 0.1, temperature: Float = 4, labelSmoothing: Float = 0,
            teacherElement: ElementType = .float32
        ) {
            (self.soft, self.alpha, self.temperature) = (soft, alpha, temperature)
            (self.labelSmoothing, self.teacherElement) = (labelSmoothing, teacherElement)
        }
    }

    /// The loss over `[rows, width]` outputs, which like their gradient are stored as `element`.
    ///
    /// Operands: `state, outputs, labels or targets, teacher, row hard loss, row marks, row soft loss,
    /// result, [gradient]`. The gradient is scaled by the state's `inverseCount`, its soft part by
    /// `softWeight` too, and may share the outputs' slot. The result tells both parts and how many rows agree
    /// with the teacher.
    ///
    /// - Precondition: The decoupled loss has labels.
    public static func prepare(
        _ settings: Settings, rows: Int, width: Int, target: Loss.Target, element: ElementType = .float32,
        gradient: Bool
    ) -> any PreparedKernel {
        var block = unsafe settings.block
        unsafe block.hard.rows = rows
        unsafe block.hard.width = width
        unsafe block.hard.element = element.kernelElement
        if case .labels(let ignored) = target { unsafe block.hard.ignored_label = ignored }
        if case .decoupled = settings.soft {
            precondition(target != .values, "a decoupled loss against shares of the classes")
        }
        typealias Binding = (Operand, KernelCall<ck_distillation_arguments>.Binder)
        let perRow = Operand.floats(rows, .write)
        let truth: Binding =
            target == .values
            ? (.floats(rows * width, .read), { unsafe $0.hard.targets = unsafe $1.constantFloats })
            : (.floats(rows, .read), { unsafe $0.hard.labels = unsafe UnsafePointer($1.integers) })
        var bindings: [Binding] = unsafe [
            (StepState.operand, { unsafe $0.hard.state = unsafe $1.stepState }),
            (.elements(rows * width, element, .read), { unsafe $0.hard.outputs = UnsafeRawPointer($1) }),
            truth,
            (
                .elements(rows * width, settings.teacherElement, .read),
                { unsafe $0.teacher = UnsafeRawPointer($1) }
            ),
            (perRow, { unsafe $0.hard.row_loss = unsafe $1.floats }),
            (perRow, { unsafe $0.hard.row_correct = unsafe $1.integers }),
            (perRow, { unsafe $0.row_soft = unsafe $1.floats }),
            (
                LossResult.operand,
                { unsafe $0.hard.result = unsafe $1.assumingMemoryBound(to: ck_loss_result.self) }
            ),
        ]
        if gradient {
            unsafe bindings.append(
                (.elements(rows * width, element, .write), { unsafe $0.hard.gradient = unsafe $1 }))
        }
        return unsafe KernelCall("ck_distillation", { unsafe ck_distillation($0) }, block, bindings)
    }
}

extension DistillationLoss.Settings {
    fileprivate var block: ck_distillation_arguments {
        var block = unsafe ck_distillation_arguments()
        unsafe block.alpha = alpha
        unsafe block.temperature = temperature
        unsafe block.hard.label_smoothing = labelSmoothing
        unsafe block.teacher_element = teacherElement.kernelElement
        switch soft {
        case .klDivergence, .jensenShannon(share: 0): unsafe block.soft = ck_soft_loss(CK_SOFT_KL)
        case .reverseKL, .jensenShannon(share: 1): unsafe block.soft = ck_soft_loss(CK_SOFT_REVERSE_KL)
        case .crossEntropy: unsafe block.soft = ck_soft_loss(CK_SOFT_CROSS_ENTROPY)
        case .squaredError: unsafe block.soft = ck_soft_loss(CK_SOFT_SQUARED_ERROR)
        case .decoupled(let target, let others):
            unsafe block.soft = ck_soft_loss(CK_SOFT_DECOUPLED)
            unsafe block.target_weight = target
            unsafe block.others_weight = others
        case .jensenShannon(let share):
            unsafe block.soft = ck_soft_loss(CK_SOFT_JENSEN_SHANNON)
            unsafe block.share = share
        }
        return unsafe block
    }
}
