internal import COneDNN
public import Tensor

/// Where each element of a tensor lies and what it is: oneDNN's memory descriptor.
///
/// Extents are in oneDNN's logical order (batch, channels, height, width; out, in, height, width) whatever
/// the order in memory.
public struct TensorLayout: Equatable {
    var descriptor: dnnl_memory_desc_t

    init(_ descriptor: dnnl_memory_desc_t) { self.descriptor = descriptor }

    private init(
        _ extents: [Int], _ element: ElementType, _ tag: dnnl_format_tag_t
    ) throws(KernelError) {
        var created = dnnl_memory_desc_t()
        let wide = extents.map { dnnl_dim_t($0) }
        let status = unsafe wide.withUnsafeBufferPointer {
            unsafe dnnl_memory_desc_init_by_tag(
                &created, Int32(extents.count), $0.baseAddress, element.dataType, tag)
        }
        try KernelError.check(status, "describe a tensor \(extents)")
        descriptor = created
    }

    /// Channels last, as all activations are: `[batch, height, width, channels]` in memory.
    public static func channelsLast(
        batch: Int, channels: Int, height: Int, width: Int, element: ElementType = .float32
    ) throws(KernelError) -> TensorLayout {
        try TensorLayout([batch, channels, height, width], element, dnnl_acdb)
    }

    /// Row-major in the logical order, as PyTorch stores weights; up to five extents.
    public static func rowMajor(
        _ extents: [Int], element: ElementType = .float32
    ) throws(KernelError) -> TensorLayout {
        let tags = [dnnl_a, dnnl_ab, dnnl_abc, dnnl_abcd, dnnl_abcde]
        guard (1...tags.count).contains(extents.count) else {
            throw KernelError(action: "describe a tensor \(extents)", reason: "the rank is not 1 to 5")
        }
        return try TensorLayout(extents, element, tags[extents.count - 1])
    }

    /// Any order of the axes: `strides` are the elements between neighbours along each.
    public static func strided(_ extents: [Int], _ strides: [Int]) throws(KernelError) -> TensorLayout {
        var created = dnnl_memory_desc_t()
        let (wide, steps) = (extents.map { dnnl_dim_t($0) }, strides.map { dnnl_dim_t($0) })
        let status = unsafe wide.withUnsafeBufferPointer { extents in
            unsafe steps.withUnsafeBufferPointer { steps in
                unsafe dnnl_memory_desc_init_by_strides(
                    &created, Int32(extents.count), extents.baseAddress, dnnl_f32, steps.baseAddress)
            }
        }
        try KernelError.check(status, "describe a tensor \(extents) with strides \(strides)")
        return TensorLayout(created)
    }

    /// The weights of a transposed convolution as PyTorch stores them: inputs outside outputs.
    ///
    /// `extents` are logical: `[groups,] out, in, height, width`.
    public static func inputsFirst(_ extents: [Int]) throws(KernelError) -> TensorLayout {
        try TensorLayout(extents, .float32, extents.count == 5 ? dnnl_acbde : dnnl_bacd)
    }

    /// Depthwise weights with the channels side by side: `[height, width, channels]` in memory.
    ///
    /// `extents` are logical: `channels, 1, 1, height, width`.
    static func channelsInnermost(_ extents: [Int]) throws(KernelError) -> TensorLayout {
        try TensorLayout(extents, .float32, dnnl_decab)
    }

    /// Dense weights with the outputs side by side: `[height, width, in, out]` in memory.
    ///
    /// `extents` are logical: `out, in, height, width`.
    static func outputsInnermost(_ extents: [Int]) throws(KernelError) -> TensorLayout {
        try TensorLayout(extents, .float32, dnnl_cdba)
    }

    /// Whatever the primitive likes best; for weights alone.
    public static func any(
        _ extents: [Int], element: ElementType = .float32
    ) throws(KernelError) -> TensorLayout {
        try TensorLayout(extents, element, dnnl_format_tag_any)
    }

    /// The weights of a product in blocks of 16 inputs by 16, 32 or 64 `outputs`.
    ///
    /// A block's outputs lie side by side; of bfloat16 those of two inputs do together. `extents` are outputs
    /// and inputs.
    static func weightBlocks(
        _ extents: [Int], outputs: Int, element: ElementType = .float32
    ) throws(KernelError) -> TensorLayout {
        let isWhole = element == .float32
        let tag =
            switch outputs {
            case 16: isWhole ? dnnl_AB16b16a : dnnl_AB8b16a2b
            case 32: isWhole ? dnnl_AB16b32a : dnnl_AB8b32a2b
            default: isWhole ? dnnl_AB16b64a : dnnl_AB8b64a2b
            }
        return try TensorLayout(extents, element, tag)
    }

    /// The same elements of a matrix with its two axes exchanged.
    func transposed() throws(KernelError) -> TensorLayout {
        var (created, given) = (dnnl_memory_desc_t(), descriptor)
        let axes: [Int32] = [1, 0]
        let status = unsafe axes.withUnsafeBufferPointer {
            unsafe dnnl_memory_desc_permute_axes(&created, &given, $0.baseAddress)
        }
        try KernelError.check(status, "transpose a matrix")
        return TensorLayout(created)
    }

    /// The same order of elements, stored as another type.
    public func storing(_ element: ElementType) -> TensorLayout {
        var copy = descriptor
        copy.data_type = element.dataType
        return TensorLayout(copy)
    }

    /// What the elements are; nil for a type that is none of ours (a scratchpad's).
    public var element: ElementType? { ElementType(descriptor.data_type) }

    /// A scratchpad.
    static func bytes(_ count: Int) throws(KernelError) -> TensorLayout {
        try TensorLayout([count], .uint8, dnnl_a)
    }

    /// An operand that is not there.
    static var absent: TensorLayout { TensorLayout(dnnl_memory_desc_t()) }

    public var rank: Int { Int(descriptor.ndims) }

    /// A logical extent, without padding.
    public func extent(_ axis: Int) -> Int {
        precondition((0..<rank).contains(axis), "axis \(axis) of a tensor of rank \(rank)")
        return unsafe withUnsafeBytes(of: descriptor.dims) {
            unsafe Int($0.load(fromByteOffset: axis * MemoryLayout<dnnl_dim_t>.stride, as: dnnl_dim_t.self))
        }
    }

    /// Bytes with padding.
    public var byteCount: Int {
        var copy = descriptor
        return unsafe dnnl_memory_desc_get_size(&copy)
    }

    /// Elements with padding.
    public var paddedCount: Int { byteCount / (element?.byteCount ?? 1) }

    public static func == (left: TensorLayout, right: TensorLayout) -> Bool {
        var (l, r) = (left.descriptor, right.descriptor)
        return unsafe dnnl_memory_desc_equal(&l, &r) != 0
    }
}
