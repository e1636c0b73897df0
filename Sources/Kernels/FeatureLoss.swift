internal import CKernels
public import Tensor

/// How far a layer's output is from a teacher's, with its gradient.
///
/// Every loss is a mean over the samples of the batch, times a weight.
public struct FeatureLoss: Hashable, Sendable {
    /// How a sample's a is compared with the teacher's b.
    public enum Kind: Hashable, Sendable {
        /// mean (a - b)² (FitNets; Romero et al., 2015).
        case squaredError
        /// 1 - cos(a, b) of all elements as one vector.
        case cosine
        /// mean over the positions of (s / |s| - t / |t|)², where s and t are the means of a² and b² over the
        /// channels (Zagoruyko and Komodakis, 2017).
        case attention
    }

    public var kind: Kind
    public var weight: Float
    /// Places of a sample that each have `channels` elements.
    public var positions: Int
    public var channels: Int
    /// Other than `channels` for attention alone.
    public var teacherChannels: Int

    /// A comparison of `[positions, channels]` elements a sample.
    public init(_ kind: Kind, weight: Float, positions: Int, channels: Int, teacherChannels: Int) {
        precondition(
            channels == teacherChannels || kind == .attention,
            "\(channels) channels against \(teacherChannels)")
        (self.kind, self.weight, self.positions) = (kind, weight, positions)
        (self.channels, self.teacherChannels) = (channels, teacherChannels)
    }

    /// The loss of a batch, behind the step's own loss, to whose result it is added.
    ///
    /// Operands: `state, student, teacher, scratch, result, [gradient]`; both models' elements and the
    /// gradient are stored as `element`. The gradient is scaled by the weight and the state's
    /// `inverseSamples`, and may share the student's slot.
    public func prepare(
        batch: Int, element: ElementType = .float32, gradient: Bool
    ) -> any PreparedKernel {
        var block = unsafe ck_feature_arguments()
        unsafe block.batch = batch
        unsafe block.positions = positions
        unsafe block.channels = channels
        unsafe block.teacher_channels = teacherChannels
        unsafe block.element = element.kernelElement
        unsafe block.weight = weight
        unsafe block.kind = kind.kernelKind
        let (own, others) = (batch * positions * channels, batch * positions * teacherChannels)
        var bindings: [(Operand, KernelCall<ck_feature_arguments>.Binder)] = unsafe [
            (StepState.operand, { unsafe $0.state = unsafe $1.stepState }),
            (.elements(own, element, .read), { unsafe $0.student = UnsafeRawPointer($1) }),
            (.elements(others, element, .read), { unsafe $0.teacher = UnsafeRawPointer($1) }),
            (
                .floats(kind == .attention ? batch * (1 + 2 * positions) : batch, .write),
                { unsafe $0.scratch = unsafe $1.floats }
            ),
            (
                Operand(LossResult.byteCount, .readWrite),
                { unsafe $0.result = unsafe $1.assumingMemoryBound(to: ck_loss_result.self) }
            ),
        ]
        if gradient {
            unsafe bindings.append((.elements(own, element, .write), { unsafe $0.gradient = unsafe $1 }))
        }
        return unsafe KernelCall("ck_feature", { unsafe ck_feature($0) }, block, bindings)
    }
}

extension FeatureLoss.Kind {
    fileprivate var kernelKind: ck_feature_kind {
        switch self {
        case .squaredError: ck_feature_kind(CK_FEATURE_SQUARES)
        case .cosine: ck_feature_kind(CK_FEATURE_COSINE)
        case .attention: ck_feature_kind(CK_FEATURE_ATTENTION)
        }
    }
}
