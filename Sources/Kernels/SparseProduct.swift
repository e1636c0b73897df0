internal import CKernels

/// How weights that are mostly zero are kept.
public struct SparseLayout: Hashable, Sendable {
    /// What is kept of them.
    public enum Format: String, Sendable, CaseIterable {
        /// Every weight that is not zero, output by output (compressed sparse rows).
        case csr
        /// Four weights of neighbouring outputs where any of them is not zero: all four take the same input.
        case block

        /// Outputs that share the input of a kept column.
        var outputs: Int { self == .csr ? 1 : 4 }
    }

    public var format: Format
    /// Columns that are kept: a weight each, or four.
    public var columnCount: Int

    /// Room for so many columns.
    public init(_ format: Format, columnCount: Int) {
        (self.format, self.columnCount) = (format, columnCount)
    }

    /// What a format keeps of weights.
    ///
    /// - Parameters:
    ///   - format: How they are kept.
    ///   - weights: `[outputs, inputs]`, the taps of a convolution counting as inputs, in any order.
    ///   - outputs: Rows of them.
    public init(_ format: Format, of weights: [Float], outputs: Int) {
        let width = weights.count / max(outputs, 1)
        var count = 0
        for first in stride(from: 0, to: outputs, by: format.outputs) {
            let rows = first..<min(first + format.outputs, outputs)
            for column in 0..<width where rows.contains(where: { weights[$0 * width + column] != 0 }) {
                count += 1
            }
        }
        self.init(format, columnCount: count)
    }

    /// Weights that are multiplied by, zeros among them.
    public var weightCount: Int { columnCount * format.outputs }
}

/// A layer whose weights are mostly zero, for inference in float32: only what is kept is multiplied.
///
/// Sums have an order of their own for each output: the same bits with any number of threads.
public struct SparseProduct {
    private let shape: ConvolutionShape
    private let layout: SparseLayout
    private let block: ck_sparse_shape
    private let threads: Int

    /// Rows of a linear layer below which a vector's lanes are weights instead of samples.
    private static let samplesMin = 4
    /// Images of a convolution below which a vector's lanes are pixels of one instead of samples.
    private static let imagesMin = 8

    /// A linear layer.
    ///
    /// It is nil where its extents are too large for offsets of 32 bits.
    public init?(_ shape: InnerProductShape, _ layout: SparseLayout) {
        var pixel = ConvolutionShape(
            batch: shape.batch, inChannels: shape.inputs, inHeight: 1, inWidth: 1,
            outChannels: shape.outputs, kernelHeight: 1, kernelWidth: 1)
        pixel.hasBias = shape.hasBias
        let isFew = shape.batch < Self.samplesMin
        self.init(pixel, layout, lanes: isFew ? CK_SPARSE_WEIGHTS : CK_SPARSE_SAMPLES)
    }

    /// A convolution.
    ///
    /// It is nil for several groups, for few images and a stride beyond 1, and for extents that are too large
    /// for offsets of 32 bits.
    public init?(_ shape: ConvolutionShape, _ layout: SparseLayout) {
        let isFew = shape.batch < Self.imagesMin
        guard shape.groups == 1, !isFew || (shape.strideHeight == 1 && shape.strideWidth == 1) else {
            return nil
        }
        self.init(shape, layout, lanes: isFew ? CK_SPARSE_PIXELS : CK_SPARSE_SAMPLES)
    }

    private init?<Lanes: BinaryInteger>(_ shape: ConvolutionShape, _ layout: SparseLayout, lanes: Lanes) {
        let height = shape.inHeight + 2 * shape.paddingHeight
        let width = shape.inWidth + 2 * shape.paddingWidth
        // Offsets count the floats of sixteen padded images, and columns.
        var extent = 16
        for factor in [shape.inChannels, height, width] {
            let (product, overflow) = extent.multipliedReportingOverflow(by: factor)
            guard !overflow, product <= Int(UInt32.max) else { return nil }
            extent = product
        }
        guard layout.weightCount <= Int(UInt32.max) else { return nil }
        (self.shape, self.layout) = (shape, layout)
        threads = ThreadTeam.count
        block = ck_sparse_shape(
            batch: shape.batch, channels: shape.inChannels, height: shape.inHeight, width: shape.inWidth,
            out_channels: shape.outChannels, out_height: shape.outHeight, out_width: shape.outWidth,
            kernel_height: shape.kernelHeight, kernel_width: shape.kernelWidth,
            stride_height: shape.strideHeight, stride_width: shape.strideWidth,
            padding_height: shape.paddingHeight, padding_width: shape.paddingWidth,
            dilation_height: shape.dilationHeight, dilation_width: shape.dilationWidth,
            lanes: ck_sparse_lanes(lanes), block: UInt32(layout.format.outputs),
            capacity: layout.columnCount)
    }

