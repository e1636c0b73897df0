public import Graph
internal import Kernels
internal import Tensor

/// Weights that are held at zero.
extension Program {
    /// Whether parameters have masks.
    public var isMasked: Bool { store.masks != nil }

    /// Which numbers of a parameter stay: 1, or 0 for those that are held at zero, in PyTorch's order; nil
    /// where there are no masks.
    public func mask(of id: Graph.ParameterID) throws(PlanError) -> [UInt8]? {
        guard let arena else { preconditionFailure("the program has no arena yet") }
        return try store.readMask(id, from: arena, on: engine)
    }

    /// Holds numbers of a parameter at zero from now on.
    ///
    /// The value, the optimiser's states and the average become 0 where the mask is, through every update.
    ///
    /// - Parameters:
    ///   - mask: 1 for what stays, 0 for what does not, in PyTorch's order.
    ///   - id: A trained parameter of a program with masks.
    /// - Throws: `PlanError` when a call fails.
    public func setMask(_ mask: [UInt8], of id: Graph.ParameterID) throws(PlanError) {
        guard let arena else { preconditionFailure("the program has no arena yet") }
        parametersDidChange()
        try store.writeMask(mask, of: id, in: arena, on: engine)
    }

    /// Puts zeros where the masks are 0, after the caller has written parameters of other origin.
    public func applyMasks() throws(PlanError) {
        guard let arena, isMasked else { return }
        parametersDidChange()
        for id in graph.parameterIDs { try store.applyMask(of: id, in: arena) }
    }
}
