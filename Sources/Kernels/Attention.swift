internal import CKernels
public import Tensor

/// The extents of multi-head attention over sequences of one length.
public struct AttentionShape: Hashable, Sendable {
    public var batch: Int
    public var heads: Int
    public var tokens: Int
    public var headWidth: Int
    /// Whether token i sees tokens 0...i only.
    public var isCausal: Bool
    /// Whether samples end in padding that no token sees.
    public var isPadded = false

    public init(batch: Int, heads: Int, tokens: Int, headWidth: Int, isCausal: Bool) {
        self.batch = batch
        self.heads = heads
        self.tokens = tokens
        self.headWidth = headWidth
        self.isCausal = isCausal
    }

    /// Columns of the output, a third of those of the projection.
    public var width: Int { heads * headWidth }

    /// Elements of the output.
    public var outputCount: Int { batch * tokens * width }
}

/// Dropout of attention probabilities, with which generator's numbers.
public struct AttentionDropout: Hashable, Sendable {
    public var probability: Float
    /// Keeps the streams of several layers apart.
    public var layer: UInt32
    /// The generator's purpose word.
    public var purpose: UInt32

    public init(probability: Float, layer: UInt32, purpose: UInt32) {
        self.probability = probability
        self.layer = layer
        self.purpose = purpose
    }
}

/// What multiplies bfloat16 in attention.
public enum AttentionProducts: Hashable, Sendable {
    /// AVX512-BF16, with probabilities and their gradients rounded to bfloat16, where the machine has it and
    /// heads are of an even width; as `widened` elsewhere.
    case native
    /// float32 arithmetic on widened operands, which is what float32 takes in any case.
    case widened

    fileprivate func pairs(_ shape: AttentionShape, _ element: ElementType) -> Int32 {
        self == .native && element == .bfloat16 && shape.headWidth % 2 == 0 ? ck_multiplies_pairs() : 0
    }
}

/// Scaled dot-product attention, softmax(Q Kᵀ / √d) V for every head.
///
/// The scores are computed in blocks with an online softmax and again in the backward pass (Dao,
/// "FlashAttention-2", 2023): no tokens × tokens matrix is ever stored.
///
/// `qkv` is the fused projection `[batch, tokens, 3 · width]` with queries, keys and values side by side,
/// head h at columns h · headWidth of each; the output is `[batch, tokens, width]`. Heads are split over the
/// team; the bits do not depend on its size.
public enum Attention {
    /// Operands: `qkv, output, logsumexp, scratch`, then `lengths` with padding, then `state` with dropout.
    ///
    /// `logsumexp` is float32 `[batch, heads, tokens]`, what the backward pass needs of the scores. `lengths`
    /// is int32 `[batch]`, the tokens before each sample's padding; none counts as one. A team larger than
    /// `threads` leaves the others idle.
    public static func forward(
        _ shape: AttentionShape, element: ElementType, threads: Int, dropout: AttentionDropout? = nil,
        products: AttentionProducts = .native
    ) -> any PreparedKernel {
        let pairs = products.pairs(shape, element)
        let scratch = threads * ck_attention_scratch_count(shape.tokens, shape.headWidth, pairs)
        let bindings: [Binding] = unsafe [
            (.elements(3 * shape.outputCount, element, .read), { unsafe $0.qkv = UnsafeRawPointer($1) }),
            (.elements(shape.outputCount, element, .write), { unsafe $0.output = $1 }),
            (
                .floats(shape.batch * shape.heads * shape.tokens, .write),
                { unsafe $0.logsumexp = unsafe $1.floats }
            ), (.floats(scratch, .write), { unsafe $0.scratch = unsafe $1.floats }),
        ]
        return unsafe KernelCall(
            pairs == 0 ? "ck_attention" : "ck_attention:bf16", { unsafe ck_attention($0) },
            block(shape, element, threads, dropout, pairs),
            bindings + lengths(of: shape) + state(of: dropout))
    }

    /// Operands: `qkv, output, logsumexp, output gradient, qkv gradient, scratch`, then `lengths` with
    /// padding, then `state` with dropout.
    ///
    /// `output` and `logsumexp` are the forward pass's. `qkv gradient` may share `qkv`'s slot.
    public static func backward(
        _ shape: AttentionShape, element: ElementType, threads: Int, dropout: AttentionDropout? = nil,
        products: AttentionProducts = .native
    ) -> any PreparedKernel {
        let pairs = products.pairs(shape, element)
        let scratch = threads * ck_attention_backward_scratch_count(shape.tokens, shape.headWidth, pairs)
        let bindings: [Binding] = unsafe [
            (.elements(3 * shape.outputCount, element, .read), { unsafe $0.qkv = UnsafeRawPointer($1) }),
            (.elements(shape.outputCount, element, .read), { unsafe $0.output = $1 }),
            (
                .floats(shape.batch * shape.heads * shape.tokens, .read),
                { unsafe $0.logsumexp = unsafe $1.floats }
            ),
            (
                .elements(shape.outputCount, element, .read),
                { unsafe $0.output_gradient = UnsafeRawPointer($1) }
            ), (.elements(3 * shape.outputCount, element, .write), { unsafe $0.qkv_gradient = $1 }),
            (.floats(scratch, .write), { unsafe $0.scratch = unsafe $1.floats }),
        ]
        return unsafe KernelCall(
            pairs == 0 ? "ck_attention_backward" : "ck_attention_backward:bf16",
            { unsafe ck_attention_backward($0) }, block(shape, element, threads, dropout, pairs),
            bindings + lengths(of: shape) + state(of: dropout))
    }

    private typealias Binding = (Operand, KernelCall<ck_attention_arguments>.Binder)

    private static func block(
        _ shape: AttentionShape, _ element: ElementType, _ threads: Int, _ dropout: AttentionDropout?,
        _ pairs: Int32
    ) -> ck_attention_arguments {
        var block = unsafe ck_attention_arguments()
        unsafe block.batch = shape.batch
        unsafe block.heads = shape.heads
        unsafe block.tokens = shape.tokens
        unsafe block.head_width = shape.headWidth
        unsafe block.element = element.kernelElement
        unsafe block.causal = shape.isCausal ? 1 : 0
        unsafe block.pairs = pairs
        unsafe block.scale = 1 / Float(shape.headWidth).squareRoot()
        unsafe block.probability = dropout?.probability ?? 0
        unsafe block.layer = dropout?.layer ?? 0
        unsafe block.purpose = dropout?.purpose ?? 0
        unsafe block.threads = threads
        return unsafe block
    }

    private static func lengths(of shape: AttentionShape) -> [Binding] {
        guard shape.isPadded else { return unsafe [] }
        return unsafe [
            (
                Operand(shape.batch * MemoryLayout<Int32>.stride, .read),
                { unsafe $0.lengths = unsafe UnsafePointer($1.integers) }
            )
        ]
    }

    private static func state(of dropout: AttentionDropout?) -> [Binding] {
        guard dropout != nil else { return unsafe [] }
        return unsafe [
            (
                StepState.operand,
                { unsafe $0.state = unsafe UnsafePointer($1.assumingMemoryBound(to: ck_step_state.self)) }
            )
        ]
    }
}
