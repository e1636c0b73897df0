internal import COneDNN
internal import Tensor

/// The backward passes of a product over many rows, by oneDNN's forward kernels.
///
/// Its own backward kernels reach 80 to 85 % of what the forward ones do: 4,160 rows of 192 to 768 features
/// on two Zen 5 cores took 3.0 ms for the data and 2.9 for the weights, and take 2.5 ms each this way. The
/// weights are reordered, and their gradient too, which few rows do not pay back.
enum TallProduct {
    /// Below this many rows oneDNN's own backward passes are kept; at 768 a transformer's step gained 3 % in
    /// float32 and 6 % in bfloat16.
    static let rowsMin = 512
    /// Below this many weights the weight gradient gains nothing (65,536 rows of 32 to 64 features).
    static let weightsMin = 8192

    /// inputGradient = outputGradient · weight, as the forward product with the transposed weight.
    static func backwardData(
        _ shape: InnerProductShape, _ element: ElementType, on engine: DNNEngine
    ) throws(KernelError) -> any LayerKernel {
        let turned = InnerProductShape(
            batch: shape.batch, inputs: shape.outputs, outputs: shape.inputs, hasBias: false)
        let product = try InnerProduct.forward(turned, element: element, training: false, on: engine)
        var layouts = product.layouts
        layouts[1] = try layouts[1].transposed()
        return OwnLayerKernel(product, layouts, hasScratchpad: product.scratchpad != nil)
    }

    /// weightGradient = outputGradientᵀ · input by a matrix product, and the bias's by column sums.
    static func backwardWeights(
        _ shape: InnerProductShape, _ element: ElementType, on engine: DNNEngine
    ) throws(KernelError) -> any LayerKernel {
        let (rows, inputs, outputs) = (shape.batch, shape.inputs, shape.outputs)
        let result = try TensorLayout.rowMajor([outputs, inputs])
        let product = try engine.pass(element, .backwardWeights) { element, _ throws(KernelError) in
            var gradient = try TensorLayout.strided([outputs, rows], [1, outputs]).storing(element).descriptor
            var source = try TensorLayout.rowMajor([rows, inputs], element: element).descriptor
            var (bias, destination) = (TensorLayout.absent.descriptor, result.descriptor)
            var operation = dnnl_matmul_desc_t()
            try unsafe KernelError.check(
                dnnl_matmul_desc_init(&operation, &gradient, &source, &bias, &destination),
                "describe a weight gradient")
            return try Primitive(
                { turn throws(KernelError) in
                    try unsafe PrimitiveDescriptor.find(
                        &operation, "find a weight gradient", on: engine, turn
                    ) { name in element != .float32 || name.hasPrefix("gemm") }
                },
                [(DNNL_ARG_WEIGHTS, .read), (DNNL_ARG_SRC, .read), (DNNL_ARG_DST, .write)], on: engine)
        }
        var layouts = [
            try TensorLayout.rowMajor([rows, inputs], element: element),
            try .rowMajor([rows, outputs], element: element), result,
        ]
        guard shape.hasBias else {
            layouts += product.layouts.dropFirst(3)
            return OwnLayerKernel(product, layouts, hasScratchpad: product.scratchpad != nil)
        }
        let sums = Broadcast.sumOverBatch(
            batch: rows, count: outputs, stride: outputs, offset: 0, element: element)
        layouts.append(try .rowMajor([outputs]))
        layouts += product.layouts.dropFirst(3)
        var places: [[KernelSequence.Place]] = [
            [.init(0, 0)], [.init(0, 1), .init(1, 0)], [.init(0, 2)], [.init(1, 1)],
        ]
        if let scratchpad = product.scratchpad { places.append([.init(0, scratchpad)]) }
        return OwnLayerKernel(
            KernelSequence([product, sums], places), layouts, hasScratchpad: product.scratchpad != nil)
    }
}

/// Calls that run one behind the other as one, over operands that they share.
final class KernelSequence: PreparedKernel {
    /// An operand of one of the calls.
    struct Place {
        let kernel: Int
        let operand: Int

        init(_ kernel: Int, _ operand: Int) {
            self.kernel = kernel
            self.operand = operand
        }
    }

    let implementation: String
    let operands: [Operand]
    private let kernels: [any PreparedKernel]
    private let places: [[Place]]

    /// `places` says for each operand of the whole where it enters the calls.
    init(_ kernels: [any PreparedKernel], _ places: [[Place]]) {
        self.kernels = kernels
        self.places = places
        implementation = kernels.map(\.implementation).joined(separator: " + ")
        operands = places.map { kernels[$0[0].kernel].operands[$0[0].operand] }
    }

    func bind(_ operand: Int, to address: UnsafeMutableRawPointer) throws(KernelError) {
        for place in places[operand] { try unsafe kernels[place.kernel].bind(place.operand, to: address) }
    }

    func run() throws(KernelError) { for kernel in kernels { try kernel.run() } }
}
