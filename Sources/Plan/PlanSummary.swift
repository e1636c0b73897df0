/// Which part of a training step a call belongs to.
public enum StepPass: String, Sendable, CaseIterable { case forward, backward, update }

/// What a plan does and what it takes, as values that can be printed.
public struct PlanSummary: Sendable, Equatable {
    /// One call.
    public struct Step: Sendable, Equatable {
        /// `conv1 + relu1 forward`.
        public var label: String
        /// The node it belongs to; `input`, `loss` or `optimizer` where it belongs to none.
        public var layer: String
        public var pass: StepPass
        /// What computes it.
        public var kernel: String
        /// Multiply-accumulates.
        public var macs: Int
        /// Bytes of the operands that it reads, and of those that it writes.
        public var bytesRead, bytesWritten: Int

        /// Describes a call.
        public init(
            label: String, layer: String, pass: StepPass, kernel: String, macs: Int, bytesRead: Int,
            bytesWritten: Int
        ) {
            (self.label, self.layer, self.pass, self.kernel) = (label, layer, pass, kernel)
            (self.macs, self.bytesRead, self.bytesWritten) = (macs, bytesRead, bytesWritten)
        }

        /// Bytes that it reads and writes.
        public var byteCount: Int { bytesRead + bytesWritten }
    }

    /// A block of memory.
    public struct Buffer: Sendable, Equatable {
        /// What a buffer is there for.
        public enum Kind: String, Sendable, CaseIterable {
            case parameter
            case optimizerState = "optimizer_state"
            /// Made by the forward pass and read by a later call.
            case activation
            /// Made by the backward pass and read by a later call.
            case gradient
            /// Used by a single call.
            case scratch
            /// A table in memory of its own.
            case constant
            /// The batch, which whoever runs the plan provides.
            case batch
        }

        public var label: String
        public var byteCount: Int
        /// First and last step that use it.
        public var lifetime: ClosedRange<Int>
        public var kind: Kind
        /// Where it begins in the arena; nil where it lies elsewhere.
        public var offset: Int?

        /// Describes a block.
        public init(label: String, byteCount: Int, lifetime: ClosedRange<Int>, kind: Kind, offset: Int?) {
            (self.label, self.byteCount, self.lifetime) = (label, byteCount, lifetime)
            (self.kind, self.offset) = (kind, offset)
        }
    }

    /// Bytes of the arena that outlive a run.
    public struct Regions: Sendable, Equatable {
        /// Parameters, running statistics, and what a step reads and reports.
        public var parameters: Int
        /// The optimiser's tensors, the averages, scores and masks.
        public var optimizerState: Int
        /// Gradients that are kept until all are there.
        public var gradients: Int

        /// Names the regions' sizes.
        public init(parameters: Int, optimizerState: Int, gradients: Int) {
            (self.parameters, self.optimizerState, self.gradients) = (parameters, optimizerState, gradients)
        }
    }

    /// Samples of a run.
    public var batch: Int
    /// Bytes of the arena up to the plan's end.
    public var byteCount: Int
    public var regions: Regions
    public var steps: [Step]
    public var buffers: [Buffer]

    /// Puts a summary together.
    public init(batch: Int, byteCount: Int, regions: Regions, steps: [Step], buffers: [Buffer]) {
        (self.batch, self.byteCount, self.regions) = (batch, byteCount, regions)
        (self.steps, self.buffers) = (steps, buffers)
    }

    /// Multiply-accumulates of a run.
    public var macs: Int { steps.reduce(0) { $0 + $1.macs } }

    /// Bytes that the calls of a run read and write.
    public var bytesMoved: Int { steps.reduce(0) { $0 + $1.byteCount } }
}

/// The memory in use while one step of a plan runs, in bytes by purpose.
public struct MemoryUse: Sendable, Equatable {
    public var parameters = 0
    public var optimizerState = 0
    public var activations = 0
    public var gradients = 0
    public var scratch = 0

    /// Nothing in use.
    public init() {}

    /// All of it.
    public var total: Int { parameters + optimizerState + activations + gradients + scratch }
}

extension PlanSummary {
    /// The memory in use at each step; what lies outside the arena does not count.
    public var memory: [MemoryUse] {
        var resident = MemoryUse()
        resident.parameters = regions.parameters
        resident.optimizerState = regions.optimizerState
        resident.gradients = regions.gradients
        var uses = [MemoryUse](repeating: resident, count: steps.count)
        for buffer in buffers where (buffer.offset ?? 0) >= residentByteCount {
            for step in buffer.lifetime.clamped(to: 0...max(steps.count - 1, 0)) {
                switch buffer.kind {
                case .activation: uses[step].activations += buffer.byteCount
                case .gradient: uses[step].gradients += buffer.byteCount
                case .scratch: uses[step].scratch += buffer.byteCount
                case .parameter, .optimizerState, .constant, .batch: break
                }
            }
        }
        return uses
    }

    /// The most that is in use at once; the arena is larger where buffers leave gaps.
    public var peak: MemoryUse { memory.max { $0.total < $1.total } ?? MemoryUse() }

    /// Where transient buffers begin.
    private var residentByteCount: Int {
        regions.parameters + regions.optimizerState + regions.gradients
    }
}
