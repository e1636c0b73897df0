internal import CKernels
public import Tensor

/// What a step reads that changes from step to step; lies in the arena, so that the step's calls need not.
public struct StepState: BitwiseCopyable, Sendable {
    public var seed: UInt64
    public var step: UInt64
    public var learningRate: Float
    /// 1 / (samples that the gradient is averaged over).
    public var inverseCount: Float

    public init(seed: UInt64, step: UInt64, learningRate: Float, inverseCount: Float) {
        self.seed = seed
        self.step = step
        self.learningRate = learningRate
        self.inverseCount = inverseCount
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
    /// Sum over the rows.
    public var lossSum: Double
    /// Rows whose largest output is the label's.
    public var correct: Int64
    public var rows: Int64

    /// Bytes in the arena.
    public static let byteCount = MemoryLayout<ck_loss_result>.size

    static let operand = Operand(byteCount, .write)

    /// Reads what the last run left.
    public static func load(from slot: Slot, in arena: Arena) -> LossResult {
        unsafe arena.address(of: slot).load(as: LossResult.self)
    }
}