    /// Whether what stands behind the layer can be done in the same pass: nothing, or an activation.
    public static func fuses(_ operations: [PostOperation]) -> Bool {
        operations.isEmpty || operations.count == 1 && operations.allSatisfy { $0.activation != nil }
    }

    /// Multiply-accumulates of one pass.
    public var macs: Int { shape.batch * shape.outHeight * shape.outWidth * layout.weightCount }

    private var packedByteCount: Int {
        var block = block
        return unsafe ck_sparse_weights_size(&block)
    }

    /// Keeps what is not zero.
    ///
    /// Operands: `weights` in PyTorch's order, `packed`. It throws when it runs and more weights are not zero
    /// than the layout has room for.
    public func packing() -> any PreparedKernel {
        let weights = shape.outChannels * shape.inChannels * shape.kernelHeight * shape.kernelWidth
        return unsafe SparsePacking(
            ck_sparse_pack_arguments(shape: block, weights: nil, packed: nil), weightCount: weights,
            packedByteCount: packedByteCount)
    }

    /// output = activation(weights · input + bias).
    ///
    /// Operands: `input, packed, [bias], output, [scratchpad]`.
    public func forward(fusing operations: [PostOperation] = []) -> any PreparedKernel {
        precondition(Self.fuses(operations), "\(operations) behind a sparse product")
        let activation = operations.first?.activation
        var arguments = unsafe ck_sparse_arguments()
        unsafe arguments.shape = block
        unsafe arguments.threads = threads
        unsafe arguments.kind = activation?.kernelActivation ?? ck_activation(CK_ACTIVATION_NONE)
        unsafe arguments.slope = activation?.slope ?? 0
        let inputs = shape.batch * shape.inHeight * shape.inWidth * shape.inChannels
        let outputs = shape.batch * shape.outHeight * shape.outWidth * shape.outChannels
        typealias Binding = (Operand, KernelCall<ck_sparse_arguments>.Binder)
        var bindings: [Binding] = unsafe [
            (.floats(inputs, .read), { unsafe $0.input = unsafe $1.constantFloats }),
            (Operand(packedByteCount, .read), { unsafe $0.packed = unsafe UnsafeRawPointer($1) }),
        ]
        if shape.hasBias {
            unsafe bindings.append(
                (.floats(shape.outChannels, .read), { unsafe $0.bias = unsafe $1.constantFloats }))
        }
        unsafe bindings.append((.floats(outputs, .write), { unsafe $0.output = unsafe $1.floats }))
        var extents = block
        let scratch = unsafe ck_sparse_scratch_count(&extents, threads)
        if scratch > 0 {
            unsafe bindings.append((.floats(scratch, .readWrite), { unsafe $0.scratch = unsafe $1.floats }))
        }
        return unsafe KernelCall(
            "ck_sparse_\(layout.format.rawValue)", { unsafe ck_sparse_product($0) }, arguments, bindings)
    }
}

/// The call that leaves out zeros.
private final class SparsePacking: PreparedKernel {
    /// How many columns the last call has found.
    private final class Tally { var count = 0 }

    private let tally = Tally()
    private let room: Int
    private let call: any PreparedKernel

    init(_ block: ck_sparse_pack_arguments, weightCount: Int, packedByteCount: Int) {
        unsafe room = block.shape.capacity
        let tally = tally
        unsafe call = KernelCall(
            "ck_sparse_pack", { tally.count = unsafe ck_sparse_pack($0) }, block,
            [
                (.floats(weightCount, .read), { unsafe $0.weights = unsafe $1.constantFloats }),
                (Operand(packedByteCount, .write), { unsafe $0.packed = unsafe $1 }),
            ])
    }

    var implementation: String { call.implementation }
    var operands: [Operand] { call.operands }

    func bind(_ operand: Int, to address: UnsafeMutableRawPointer) throws(KernelError) {
        try unsafe call.bind(operand, to: address)
    }

    func run() throws(KernelError) {
        try call.run()
        guard tally.count <= room else {
            throw KernelError(
                action: "leave out the zeros of weights",
                reason: "there is room for \(room) columns, and \(tally.count) are not zero")
        }
    }
}
