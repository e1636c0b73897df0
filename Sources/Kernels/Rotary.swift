internal import CKernels
internal import Glibc
public import Tensor

/// Rotary position embedding (Su et al., "RoFormer", 2021), in the order of GPT-NeoX and Llama: columns i and
/// i + headWidth / 2 of a head are one plane.
public enum Rotary {
    /// What `apply` turns by: `[tokens, headWidth]`, the cosines of t · base^(-2i / headWidth), then sines.
    public static func table(tokens: Int, headWidth: Int, base: Double = 10_000) -> [Float] {
        let half = headWidth / 2
        var table = [Float](repeating: 0, count: tokens * headWidth)
        for token in 0..<tokens {
            for plane in 0..<half {
                let angle = Double(token) * pow(base, -2 * Double(plane) / Double(headWidth))
                table[token * headWidth + plane] = Float(cos(angle))
                table[token * headWidth + half + plane] = Float(sin(angle))
            }
        }
        return table
    }

    /// Turns the queries and keys of a fused projection in place; operands `table, qkv`.
    ///
    /// The inverse turn of the projection's gradient is the backward pass. `headWidth` must be even.
    public static func apply(
        _ shape: AttentionShape, element: ElementType, inverse: Bool
    ) -> any PreparedKernel {
        precondition(shape.headWidth % 2 == 0, "rotary positions need planes, not \(shape.headWidth) columns")
        var block = unsafe ck_rotary_arguments()
        unsafe block.batch = shape.batch
        unsafe block.tokens = shape.tokens
        unsafe block.heads = shape.heads
        unsafe block.head_width = shape.headWidth
        unsafe block.element = element.kernelElement
        unsafe block.inverse = inverse ? 1 : 0
        return unsafe KernelCall(
            "ck_rotary", { unsafe ck_rotary($0) }, block,
            [
                (
                    .floats(shape.tokens * shape.headWidth, .read),
                    { unsafe $0.table = unsafe $1.constantFloats }
                ),
                (.elements(3 * shape.outputCount, element, .readWrite), { unsafe $0.qkv = $1 }),
            ])
    }
}
