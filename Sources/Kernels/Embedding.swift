internal import CKernels
public import Tensor

/// Rows of a float32 table by Int32 ids, as PyTorch's `Embedding`.
public enum Embedding {
    /// output[r] = table[ids[r]]; operands `ids, table, output`.
    ///
    /// The table is `[vocabulary, width]`. An id outside the vocabulary gives a row of zeros.
    public static func forward(
        rows: Int, width: Int, vocabulary: Int, element: ElementType
    ) -> any PreparedKernel {
        var block = unsafe ck_embedding_arguments()
        unsafe block.rows = rows
        unsafe block.width = width
        unsafe block.vocabulary = vocabulary
        unsafe block.element = element.kernelElement
        return unsafe KernelCall(
            "ck_embedding", { unsafe ck_embedding($0) }, block,
            [
                (.floats(rows, .read), { unsafe $0.ids = unsafe UnsafePointer($1.integers) }),
                (.floats(vocabulary * width, .read), { unsafe $0.table = unsafe $1.constantFloats }),
                (.elements(rows * width, element, .write), { unsafe $0.output = $1 }),
            ])
    }

    /// Tokens of each sample up to its last one that is not padding, at least 1; operands `ids, lengths`.
    public static func lengths(batch: Int, tokens: Int, padding: Int) -> any PreparedKernel {
        var block = unsafe ck_token_lengths_arguments()
        unsafe block.batch = batch
        unsafe block.tokens = tokens
        unsafe block.padding = Int32(clamping: padding)
        return unsafe KernelCall(
            "ck_token_lengths", { unsafe ck_token_lengths($0) }, block,
            [
                (.floats(batch * tokens, .read), { unsafe $0.ids = unsafe UnsafePointer($1.integers) }),
                (.floats(batch, .write), { unsafe $0.lengths = unsafe $1.integers }),
            ])
    }

    /// The table's gradient: the rows' gradients summed by id, in ascending order of the rows on any team.
    ///
    /// Operands: `ids, output gradient, table gradient`. With `accumulates` the sums are added to what the
    /// table's gradient holds, as for a table that is also the output layer's weight.
    public static func backward(
        rows: Int, width: Int, vocabulary: Int, element: ElementType, accumulates: Bool
    ) -> any PreparedKernel {
        var block = unsafe ck_embedding_backward_arguments()
        unsafe block.rows = rows
        unsafe block.width = width
        unsafe block.vocabulary = vocabulary
        unsafe block.element = element.kernelElement
        unsafe block.adds = accumulates ? 1 : 0
        return unsafe KernelCall(
            "ck_embedding_backward", { unsafe ck_embedding_backward($0) }, block,
            [
                (.floats(rows, .read), { unsafe $0.ids = unsafe UnsafePointer($1.integers) }),
                (
                    .elements(rows * width, element, .read),
                    { unsafe $0.output_gradient = UnsafeRawPointer($1) }
                ),
                (
                    .floats(vocabulary * width, accumulates ? .readWrite : .write),
                    { unsafe $0.table_gradient = unsafe $1.floats }
                ),
            ])
    }
}
