internal import Tensor

/// An activation that runs in the call of the layer in front of it.
public struct LayerActivation: Hashable, Sendable {
    /// What is left for the backward pass beside the output.
    public enum Kept: Sendable { case nothing, input, derivative }

    public let kind: ActivationKind
    public let kept: Kept

    /// For training, what the backward pass of the kind cannot do without.
    ///
    /// A derivative where it shares most of what the output costs; else it would cost no less than the
    /// backward pass takes from the input.
    public init(_ kind: ActivationKind, training: Bool) {
        self.kind = kind
        kept =
            !training || kind.backwardReads == .output
            ? .nothing : Activation.sharesDerivative(kind) ? .derivative : .input
    }
}

/// A layer and the activation behind it, for layers that cannot run it themselves.
///
/// Operands are the layer's, of which the output is the last but for the scratchpad; behind the output comes
/// what is kept, if anything, which the layer writes and the activation reads.
final class ActivatedKernel: LayerKernel {
    let implementation: String
    let operands: [Operand]
    let layouts: [TensorLayout]
    let scratchpad: Int?
    private let kernel: any LayerKernel
    private let following: any PreparedKernel
    /// Places of the output and of what is kept.
    private let output: Int
    private let kept: Int?
    private let keepsDerivative: Bool

    var isReference: Bool { kernel.isReference }

    init(_ kernel: any LayerKernel, _ activation: LayerActivation, _ element: ElementType) {
        self.kernel = kernel
        output = (kernel.scratchpad ?? kernel.operands.count) - 1
        kept = activation.kept == .nothing ? nil : output + 1
        keepsDerivative = activation.kept == .derivative
        let count = kernel.operands[output].byteCount / element.byteCount
        following =
            keepsDerivative
            ? Activation.forwardWithDerivative(activation.kind, count: count, type: element)
            : Activation.forward(activation.kind, count: count, type: element)
        var (operands, layouts) = (kernel.operands, kernel.layouts)
        if let kept {
            operands.insert(operands[output], at: kept)
            layouts.insert(layouts[output], at: kept)
        }
        (self.operands, self.layouts) = (operands, layouts)
        scratchpad = kernel.scratchpad == nil ? nil : operands.count - 1
        implementation = "\(kernel.implementation) + \(following.implementation)"
    }

    func bind(_ operand: Int, to address: UnsafeMutableRawPointer) throws(KernelError) {
        if operand == output { try unsafe following.bind(1, to: address) }
        if operand == kept ?? output {
            try unsafe kernel.bind(output, to: address)
            try unsafe following.bind(0, to: address)
            if keepsDerivative { try unsafe following.bind(2, to: address) }
        }
        guard operand != output, operand != kept else { return }
        try unsafe kernel.bind(operand == scratchpad ? kernel.scratchpad ?? operand : operand, to: address)
    }

    func run() throws(KernelError) {
        try kernel.run()
        try following.run()
    }
}

extension ActivatedKernel {
    /// What a thread computes of a slice: half of a second-level cache of 1 MiB.
    private static let sliceByteCount = 512 << 10

    /// Makes a layer with an activation behind it, cut into slices of the batch whose outputs are activated
    /// while they lie in the second-level caches.
    ///
    /// `make` gets the size of a batch and the layout of the weights to take.
    static func prepare(
        _ activation: LayerActivation, batch: Int, _ element: ElementType, isCut: Bool = true,
        weights: TensorLayout?,
        _ make: (Int, TensorLayout?) throws(KernelError) -> any LayerKernel
    ) throws(KernelError) -> any LayerKernel {
        let whole = ActivatedKernel(try make(batch, weights), activation, element)
        let bytes = whole.operands[whole.output].byteCount
        // Kinds that keep their derivative are bound by arithmetic: pointwise layers with GELU lost 5 %.
        let isBound = Activation.sharesDerivative(activation.kind)
        let count = isCut && !isBound ? min(batch, bytes / (sliceByteCount * ThreadTeam.count)) : 1
        guard count > 1, !whole.isReference else { return whole }
        var slices: [any LayerKernel] = []
        for slice in 0..<count {
            let size = batch * (slice + 1) / count - batch * slice / count
            guard let part = try? make(size, whole.layouts[1]), !part.isReference else {
                return whole
            }
            slices.append(ActivatedKernel(part, activation, element))
        }
        var shared = [0: whole.layouts[0], whole.output: whole.layouts[whole.output]]
        if let kept = whole.kept { shared[kept] = whole.layouts[kept] }
        return (try? SlicedConvolution(slices, whole: shared)) ?? whole
    }
}
