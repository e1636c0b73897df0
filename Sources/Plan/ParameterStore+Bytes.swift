internal import Tensor

/// What the front of the arena is made of.
extension ParameterStore {
    /// What an update keeps beside the parameters.
    private var beside: [Slot] { states + [averages, scores, masks].compactMap(\.self) }

    /// Bytes of the optimiser's tensors, the averages, scores and masks.
    var stateByteCount: Int { beside.reduce(0) { $0 + $1.byteCount } }

    /// Bytes of the gradients that outlive their step's calls.
    var gradientByteCount: Int { gradients?.byteCount ?? 0 }

    /// Bytes of everything else: parameters, running statistics, and what a step reads and reports.
    var parameterByteCount: Int { byteCount - stateByteCount - gradientByteCount }

    /// What a buffer holds; `first` is the pass of the first step that uses it.
    func kind(of buffer: Buffer, first: StepPass) -> PlanSummary.Buffer.Kind {
        switch buffer.home {
        case .constant: return .constant
        case .external: return .batch
        case .persistent(let slot):
            if let gradients, gradients.contains(slot) { return .gradient }
            let isState = beside.contains { $0.contains(slot) }
            return isState ? .optimizerState : .parameter
        case .transient:
            if let lifetime = buffer.lifetime, lifetime.count == 1, !buffer.isKept { return .scratch }
            return first == .forward ? .activation : .gradient
        }
    }
}

extension Slot {
    fileprivate func contains(_ other: Slot) -> Bool { offset <= other.offset && other.end <= end }
}
