internal import CKernels
public import Tensor

/// Activations copied to another place or order, bit by bit.
public enum Movement {
    /// The most axes that `permute` takes.
    public static let rankMax = Int(CK_PERMUTE_RANK)

    /// Reorders axes, as PyTorch's `permute` of a contiguous tensor; operands `input, output`.
    ///
    /// Axis k of the output is axis `axes[k]` of the input, whose extents are given outermost first, at most
    /// `rankMax` of them.
    public static func permute(extents: [Int], axes: [Int], element: ElementType) -> any PreparedKernel {
        precondition(
            extents.count <= rankMax && axes.sorted() == Array(extents.indices),
            "\(axes) is no order of the axes of \(extents)")
        let merged = mergedAxes(extents: extents, axes: axes)
        let outer = [(extent: Int, stride: Int)](repeating: (1, 0), count: rankMax - merged.count)
        let all = outer + merged
        var block = unsafe ck_permute_arguments()
        unsafe block.extents = (all[0].extent, all[1].extent, all[2].extent, all[3].extent, all[4].extent)
        unsafe block.strides = (all[0].stride, all[1].stride, all[2].stride, all[3].stride, all[4].stride)
        unsafe block.element = element.kernelElement
        let count = extents.reduce(1, *)
        return unsafe KernelCall(
            "ck_permute", { unsafe ck_permute($0) }, block,
            [
                (.elements(count, element, .read), { unsafe $0.input = UnsafeRawPointer($1) }),
                (.elements(count, element, .write), { unsafe $0.output = $1 }),
            ])
    }

    /// Columns `range` of rows of `width`; operands `source, output`.
    ///
    /// A slice along any axis is one of columns: rows are what lies outside the axis, and columns the axis
    /// and what lies inside. The output is `[rows, range.count]`.
    public static func slice(
        rows: Int, width: Int, range: Range<Int>, element: ElementType
    ) -> any PreparedKernel {
        copyColumns(
            rows: rows, count: range.count, source: (width, range.lowerBound), output: (range.count, 0),
            outputAccess: .write, element: element)
    }

    /// The gradient of `slice`: columns `range` from the source, zeros beside; operands `source, output`.
    public static func sliceBackward(
        rows: Int, width: Int, range: Range<Int>, element: ElementType
    ) -> any PreparedKernel {
        copyColumns(
            rows: rows, count: range.count, source: (range.count, 0), output: (width, range.lowerBound),
            outputAccess: .write, element: element)
    }

    /// Writes columns `range` of rows of `width` and leaves the others: one part of a concatenation; operands
    /// `source, output`.
    public static func insert(
        rows: Int, width: Int, range: Range<Int>, element: ElementType
    ) -> any PreparedKernel {
        copyColumns(
            rows: rows, count: range.count, source: (range.count, 0), output: (width, range.lowerBound),
            outputAccess: .readWrite, element: element)
    }

    /// output[b] = the token, then input[b], for sequences `[batch, tokens, width]`; operands
    /// `token, input, output`.
    ///
    /// The token is a float32 parameter; its gradient is `Broadcast.sumOverBatch` of the output's first rows,
    /// the input's is a `slice`.
    public static func prependToken(
        batch: Int, tokens: Int, width: Int, element: ElementType
    ) -> any PreparedKernel {
        var block = unsafe ck_prepend_token_arguments()
        unsafe block.batch = batch
        unsafe block.tokens = tokens
        unsafe block.width = width
        unsafe block.element = element.kernelElement
        return unsafe KernelCall(
            "ck_prepend_token", { unsafe ck_prepend_token($0) }, block,
            [
                (.floats(width, .read), { unsafe $0.token = unsafe $1.constantFloats }),
                (
                    .elements(batch * tokens * width, element, .read),
                    { unsafe $0.input = UnsafeRawPointer($1) }
                ),
                (.elements(batch * (tokens + 1) * width, element, .write), { unsafe $0.output = $1 }),
            ])
    }

    /// Zeros beside the columns unless the output is also read, that is kept.
    private static func copyColumns(
        rows: Int, count: Int, source: (stride: Int, offset: Int), output: (stride: Int, offset: Int),
        outputAccess: Access, element: ElementType
    ) -> any PreparedKernel {
        precondition(
            source.offset >= 0 && source.offset + count <= source.stride && output.offset >= 0
                && output.offset + count <= output.stride,
            "\(count) columns at \(source) or \(output) leave their row")
        let size = element.byteCount
        var block = unsafe ck_copy_columns_arguments()
        unsafe block.rows = rows
        unsafe block.count = count * size
        unsafe block.source_stride = source.stride * size
        unsafe block.source_offset = source.offset * size
        unsafe block.output_stride = output.stride * size
        unsafe block.output_offset = output.offset * size
        unsafe block.zeros_rest = outputAccess == .write ? 1 : 0
        return unsafe KernelCall(
            "ck_copy_columns", { unsafe ck_copy_columns($0) }, block,
            [
                (
                    .elements(rows * source.stride, element, .read),
                    { unsafe $0.source = UnsafeRawPointer($1) }
                ),
                (.elements(rows * output.stride, element, outputAccess), { unsafe $0.output = $1 }),
            ])
    }

    /// The output's axes with their strides in the input.
    ///
    /// Axes of extent 1 are left out, axes that stay neighbours are made one.
    private static func mergedAxes(extents: [Int], axes: [Int]) -> [(extent: Int, stride: Int)] {
        var strides = extents
        var product = 1
        for axis in extents.indices.reversed() {
            strides[axis] = product
            product *= extents[axis]
        }
        var merged: [(extent: Int, stride: Int)] = []
        for axis in axes where extents[axis] != 1 {
            if let outer = merged.last, outer.stride == extents[axis] * strides[axis] {
                merged[merged.count - 1] = (outer.extent * extents[axis], strides[axis])
            } else {
                merged.append((extents[axis], strides[axis]))
            }
        }
        return merged.isEmpty ? [(1, 1)] : merged
    }
}
