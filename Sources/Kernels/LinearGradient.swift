internal import CKernels
public import Tensor

/// The weight gradient of a linear layer over a few rows, and the update by it.
///
/// Weights lie in blocks, as oneDNN's forward product wants them; each block is updated while its gradient is
/// in the nearest cache. For bfloat16 activations the update also writes the weights' bfloat16 copy, which
/// the next step's products read. Gradients that are stored first give the same update, bit for bit.
public enum LinearGradient {
    /// More rows than this are oneDNN's.
    public static let rowsMax = Int(CK_LINEAR_ROWS_MAX)

    /// Outputs in a block of the weights; nil where they lie otherwise or the kernel does not take the layer.
    private static func block(_ shape: InnerProductShape, weights: TensorLayout) -> Int? {
        guard (1...rowsMax).contains(shape.batch), !ThinProduct.suits(shape) else { return nil }
        return WeightBlocks(weights).flatMap { $0.isTurned || $0.element != .float32 ? nil : $0.outputs }
    }

    /// As `InnerProduct.backwardWeights`, into float32 blocks; nil where `weights` are none.
    static func gradients(
        _ shape: InnerProductShape, _ element: ElementType, weights: TensorLayout
    ) throws(KernelError) -> OwnLayerKernel? {
        guard let block = block(shape, weights: weights) else { return nil }
        var operands: [(Operand, Call.Binder)] = unsafe inputs(shape, element)
        unsafe operands.append(
            (Operand(weights.byteCount, .write), { unsafe $0.weight_gradient = unsafe $1.floats }))
        var layouts = [
            try TensorLayout.rowMajor([shape.batch, shape.inputs], element: element),
            try .rowMajor([shape.batch, shape.outputs], element: element), weights,
        ]
        if shape.hasBias {
            unsafe operands.append(
                (.floats(shape.outputs, .write), { unsafe $0.bias_gradient = unsafe $1.floats }))
            layouts.append(try .rowMajor([shape.outputs]))
        }
        let call = unsafe Call(
            "ck_linear_gradient", { unsafe ck_linear_gradient($0) },
            unsafe arguments(shape, element, block: block), operands)
        return unsafe OwnLayerKernel(call, layouts)
    }

    /// Which update follows a gradient.
    public struct Update: Sendable {
        public var rule: OptimizerUpdates.Rule
        public var weightDecay: Float
        /// nil leaves the bias alone.
        public var biasDecay: Float?
        public var averagingDecay: Double?
        /// Whether the updated weights are written as bfloat16 too.
        public var copies: Bool
        /// Whether weights and bias have masks.
        public var isMasked: Bool

        public init(
            _ rule: OptimizerUpdates.Rule, weightDecay: Float, biasDecay: Float?, averagingDecay: Double?,
            copies: Bool, isMasked: Bool = false
        ) {
            self.rule = rule
            self.weightDecay = weightDecay
            self.biasDecay = biasDecay
            self.averagingDecay = averagingDecay
            self.copies = copies
            self.isMasked = isMasked
        }
    }

    /// Gradient and update in one call; nil where `weights` are no blocks.
    ///
    /// Operands: `state, input, outputGradient`, then `weight`, its states in the order of the rule's
    /// `stateNames`, its average if there is one, its mask if there is one, the same of the bias if it is
    /// updated, then the copy.
    public static func update(
        _ shape: InnerProductShape, _ element: ElementType, weights: TensorLayout, by update: Update
    ) -> (any PreparedKernel)? {
        guard let block = block(shape, weights: weights) else { return nil }
        let weight = OptimizerUpdates.Segment(
            offset: 0, count: weights.paddedCount, weightDecay: update.weightDecay)
        let lists = [
            SegmentList([weight]),
            SegmentList(
                update.biasDecay.map { [.init(offset: 0, count: shape.outputs, weightDecay: $0)] } ?? []),
        ]
        var arguments = unsafe arguments(shape, element, block: block)
        unsafe arguments.weight = unsafe .init(update.rule, lists[0], averagingDecay: update.averagingDecay)
        unsafe arguments.bias = unsafe .init(update.rule, lists[1], averagingDecay: update.averagingDecay)
        var operands: [(Operand, Call.Binder)] = unsafe [
            (
                StepState.operand,
                {
                    unsafe $0.weight.state = unsafe $1.stepState
                    unsafe $0.bias.state = unsafe $1.stepState
                }
            )
        ]
        unsafe operands += unsafe inputs(shape, element)
        unsafe operands += unsafe regions(update, weights.paddedCount, \.weight)
        if update.biasDecay != nil { unsafe operands += unsafe regions(update, shape.outputs, \.bias) }
        if update.copies {
            unsafe operands.append(
                (
                    .elements(weights.paddedCount, .bfloat16, .write),
                    { unsafe $0.copy = unsafe $1.halves }
                ))
        }
        // The block points into the lists, so the lists live as long as the call.
        return unsafe Call(
            "ck_linear_gradient + \(update.rule.implementation)",
            { arguments in withExtendedLifetime(lists) { unsafe ck_linear_gradient(arguments) } },
            arguments, operands)
    }

    private typealias Call = KernelCall<ck_linear_gradient_arguments>

    private static func arguments(
        _ shape: InnerProductShape, _ element: ElementType, block: Int
    ) -> ck_linear_gradient_arguments {
        var arguments = unsafe ck_linear_gradient_arguments()
        unsafe arguments.rows = shape.batch
        unsafe arguments.inputs = shape.inputs
        unsafe arguments.outputs = shape.outputs
        unsafe arguments.block = block
        unsafe arguments.type = element.kernelElement
        let multiplies = element == .bfloat16 && ck_linear_gradient_multiplies_bfloat16() != 0
        unsafe arguments.pairs = multiplies ? 1 : 0
        return unsafe arguments
    }

    private static func inputs(
        _ shape: InnerProductShape, _ element: ElementType
    ) -> [(Operand, Call.Binder)] {
        unsafe [
            (
                .elements(shape.batch * shape.inputs, element, .read),
                { unsafe $0.input = UnsafeRawPointer($1) }
            ),
            (
                .elements(shape.batch * shape.outputs, element, .read),
                { unsafe $0.output_gradient = UnsafeRawPointer($1) }
            ),
        ]
    }

    /// A parameter and what its update keeps beside it.
    private static func regions(
        _ update: Update, _ count: Int,
        _ arguments: WritableKeyPath<ck_linear_gradient_arguments, ck_update_arguments>
    ) -> [(Operand, Call.Binder)] {
        let region = Operand.floats(count, .readWrite)
        var regions: [(Operand, Call.Binder)] = unsafe [
            (region, { unsafe $0[keyPath: arguments].weight = unsafe $1.floats })
        ]
        let states = update.rule.stateNames.count
        if states > 0 {
            unsafe regions.append((region, { unsafe $0[keyPath: arguments].first = unsafe $1.floats }))
        }
        if states > 1 {
            unsafe regions.append((region, { unsafe $0[keyPath: arguments].second = unsafe $1.floats }))
        }
        if update.averagingDecay != nil {
            unsafe regions.append((region, { unsafe $0[keyPath: arguments].average = unsafe $1.floats }))
        }
        if update.isMasked {
            unsafe regions.append(
                (Operand(count, .read), { unsafe $0[keyPath: arguments].mask = unsafe $1.mask }))
        }
        return unsafe regions
    }
}
