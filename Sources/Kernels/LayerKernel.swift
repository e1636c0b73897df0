/// A pass of a layer with weights: a oneDNN primitive, or a kernel of ours.
///
/// Operands are in `Convolution`'s orders.
public protocol LayerKernel: PreparedKernel {
    /// The layout of each operand, in the order of `operands`.
    var layouts: [TensorLayout] { get }
    /// Index of the scratchpad operand, if there is one.
    var scratchpad: Int? { get }
    /// True for plain loops, thousands of times slower than the others.
    var isReference: Bool { get }
}

extension Primitive: LayerKernel {}

/// One of our kernels with the layouts of its operands.
final class OwnLayerKernel: LayerKernel {
    let layouts: [TensorLayout]
    let scratchpad: Int?
    let isReference = false
    private let kernel: any PreparedKernel

    /// `layouts` in the order of the kernel's operands, a scratchpad last.
    init(_ kernel: any PreparedKernel, _ layouts: [TensorLayout], hasScratchpad: Bool = false) {
        precondition(layouts.count == kernel.operands.count, "\(layouts.count) layouts")
        self.kernel = kernel
        self.layouts = layouts
        scratchpad = hasScratchpad ? layouts.count - 1 : nil
    }

    var implementation: String { kernel.implementation }
    var operands: [Operand] { kernel.operands }

    func bind(_ operand: Int, to address: UnsafeMutableRawPointer) throws(KernelError) {
        try unsafe kernel.bind(operand, to: address)
    }

    func run() throws(KernelError) { try kernel.run() }
}
