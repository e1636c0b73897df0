internal import CKernels
internal import Glibc
public import Tensor

/// What a step reads that changes from step to step; lies in the arena, so that the step's calls need not.
public struct StepState: BitwiseCopyable, Sendable {
    public var seed: UInt64
    public var step: UInt64
    public var learningRate: Float
    /// 1 / (samples that the gradient is averaged over).
    public var inverseCount: Float
    /// What a rule divides its averages by because they start at 0; see `correctBias`.
    public var biasCorrection1: Float = 1
    public var biasCorrection2Root: Float = 1
    /// Which part of an accumulated gradient it is, counted from 0.
    public var microBatch: UInt32 = 0
    /// What a distillation's soft loss is multiplied by: rises to 1 in a warm-up.
    public var softWeight: Float = 1
    /// 1 where the scores of weights are gathered, else 0.
    public var gathersScores: UInt32 = 0
    /// 1 / (samples of the whole batch), of which each may have several rows.
    public var inverseSamples: Float = 1
    /// 1 where the ranges of activations follow what passes by, else 0.
    public var movesRanges: UInt32 = 0

    public init(seed: UInt64, step: UInt64, learningRate: Float, inverseCount: Float) {
        self.seed = seed
        self.step = step
        self.learningRate = learningRate
        self.inverseCount = inverseCount
    }

    /// Sets the bias corrections of Adam and AdamW: 1 - beta1^t and sqrt(1 - beta2^t) at update t.
    ///
    /// Updates count from 1; rules without correction leave both at 1.
    public mutating func correctBias(of rule: OptimizerUpdates.Rule, update: Int) {
        guard let (beta1, beta2) = rule.correctedBetas else { return }
        // 1 - b^t without cancellation where b is close to 1.
        biasCorrection1 = Float(-expm1(Double(update) * log(beta1)))
        biasCorrection2Root = Float((-expm1(Double(update) * log(beta2))).squareRoot())
    }

    /// Bytes in the arena.
    public static let byteCount = MemoryLayout<ck_step_state>.size

    static let operand = Operand(byteCount, .read)

    /// Puts the state where the kernels look for it.
    public func store(to slot: Slot, in arena: Arena) {
        precondition(slot.byteCount >= Self.byteCount, "\(slot) is too small for a step's state")
        unsafe arena.address(of: slot).storeBytes(of: self, as: StepState.self)
    }
}

/// What a loss kernel leaves behind.
public struct LossResult: BitwiseCopyable, Sendable, Equatable {
    /// Sum over the counted rows.
    public var lossSum: Double
    /// Rows whose largest output is the label's.
    public var correct: Int64
    public var rows: Int64
    /// Rows whose label is not the ignored one: what a mean is taken over.
    public var counted: Int64
    /// Of a distillation alone: the sums of its two parts, and the rows whose largest output is the
    /// teacher's.
    public var hardSum = 0.0
    public var softSum = 0.0
    public var agreed: Int64 = 0
    /// What the comparisons of features have added to the sum.
    public var featureSum = 0.0

    /// Of no rows.
    public init() { (lossSum, correct, rows, counted) = (0, 0, 0, 0) }

    /// Adds another part of the same batch.
    public mutating func add(_ other: LossResult) {
        lossSum += other.lossSum
        correct += other.correct
        rows += other.rows
        counted += other.counted
        hardSum += other.hardSum
        softSum += other.softSum
        agreed += other.agreed
        featureSum += other.featureSum
    }

    /// Bytes in the arena.
    public static let byteCount = MemoryLayout<ck_loss_result>.size

    static let operand = Operand(byteCount, .write)

    /// Reads what the last run left.
    public static func load(from slot: Slot, in arena: Arena) -> LossResult {
        unsafe arena.address(of: slot).load(as: LossResult.self)
    }
}

/// The size of all gradients of a step together.
public struct GradientNorm: BitwiseCopyable, Sendable, Equatable {
    /// Euclidean.
    public var norm: Double
    /// What the update multiplies the gradients by.
    public var scale: Float

    public init(norm: Double, scale: Float) {
        self.norm = norm
        self.scale = scale
    }

    /// Bytes in the arena.
    public static let byteCount = MemoryLayout<ck_gradient_norm_result>.size

    /// Reads what the last run left.
    public static func load(from slot: Slot, in arena: Arena) -> GradientNorm {
        unsafe arena.address(of: slot).load(as: GradientNorm.self)
    }
}

extension UnsafeMutableRawPointer {
    var stepState: UnsafePointer<ck_step_state> {
        unsafe UnsafePointer(assumingMemoryBound(to: ck_step_state.self))
    }
    var gradientNorm: UnsafeMutablePointer<ck_gradient_norm_result> {
        unsafe assumingMemoryBound(to: ck_gradient_norm_result.self)
    }
}
